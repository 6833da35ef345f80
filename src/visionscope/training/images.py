"""A whole data set in memory as bytes, and the shifts and mirror images that make it look larger."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from visionscope.core.sample import InputConfig
from visionscope.data.augmentation import evaluation_transform, fitting
from visionscope.data.embedded import EmbeddedSource
from visionscope.data.masks import checked_mask, fitted_masks
from visionscope.data.sources import Source, has_masks
from visionscope.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Images:
    """Decoded images with their labels, in the order of their source.

    Attributes:
        pixels: (image, channel, height, width) in 0 to 255, resized as the model wants them.
        labels: (image,) class indices; 0 where the pixels have classes.
        masks: (image, height, width) of uint8, class indices and `IGNORED`; None where the images have classes.
    """

    pixels: Tensor
    labels: Tensor
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)


def decode(source: Source, config: InputConfig) -> Images:
    """Reads all images of a source, resized and cropped as the model wants them but not normalised.

    Args:
        source: must have a label for every image.
        config: size, crop, interpolation, and channels by its mean.

    Raises:
        ConfigError: for an input configuration that can't be used.
        DataError: when an image can't be read or has no label that the model knows.
    """
    labels = labels_of(source)
    fit = fitting(config)
    if isinstance(source, EmbeddedSource):
        source.arrays(range(len(source)))  # drawn together they take a fraction of the time, and the source keeps them
    pixels = np.empty((len(source), len(config.mean), *config.size), dtype=np.uint8)
    masks = torch.empty((len(source), *config.size), dtype=torch.uint8) if has_masks(source) else None
    fit_mask = fitted_masks(config)
    # Threads would make small images slower: most of the time goes to Python, not to the decoder.
    for index in range(len(source)):
        image = source.image(index)
        with _naming(source, index, image):
            pixels[index] = np.asarray(fit(image)).reshape(*config.size, -1).transpose(2, 0, 1)
        if masks is not None:
            masks[index] = fit_mask(_mask_of(source, index, image))
    return Images(pixels=torch.from_numpy(pixels), labels=labels, masks=masks)


def labels_of(images: Images | Source) -> Tensor:
    """The class index of every image, (image,); 0 for all where their pixels have classes.

    Args:
        images: in memory or a source.

    Raises:
        DataError: when an image has no label that the model knows, or one that its data don't allow.
    """
    if isinstance(images, Images):
        return images.labels
    if has_masks(images):
        return torch.zeros(len(images), dtype=torch.long)
    labels = [images.label(index) for index in range(len(images))]
    if None in labels:
        first = images.name(labels.index(None))
        raise DataError(
            f"data {images.spec!r} has images without a label that the model knows; training needs all (first: {first})"
        )
    return torch.tensor(labels, dtype=torch.long)


def reader(images: Images | Source) -> Callable[[int, Callable[[Image.Image], Tensor]], Tensor]:
    """A function of an index and a transform that gives the image, transformed.

    Args:
        images: in memory, or a source.

    Raises (the function):
        DataError: when the image can't be read or transformed.
    """
    if isinstance(images, Images):
        pixels = images.pixels
        return lambda index, transform: transform(_picture(pixels[index]))

    def read(index: int, transform: Callable[[Image.Image], Tensor]) -> Tensor:
        image = images.image(index)
        with _naming(images, index, image):
            return transform(image)

    return read


def mask_reader(source: Source) -> Callable[[int, Callable[[Image.Image], Tensor]], Tensor]:
    """A function of an index and a transform that gives the image's mask, transformed.

    The image is read, too: only so can a mask of another size be told.

    Args:
        source: with masks.

    Raises (the function):
        DataError: when the mask can't be used.
    """
    return lambda index, transform: transform(_mask_of(source, index, source.image(index)))


def plain_reader(images: Images | Source, config: InputConfig) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A function of indices that gives the images as in evaluation, (b, c, h, w), normalised, and their labels.

    Args:
        images: in memory, or a source.
        config: how the model wants its images.

    Raises:
        DataError: when an image has no label that the model knows.

    Raises (the function):
        DataError: when an image or a mask can't be read or transformed.
    """
    labels = labels_of(images)
    if isinstance(images, Images):
        held = labels if images.masks is None else images.masks
        return lambda indices: (normalise(images.pixels[indices], config), held[indices].long())
    read, transform = reader(images), evaluation_transform(config)

    def stacked(indices: Tensor) -> Tensor:
        return torch.stack([read(index, transform) for index in indices.tolist()])

    if not has_masks(images):
        return lambda indices: (stacked(indices), labels[indices])
    read_mask, fit = mask_reader(images), fitted_masks(config)
    return lambda indices: (
        stacked(indices),
        torch.stack([read_mask(index, fit) for index in indices.tolist()]).long(),
    )


def crop_and_flip(
    pixels: Tensor, tops: Tensor, lefts: Tensor, mirrored: Tensor, padding: int, *, border: int = 0
) -> Tensor:
    """Cuts a window of each image's own size out of the image in a black border, and mirrors some.

    As torchvision's `RandomCrop(size, padding=padding)` and `RandomHorizontalFlip` do with these draws, image by image.

    Args:
        pixels: (b, c, h, w) of any type.
        tops: (b,) first row of each window, 0 to 2 * padding; `padding` leaves the image where it is.
        lefts: (b,) first column, likewise.
        mirrored: (b,) bool.
        padding: pixels of border on each side.
        border: their value.
    """
    batch, channels, height, width = pixels.shape
    framed = F.pad(pixels, (padding,) * 4, value=border)
    columns = torch.arange(width).expand(batch, -1)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns) + lefts[:, None]
    rows = torch.arange(height) + tops[:, None]
    # One gather over flat places: a third of the time of two advanced indices.
    places = (rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]).view(batch, 1, -1)
    return framed.flatten(2).gather(2, places.expand(-1, channels, -1)).view(pixels.shape)


def normalise(pixels: Tensor, config: InputConfig) -> Tensor:
    """Bytes (b, c, h, w) as float32, divided by 255, minus the mean, divided by the standard deviation per channel.

    Args:
        pixels: 0 to 255.
        config: mean and std.
    """
    mean, std = (torch.tensor(value, device=pixels.device).view(1, -1, 1, 1) for value in (config.mean, config.std))
    return pixels.to(torch.float32).div_(255).sub_(mean).div_(std)


def _mask_of(source: Source, index: int, image: Image.Image) -> Image.Image:
    mask = checked_mask(source, index, image.size) if has_masks(source) else None
    if mask is None:
        raise DataError(f"data {source.spec!r}: {source.name(index)} has no mask of classes that the model knows")
    return mask


def _picture(pixels: Tensor) -> Image.Image:
    array = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


@contextmanager
def _naming(source: Source, index: int, image: Image.Image) -> Iterator[None]:
    """Names the image in whatever goes wrong while it is transformed."""
    try:
        yield
    # Pillow, torchvision and timm raise many kinds of errors; the file has to be named in each case.
    except Exception as error:
        name = f"{source.name(index)} ({image.width} x {image.height})"
        raise DataError(f"image {name} can't be brought to the model's size: {error}") from error
