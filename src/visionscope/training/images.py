"""A whole data set in memory as bytes, and the shifts and mirror images that make it look larger."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from visionscope.core.types import InputConfig
from visionscope.data.embedded import EmbeddedSource
from visionscope.data.sample import Sample
from visionscope.data.sources import Source
from visionscope.errors import DataError

_SHIFT = 1 / 8  # of the image's side: 4 pixels of 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Images:
    """Decoded images with their labels.

    Attributes:
        pixels: (image, channel, height, width) in 0 to 255, resized as the model wants them.
        labels: (image,) class indices.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def decode(source: Source, config: InputConfig, seed: int = 0) -> Images:
    """Reads all images of a source, resized and cropped as the model wants them but not normalised.

    Args:
        source: must have a label for every image.
        config: size, crop and interpolation.
        seed: of their order.

    Raises:
        DataError: when an image can't be read or has no label that the model knows.
    """
    plain = dataclasses.replace(config, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    if isinstance(source, EmbeddedSource):
        source.arrays(range(len(source)))  # drawn together they take a fraction of the time, and the source keeps them
    pixels, labels = [], []
    for batch in Sample(source, plain, images=None, seed=seed).batches(batch_size=256):
        if batch.labels is None:
            raise DataError(f"data {source.spec!r} has images without a label that the model knows; training needs all")
        pixels.append(torch.round(batch.images * 255).to(torch.uint8))
        labels.append(batch.labels)
    return Images(pixels=torch.cat(pixels), labels=torch.cat(labels))


def crop_and_flip(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Shifts each image by up to an eighth of its side, edges repeated, and mirrors half of the images.

    Args:
        pixels: (b, c, h, w) of any type, on the CPU.
        generator: three draws per image are taken from it.
    """
    batch, _, height, width = pixels.shape
    down, right = round(height * _SHIFT), round(width * _SHIFT)
    shift_down = torch.randint(-down, down + 1, (batch, 1), generator=generator)
    shift_right = torch.randint(-right, right + 1, (batch, 1), generator=generator)
    mirrored = torch.randint(2, (batch, 1), generator=generator).bool()
    rows = (torch.arange(height) + shift_down).clamp(0, height - 1)
    columns = (torch.arange(width) + shift_right).clamp(0, width - 1)
    columns = torch.where(mirrored, columns.flip(1), columns)
    index = torch.arange(batch)[:, None, None]
    # Advanced indices with a slice between them put the sliced axis last: (b, h, w, c).
    return pixels[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def normalise(pixels: Tensor, config: InputConfig) -> Tensor:
    """Bytes (b, c, h, w) as float32, divided by 255, minus the mean, divided by the standard deviation per channel.

    Args:
        pixels: 0 to 255.
        config: mean and std.
    """
    mean, std = (torch.tensor(value, device=pixels.device).view(1, -1, 1, 1) for value in (config.mean, config.std))
    return (pixels.float() / 255 - mean) / std
