"""Masks that follow their images: checked, brought to the model's size, moved as augmentation moves the image."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from visionscope.core.sample import IGNORED, InputConfig
from visionscope.data.augmentation import fitting, frozen_geometry
from visionscope.data.draws import Augmentation, check_follows
from visionscope.data.sources import MaskSource
from visionscope.errors import DataError


def checked_mask(source: MaskSource, index: int, size: tuple[int, int]) -> Image.Image | None:
    """The mask of an image, of its size and with none but the source's classes.

    Args:
        source: with masks.
        index: of the image.
        size: its width and height.

    Returns:
        8-bit grey; None where the model has other classes.

    Raises:
        DataError: when it can't be read, has another size, or a value beyond the classes.
    """
    mask = source.mask(index)
    if mask is None:
        return None
    if mask.size != size:
        raise DataError(
            f"the mask of {source.name(index)} has {mask.width} x {mask.height} pixels, its image "
            f"{size[0]} x {size[1]}; save both in one size"
        )
    values = np.asarray(mask)
    largest, classes = int(values[values != IGNORED].max(initial=0)), len(source.classes)
    if largest >= classes:
        raise DataError(
            f"the mask of {source.name(index)} has the value {largest}; there are {classes} classes, 0 to "
            f"{classes - 1}, and {IGNORED} for pixels that don't count"
        )
    return mask


def fitted_masks(config: InputConfig) -> Callable[[Image.Image], Tensor]:
    """Evaluation's resize, by the nearest pixel, and centre crop, to (height, width) in uint8.

    Args:
        config: how the model wants its images.

    Raises:
        ConfigError: for an input configuration that can't be used.
    """
    fit = fitting(dataclasses.replace(config, interpolation="nearest"))
    return lambda mask: _tensor(fit(mask))


def augmented_masks(
    config: InputConfig, augmentation: Augmentation, seed: int
) -> Callable[[Image.Image, int, int | None], Tensor]:
    """What `augmentation.frozen_transform` does to an image's geometry, with the same draws, done to its mask.

    What comes in from the border of a padded crop doesn't count.

    Args:
        config: how the model wants its images.
        augmentation: crops and flips alone.
        seed: of all draws.

    Returns:
        A function of a mask, the index of its image and the number of the pass, to (height, width) in uint8.

    Raises:
        ConfigError: for an augmentation that masks can't follow.
    """
    check_follows(augmentation)
    move = frozen_geometry(dataclasses.replace(config, interpolation="nearest"), augmentation, seed, border=IGNORED)
    return lambda mask, index, turn: _tensor(move(mask, index, turn))


def _tensor(mask: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(mask, dtype=np.uint8).copy())
