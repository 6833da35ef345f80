"""Images as models and diagnostics get them: their size and normalisation, batches, and what a sample promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


SPAN = 256  # images in a part of an observer: what is stored, resumed and shared out as one
MINI_BATCH = 16  # images that Mixup and CutMix draw from together, and that one Hessian belongs to
IGNORED = 255
"""The class index, in masks and in the PNG files that hold them, of pixels that don't count."""
MASK_AXES, DENSE_AXES = 3, 4  # of masks (batch, height, width), and of logits (batch, class, height, width)


@dataclasses.dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How a model wants its images.

    Attributes:
        size: height and width in pixels.
        mean: per channel, of pixels in [0, 1].
        std: per channel.
        interpolation: `bicubic`, `bilinear` or `nearest`.
        crop: the centre crop's share of the resized image's shorter side.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"
    crop: float = 1.0


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some images of a sample.

    Attributes:
        images: (batch, channel, height, width), normalised.
        labels: (batch,) class indices; of data with masks, (batch, height, width) class indices of int64 in the size of
            the images, `IGNORED` where a pixel doesn't count; None where the data has none that the model knows.
        positions: (batch,) positions in the sample, 0 to len(sample) - 1.
        partners: (batch,) class index of the image that Mixup or CutMix put in, or None without either, as with masks.
        shares: (batch,) share of the image's own class in its target, 0 to 1; the partner has the rest.
    """

    images: Tensor
    labels: Tensor | None
    positions: Tensor
    partners: Tensor | None = None
    shares: Tensor | None = None


class SampleLike(Protocol):
    """What the runner and the diagnostics need of a sample; `data.sample.Sample` is the real one."""

    @property
    def digest(self) -> str:
        """Identifies images, augmentation and their order."""

    def __len__(self) -> int: ...

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        """Yields the images at the positions start to stop - 1, in order."""
