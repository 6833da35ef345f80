"""What a notebook hands in: checked before a model sees it, so that each fault is one line that names the parameter."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from visionscope.core.sample import IGNORED, MASK_AXES, InputConfig
from visionscope.core.values import is_whole, shown
from visionscope.errors import ConfigError, DataError
from visionscope.running.brought import tensor_of
from visionscope.running.devices import check_default_device

_IMAGES = (
    "images: must be a tensor or an array (n, channels, height, width), a DataLoader, a list of (image, label), "
    "a data spec or a sample"
)
_TENSOR = "images: must be a floating-point tensor (n, channels, height, width) with n at least 1 and no size 0"


def check_model(model: object) -> None:
    """Refuses what is neither a network nor a spec.

    Args:
        model: as a notebook gave it.

    Raises:
        ConfigError: naming what it is; or where torch's default device is meta.
    """
    check_default_device()
    if isinstance(model, (nn.Module, str)):
        return
    hint = "; pass its .module()" if hasattr(model, "module") else ""
    if isinstance(model, type) and issubclass(model, nn.Module):
        hint = f"; pass an instance, such as {model.__name__}(...)"
    plain = model is None or isinstance(model, (bool, int, float, bytes, type))
    got = shown(model) if plain else type(model).__name__  # an object's repr may be a page, or an address
    raise ConfigError(f"model: must be a torch.nn.Module or a model spec; got {got}{hint}")


def checked_images(images: Any) -> Any:
    """Images as the rest of the program takes them: a tensor of numbers, a data spec, or a sample.

    What is gathered first (`running.brought`) has been.

    Args:
        images: as a notebook gave them; a path stands for the data spec that it spells.

    Raises:
        ConfigError: for what is none of these, and a tensor of another kind, type or shape.
        DataError: for a tensor that holds NaN or infinity.
    """
    if isinstance(images, os.PathLike):
        images = os.fspath(images)
    if isinstance(images, Tensor):
        _check_tensor(images)
    elif not isinstance(images, str) and not all(hasattr(images, name) for name in ("batches", "digest", "__len__")):
        raise ConfigError(f"{_IMAGES}; got {shown(images)}{_image_hint(images)}")
    return images


def checked_labels(labels: object, count: int, size: tuple[int, int] | None = None) -> Tensor:
    """Class indices of a tensor of images, or of their pixels, as 64-bit integers.

    Args:
        labels: as a notebook gave them.
        count: of the images.
        size: their height and width, where masks are taken as well.

    Raises:
        ConfigError: for none, for what is no tensor of integers, one for each image or pixel, and for a negative one.
    """
    if labels is None:
        raise ConfigError("labels: a tensor of images needs its class indices for a loss; got none")
    rule = f"labels: must be class indices, one for each of {count} images"
    if isinstance(labels, np.ndarray):
        labels = tensor_of("labels", labels)
    elif isinstance(labels, (list, tuple, range)) and labels and all(map(is_whole, labels)):
        labels = torch.tensor([int(label) for label in labels])
    if not isinstance(labels, Tensor):
        raise ConfigError(f"{rule}; got {shown(labels)}")
    kind = _kind(labels)
    if kind:
        raise ConfigError(f"{rule}; got {kind}")
    whole = not (labels.is_floating_point() or labels.is_complex()) and labels.dtype != torch.bool
    if labels.ndim == MASK_AXES and len(labels) == count and size is not None:
        return _checked_masks(labels, whole, size)
    if labels.shape != (count,) or not whole:
        hint = "; pass labels.argmax(1)" if labels.ndim == 2 and labels.shape[1] > 1 and len(labels) == count else ""
        hint = "; pass labels.flatten()" if labels.shape == (count, 1) and whole else hint
        hint = "; pass labels.long()" if labels.shape == (count,) else hint
        raise ConfigError(f"{rule}; got {_described(labels)}{hint}")
    labels = labels.long()
    if int(labels.min()) < 0:
        place = int(labels.argmin())
        raise ConfigError(f"labels: must be 0 or more; got {int(labels[place])} of image {place}")
    return labels


def _checked_masks(masks: Tensor, whole: bool, size: tuple[int, int]) -> Tensor:
    rule = f"labels: masks must be integers of the size of the images, {size[0]} x {size[1]}"
    if masks.shape[1:] != size or not whole:
        raise ConfigError(f"{rule}; got {_described(masks)}{'; pass labels.long()' if masks.shape[1:] == size else ''}")
    masks = masks.long()
    if int(masks.min()) < 0:
        place = int(masks.flatten(1).amin(1).argmin())
        raise ConfigError(
            f"labels: masks must be 0 or more, {IGNORED} for pixels that don't count; got {int(masks.min())} in image "
            f"{place}"
        )
    return masks


def checked_input(given: object) -> InputConfig | None:
    """Size and normalisation of a tensor of images.

    Args:
        given: as a notebook gave it.

    Raises:
        ConfigError: for what is no `InputConfig`.
    """
    if given is None or isinstance(given, InputConfig):
        return given
    example = "InputConfig(size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))"
    raise ConfigError(f"input: must be an InputConfig, such as {example}; got {shown(given)}")


def _check_tensor(images: Tensor) -> None:
    kind = _kind(images)
    if kind:
        raise ConfigError(f"{_TENSOR}; got {kind}")
    if images.ndim != 4 or not images.numel() or not images.is_floating_point():
        raise ConfigError(f"{_TENSOR}; got {_described(images)}{_tensor_hint(images)}")
    numbers = images.detach()
    numbers = numbers.float() if numbers.element_size() == 1 else numbers
    if all(bool(end.isfinite()) for end in torch.aminmax(numbers)):
        return
    for place, image in enumerate(numbers):
        if not bool(image.isfinite().all()):
            what = "NaN" if bool(image.isnan().any()) else "infinity"
            raise DataError(f"images: image {place} holds {what}; images must be finite")


def _kind(tensor: Tensor) -> str:
    """What a tensor is whose numbers can't be read one by one, with what helps; empty where they can."""
    if tensor.is_meta:
        return "a tensor on the meta device, which holds no numbers; make it on a real one, such as the CPU"
    if tensor.is_nested:
        return "a nested tensor; call .to_padded_tensor(0.0) on it, or pass one of a single shape"
    if tensor.layout != torch.strided:
        return "a sparse tensor; call .to_dense() on it first"
    if tensor.is_quantized:
        return "a quantised tensor; call .dequantize() on it first"
    return ""


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"


def _tensor_hint(images: Tensor) -> str:
    if images.ndim == 3 and images.is_floating_point() and images.numel():
        return "; for a single image pass images[None]"
    if images.is_complex():
        return "; pass its .real"
    if images.ndim == 4 and not images.is_floating_point() and images.numel():
        return "; bring it to [0, 1] and normalise it as the network was trained"
    return ""


def _image_hint(images: object) -> str:
    if type(images).__module__.startswith("PIL."):
        return "; pass a list of them"
    if hasattr(images, "__iter__") or hasattr(images, "__next__"):
        return "; pass a list of its images"
    return ""
