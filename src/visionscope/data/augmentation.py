"""Frozen augmentation: image i always gets the same draw, whatever the batch size, the order or the process."""

import dataclasses
import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from timm.data.mixup import cutmix_bbox_and_lam
from timm.data.transforms_factory import create_transform
from torch import Tensor
from torchvision import transforms

from visionscope.core.sample import InputConfig
from visionscope.data.decode import MOST_PIXELS
from visionscope.data.draws import STRENGTHS, Augmentation
from visionscope.errors import ConfigError, DataError, nearest

_SMALL = 64  # pixels a side up to which images are cropped as CIFAR's are
_INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming")
# The global generators of Python, numpy and torch are shared by all threads of the process.
_GENERATORS = threading.Lock()

Transform = Callable[[Image.Image], Tensor]


class FrozenTransform(Protocol):
    """What `frozen_transform` makes."""

    def __call__(self, image: Image.Image, index: int, turn: int | None = None) -> Tensor:
        """The tensor of an image."""


def paper_augmentation(strength: str, input: InputConfig) -> Augmentation | None:
    """The augmentation that the paper trains with, by name.

    `strong` is all of it: for images up to 64 pixels (its CIFAR recipe) padded crop, flip,
    RandAugment, Mixup and CutMix; for larger ones (its ImageNet recipe) resized crop, a weaker RandAugment and random
    erasing besides. `weak` is crop and flip alone, `none` is evaluation's resize and crop.

    Args:
        strength: one of these.
        input: tells the size.

    Raises:
        ConfigError: for another name.
    """
    if strength not in STRENGTHS:
        raise ConfigError(
            f"augmentation: must be one of {', '.join(STRENGTHS)}; got {strength!r}.{nearest(strength, STRENGTHS)}"
        )
    if strength == "none":
        return None
    small = max(input.size) <= _SMALL
    weak = Augmentation(crop="pad" if small else "resized")
    if strength == "weak":
        return weak
    recipe = "rand-m9-n2-mstd1.0" if small else "rand-m9-n2-mstd0.5"
    return dataclasses.replace(weak, rand_augment=recipe, erase=0.0 if small else 0.25, mixup=1.0, cutmix=0.8)


def mix(images: Tensor, augmentation: Augmentation, seed: int, number: int) -> float:
    """Mixes a mini-batch with itself in reverse order, as `timm.data.Mixup` does in batch mode with probability 1.

    Mixup: share * image + (1 - share) * partner. CutMix: a box of the partner, of (1 - share) of the area before the
    border cuts it, in the image. Choice, share and box come from sha256(seed, number) alone.

    Args:
        images: (batch, channel, height, width); changed in place.
        augmentation: its `mixup` and `cutmix`, one of which is above 0.
        seed: of all draws.
        number: of the mini-batch.

    Returns:
        The share of each image that is its own, 0 to 1; with CutMix the share of its pixels, to the bit.
    """
    with _generators_seeded(f"{seed}/mini-batch/{number}"):
        cuts = augmentation.cutmix > 0 and (augmentation.mixup == 0 or np.random.rand() < 0.5)
        alpha = augmentation.cutmix if cuts else augmentation.mixup
        share = float(np.random.beta(alpha, alpha))
        if not cuts:
            images.copy_(images * share + images.flip(0) * (1 - share))
            return share
        (top, bottom, left, right), share = cutmix_bbox_and_lam(images.shape, share)  # type: ignore[no-untyped-call]
    images[:, :, top:bottom, left:right] = images.flip(0)[:, :, top:bottom, left:right]
    return float(share)


def evaluation_transform(config: InputConfig) -> Transform:
    """Resize, centre crop and normalisation as timm's evaluation does them.

    The image is resized so that it covers size / crop (rounded down), the centre of the given size is cut out,
    and pixels in [0, 1] become (pixel - mean) / std.

    Args:
        config: how the model wants its images; a single mean and std give grey images.

    Raises:
        ConfigError: for a size, mean, std, interpolation or crop that can't be used.
    """
    check_input(config)
    transform = create_transform(
        input_size=(len(config.mean), *config.size),
        interpolation=config.interpolation,
        mean=config.mean,
        std=config.std,
        crop_pct=config.crop,
    )
    covering = _in_channels(transform, len(config.mean))

    def apply(image: Image.Image) -> Tensor:
        _check_resized(image, config)
        return covering(image)

    return apply


def fitting(config: InputConfig) -> Callable[[Image.Image], Image.Image]:
    """Evaluation's resize and centre crop alone: an image of the model's size, grey where the model's are.

    Args:
        config: how the model wants its images.

    Raises:
        ConfigError: for a size, mean, std, interpolation or crop that can't be used.
    """
    check_input(config)
    fit = _Fit(config)
    return fit if len(config.mean) != 1 else lambda image: fit(image.convert("L"))


def frozen_transform(config: InputConfig, augmentation: Augmentation, seed: int) -> FrozenTransform:
    """A training transform whose draws for image i come from sha256(seed, i) alone, or from sha256(seed, pass, i).

    timm's and torchvision's transforms draw from the global generators of Python, numpy and torch. These are seeded for
    each image and put back afterwards; only one thread at a time may do so.

    Args:
        config: how the model wants its images.
        augmentation: what is drawn.
        seed: of all draws.

    Returns:
        A function of an image, its index in the source and, in training, the number of the pass over the images (None
        for a frozen sample, where each image has one draw).

    Raises:
        ConfigError: for a recipe that timm doesn't know, or an unusable input configuration.
    """
    check_input(config)
    composed: Transform = transforms.Compose(_training_steps(config, augmentation))
    transform = _in_channels(composed, len(config.mean))

    def apply(image: Image.Image, index: int, turn: int | None = None) -> Tensor:
        with _generators_seeded(_draw_of(seed, index, turn)):
            return transform(image)

    return apply


