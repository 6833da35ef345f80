"""The embedded images with a class for every pixel: background, or the shape that is drawn there."""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visionscope.data.embedded import EmbeddedSource, draw_with_masks
from visionscope.data.shapes import SHAPES

_CACHE_BYTES = 128 * 2**20


class EmbeddedMaskSource(EmbeddedSource):
    """One split of the embedded data, the same images as `embedded`, with masks in the place of labels.

    Class 0 is the background, with the clutter; 1 to 10 are the shapes. A pixel belongs to the shape where the shape
    covers its centre and no bar in front does.

    Args:
        spec: the data spec, for messages.
        split: `train`, `val` (or `validation`), `test` or `conflict`.
        size: pixels per side, 8 to 1024.
        seed: 0 or more.
        num_classes: classes that the model knows, or None; if it isn't 11, all masks are None.

    Raises:
        DataError: for a split that doesn't exist.
        ConfigError: for a size or a seed outside its range.
    """

    classes = ("background", *SHAPES)

    def __init__(self, spec: str, split: str, *, size: int = 32, seed: int = 0, num_classes: int | None = None) -> None:
        super().__init__(spec, split, size=size, seed=seed, num_classes=num_classes)
        self._masks = _kept(self.split, size, seed)

    def label(self, index: int) -> int | None:
        """None: the image's pixels have classes, not the image."""
        return None

    def mask(self, index: int) -> Image.Image | None:
        """The class of every pixel, grey; None where the model has other classes."""
        if not self._mappable:
            return None
        held = self._masks.get(index)
        return Image.fromarray(self._drawn([index])[0] if held is None else held)

    def arrays(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Many images at once, which is several times faster than one by one; their masks are kept for `mask`.

        Args:
            indices: which images.

        Returns:
            (image, row, column, channel) in RGB.
        """
        missing = [index for index in dict.fromkeys(indices) if index not in self._masks]
        if missing and len(self._masks) < _CACHE_BYTES // self.size**2:
            self._drawn(missing)
        return super().arrays(indices)

    def _drawn(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        images, masks = draw_with_masks(self.split, indices, size=self.size, seed=self.seed)
        self._keep(indices, images)
        room = max(0, _CACHE_BYTES // self.size**2 - len(self._masks))
        self._masks.update(zip(indices[:room], masks[:room], strict=True))
        return masks


@functools.lru_cache(maxsize=2)
def _kept(split: str, size: int, seed: int) -> dict[int, NDArray[np.uint8]]:
    """The masks that were drawn of a split: every model of a run opens it anew."""
    return {}
