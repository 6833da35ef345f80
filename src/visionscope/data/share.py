"""A share of a source's images of each class: what a network was trained on, where that is not everything."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from visionscope.data.sample import sample_order
from visionscope.data.sources import MaskSource, Source, has_masks
from visionscope.errors import ConfigError, DataError


def split_by_class(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Draws a share of each class, rounded, and at least one image of each.

    Args:
        labels: (image,) class indices.
        share: above 0, at most 1.
        seed: of the draw.

    Returns:
        The chosen and the other indices, each in ascending order.

    Raises:
        ConfigError: for a share outside its range.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share must be above 0 and at most 1; got {share}")
    order = torch.from_numpy(sample_order(len(labels), seed))
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in set(labels.tolist()):
        places = order[labels[order] == label]
        chosen[places[: max(1, round(share * len(places)))]] = True
    return chosen.nonzero()[:, 0], (~chosen).nonzero()[:, 0]


def share_of(source: Source, share: float, seed: int) -> Source:
    """The images that a training with `fraction` and `seed` takes of a source; with masks, all are of one class.

    Args:
        source: the train split, with a label for every image.
        share: of the images of each class, above 0, at most 1.
        seed: of the draw.

    Raises:
        ConfigError: for a share outside its range.
        DataError: when an image has no label, so that no class can be shared out.
    """
    labels = [0 if has_masks(source) else source.label(index) for index in range(len(source))]
    unlabelled = next((index for index, label in enumerate(labels) if label is None), None)
    if unlabelled is not None:
        raise DataError(f"fraction: {source.name(unlabelled)} has no label, so its class can't be shared out; take 1")
    chosen, _ = split_by_class(torch.tensor(labels), share, seed)
    return _MaskShare(source, chosen.tolist()) if has_masks(source) else _Share(source, chosen.tolist())


class _Share:
    """Some of a source's images, in its order."""

    def __init__(self, source: Source, chosen: list[int]) -> None:
        self._source, self._chosen = source, chosen
        self.spec, self.split, self.classes = source.spec, source.split, source.classes

    def __len__(self) -> int:
        return len(self._chosen)

    def image(self, index: int) -> Image.Image:
        return self._source.image(self._chosen[index])

    def label(self, index: int) -> int | None:
        return self._source.label(self._chosen[index])

    def name(self, index: int) -> str:
        return self._source.name(self._chosen[index])

    def content(self, index: int) -> bytes:
        return self._source.content(self._chosen[index])


class _MaskShare(_Share):
    """Some of the images of a source with masks."""

    def __init__(self, source: MaskSource, chosen: list[int]) -> None:
        super().__init__(source, chosen)
        self._masks = source

    def mask(self, index: int) -> Image.Image | None:
        return self._masks.mask(self._chosen[index])