def frozen_geometry(
    config: InputConfig, augmentation: Augmentation, seed: int, *, border: int
) -> Callable[[Image.Image, int, int | None], Image.Image]:
    """The crop and the flip of `frozen_transform` alone, with the same draws: they come before all others.

    Args:
        config: how the model wants its images; its interpolation counts.
        augmentation: its `crop`, `area`, `padding` and `flip`.
        seed: of all draws.
        border: value of the pixels around an image in a padded crop.

    Returns:
        A function of an image, its index in the source and the number of the pass, or None, as in `frozen_transform`.

    Raises:
        ConfigError: for an unusable input configuration.
    """
    check_input(config)
    crop = _training_steps(config, augmentation, border)[0]

    def apply(image: Image.Image, index: int, turn: int | None) -> Image.Image:
        with _generators_seeded(_draw_of(seed, index, turn)):
            moved: Image.Image = crop(image)
            return moved

    return apply


def _draw_of(seed: int, index: int, turn: int | None) -> str:
    return f"{seed}/{index}" if turn is None else f"{seed}/pass/{turn}/{index}"


def check_input(config: InputConfig) -> None:
    """Checks the rules of an input configuration.

    Args:
        config: how the model wants its images.

    Raises:
        ConfigError: for a size, mean, std, interpolation or crop that can't be used.
    """
    if len(config.size) != 2 or min(config.size) < 1:
        raise ConfigError(f"size must be height and width of at least 1 pixel, not {config.size}")
    if len(config.mean) != len(config.std):
        raise ConfigError(
            f"mean and std must both have 3 values (or 1 for grey), not {len(config.mean)} and {len(config.std)}"
        )
    if len(config.mean) not in (1, 3):
        raise ConfigError(
            f"data: photographs have 3 channels, or 1 where they are made grey; this network takes {len(config.mean)}: "
            "hand its images over as a tensor, as in vs.fourier(model, images)"
        )
    if min(config.std) <= 0:
        raise ConfigError(f"std must be positive, not {config.std}")
    if config.interpolation not in _INTERPOLATIONS:
        hint = nearest(config.interpolation, _INTERPOLATIONS)
        raise ConfigError(f"interpolation must be one that Pillow knows, not {config.interpolation!r}.{hint}")
    if not 0 < config.crop <= 1:
        raise ConfigError(f"crop must be a share with 0 < crop <= 1, not {config.crop}")


def _training_steps(config: InputConfig, augmentation: Augmentation, border: int = 0) -> list[Any]:
    """Crop and flip; colours; and what makes a tensor."""
    try:
        crop, colours, final = create_transform(
            input_size=(len(config.mean), *config.size),
            is_training=True,
            separate=True,
            scale=augmentation.area,
            hflip=augmentation.flip,
            color_jitter=0.0,
            auto_augment=augmentation.rand_augment or None,
            interpolation=config.interpolation,
            mean=config.mean,
            std=config.std,
            re_prob=augmentation.erase,
        )
    except (AssertionError, ValueError, KeyError, IndexError) as error:
        raise ConfigError(
            f"rand_augment {augmentation.rand_augment!r} is not a recipe that timm knows: {error}"
        ) from error
    if augmentation.crop != "resized":
        whole = config if augmentation.crop == "centre" else dataclasses.replace(config, crop=1.0)
        crop = transforms.Compose(
            [_Fit(whole), *_pad_crop(config, augmentation, border), transforms.RandomHorizontalFlip(augmentation.flip)]
        )
    return [crop, colours, final]


def _pad_crop(config: InputConfig, augmentation: Augmentation, border: int) -> list[Any]:
    if augmentation.crop != "pad":
        return []
    return [transforms.RandomCrop(config.size, padding=augmentation.padding, fill=border)]


def _check_resized(image: Image.Image, config: InputConfig) -> None:
    """A stripe one pixel wide is resized as a whole before its centre is cut out, to what no memory holds."""
    shorter, longer = sorted(image.size)
    side = max(config.size) / config.crop
    pixels = side * max(side, side * longer / shorter)
    if pixels > MOST_PIXELS:
        raise DataError(
            f"it is too narrow, for on the way it would have {pixels:,.0f} pixels; at most {MOST_PIXELS:,} are drawn"
        )


class _Fit:
    """Evaluation's resize and centre crop, leaving an image."""

    def __init__(self, config: InputConfig) -> None:
        self._config = config
        whole = create_transform(input_size=(3, *config.size), interpolation=config.interpolation, crop_pct=config.crop)
        self._steps = [step for step in whole.transforms if not isinstance(step, transforms.Normalize)][:2]

    def __call__(self, image: Image.Image) -> Image.Image:
        _check_resized(image, self._config)
        for step in self._steps:
            image = step(image)
        return image


def _in_channels(transform: Callable[[Image.Image], Any], channels: int) -> Transform:
    def apply(image: Image.Image) -> Tensor:
        tensor: Tensor = transform(image.convert("L") if channels == 1 else image)
        return tensor

    return apply


@contextmanager
def _generators_seeded(text: str) -> Iterator[None]:
    """Seeds the three global generators from a text and puts them back."""
    entropy = hashlib.sha256(text.encode()).digest()
    with _GENERATORS:
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        random.seed(entropy[:8])
        np.random.seed(np.frombuffer(entropy[8:24], dtype="<u4"))
        # Not torch.manual_seed, which would reseed the accelerators' generators too.
        torch.default_generator.manual_seed(int.from_bytes(entropy[24:31], "little"))
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])
