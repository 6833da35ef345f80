"""How a model wants its images, put together from what its source, its checkpoint and the user say."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from visionscope.core.printable import printable, quoted
from visionscope.core.rules import MOST_PIXELS
from visionscope.core.sample import InputConfig
from visionscope.core.values import is_whole, shown
from visionscope.errors import ConfigError

_COLOURS = ("red", "green", "blue")
_INTERPOLATIONS = ("bicubic", "bilinear", "nearest")
_MOST_CHANNELS = 65_536
_RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # PIL's numbers, as Hugging Face's files have them


def given_parts(
    size: int | tuple[int, int] | None, mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> dict[str, Any]:
    """The parts that the user gave, under the names of `InputConfig`.

    Args:
        size: height and width in pixels; an int is both.
        mean: per channel.
        std: per channel.

    Raises:
        ConfigError: for what is no such part, or out of range.
    """
    for key, value in {"size": size, "mean": mean, "std": std}.items():
        if not (value is None or isinstance(value, Iterable) or (key == "size" and is_whole(value))):
            rule = "height and width in pixels, or one number for both" if key == "size" else "numbers, one per channel"
            raise ConfigError(f"{key}: must be {rule}; got {shown(value)}")
    pair: Any = (size, size) if is_whole(size) else size
    parts = {key: tuple(value) for key, value in {"size": pair, "mean": mean, "std": std}.items() if value is not None}
    check_parts("model", parts)
    return parts


def input_config(
    model: str, source: Mapping[str, Any], given: Mapping[str, Any], *, normalised: bool = True
) -> InputConfig:
    """The input configuration out of its parts.

    The number of channels is that of the source's `channels`, else of the mean. Where a network takes grey images and
    its source tells a mean and std of three colours, these are averaged. Images of other channels than 1 or 3 are no
    photographs: what normalises them is up to the user, and where nothing is said they have mean 0 and std 1.

    Args:
        model: named in errors.
        source: what the model's source and its checkpoint say: any of `channels`, `size`, `mean`, `std`,
            `interpolation` and `crop`.
        given: what the user says; it comes before the source's.
        normalised: whether mean and std must be known; without, they are 0 and 1 where nothing says them.

    Raises:
        ConfigError: when a part is missing or out of range.
    """
    parts = {**source, **given}
    check_parts(model, parts)
    channels = parts.pop("channels", None) or len(parts.get("mean", _COLOURS))
    for key in ("mean", "std"):
        parts[key] = _per_channel(key, parts.get(key), channels, is_given=key in given)
        if parts[key] is None and (not normalised or channels not in (1, 3)):
            parts[key] = ((0.0, 1.0)[key == "std"],) * channels
    missing = [f"--{key}" for key in ("size", "mean", "std") if parts.get(key) is None]
    if missing:
        raise ConfigError(
            f"{model}: the model doesn't say how it wants its images; give {' '.join(missing)}, "
            "or set pretrained_cfg on the function"
        )
    for key in ("mean", "std"):
        if len(parts[key]) != channels:
            number = {1: "one number, the network's images are grey", 3: "three numbers, one per colour channel"}
            rule = number.get(channels, f"one number, or {channels}, one per channel")
            raise ConfigError(f"--{key} must be {rule}; got {quoted(parts[key])}")
    if min(parts["std"]) <= 0:
        raise ConfigError(f"--std must be positive; got {quoted(parts['std'])}")
    return InputConfig(**parts)


def check_parts(model: str, parts: Mapping[str, Any]) -> None:
    """Refuses parts that no image can have; some come from files of others.

    Args:
        model: named in errors.
        parts: of an input configuration.

    Raises:
        ConfigError: naming the part and its rule.
    """
    size = parts.get("size")
    if size is not None and not (_are_numbers(size, numbers.Integral) and len(size) == 2 and min(size) > 0):
        raise ConfigError(f"{model}: --size must be one or two positive numbers of pixels; got {quoted(size)}")
    if size is not None and max(size) > MOST_PIXELS:
        raise ConfigError(f"{model}: --size must be at most {MOST_PIXELS:,} pixels along a side; got {quoted(size)}")
    for key in ("mean", "std"):
        values = parts.get(key)
        if values is not None and not (_are_numbers(values, numbers.Real) and len(values)):
            raise ConfigError(f"{model}: --{key} must be finite numbers; got {quoted(values)}")
    channels = parts.get("channels")
    if channels is not None and not (_are_numbers((channels,), numbers.Integral) and 0 <= channels <= _MOST_CHANNELS):
        raise ConfigError(f"{model}: its images must have from 1 to {_MOST_CHANNELS} channels; got {quoted(channels)}")
    crop = parts.get("crop", 1.0)
    if not (_are_numbers((crop,), numbers.Real) and 0 < crop <= 1):
        raise ConfigError(f"{model}: the share of the centre crop must be above 0 and at most 1; got {quoted(crop)}")
    interpolation = parts.get("interpolation", "bicubic")
    if interpolation not in _INTERPOLATIONS:
        rule = f"one of {', '.join(_INTERPOLATIONS)}"
        raise ConfigError(f"{model}: the interpolation must be {rule}; got {quoted(interpolation)}")


def _are_numbers(values: Any, kind: Any) -> bool:
    return isinstance(values, (tuple, list)) and all(
        isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(float(value)) for value in values
    )


def _per_channel(
    key: str, values: tuple[float, ...] | None, channels: int, *, is_given: bool
) -> tuple[float, ...] | None:
    """One value per channel, where those that there are tell it; what the user gave is only ever repeated."""
    if values is None or len(values) == channels:
        return values
    if len(values) == 1 and channels != len(_COLOURS):
        return tuple(values) * channels
    if is_given:
        return values
    if channels == 1 and len(values) == len(_COLOURS):
        return (sum(values) / len(values),)
    return None if len(values) == len(_COLOURS) else values


def parts_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of an input configuration out of a dictionary in timm's words.

    Args:
        config: with any of `input_size` (channels, height, width), `mean`, `std`, `interpolation`, `crop_pct`.
    """
    parts: dict[str, Any] = {}
    try:
        if config.get("input_size") is not None:
            parts["size"] = tuple(config["input_size"])[-2:]
            if len(config["input_size"]) > 2:
                parts["channels"] = int(config["input_size"][0])
        for key in ("mean", "std"):
            if config.get(key) is not None:
                parts[key] = tuple(config[key])
        if config.get("interpolation") in _INTERPOLATIONS:
            parts["interpolation"] = config["interpolation"]
        if config.get("crop_pct"):
            parts["crop"] = float(config["crop_pct"])
    except (TypeError, ValueError) as error:
        raise ConfigError(f"pretrained_cfg: it can't be read: {printable(str(error))[:200]}") from error
    return parts


def stated_parts(*owners: Any) -> dict[str, Any]:
    """The parts of an input configuration that the first `pretrained_cfg` or `default_cfg` says.

    Args:
        *owners: a network, and the function that makes it; each may have such an attribute.
    """
    for owner in owners:
        for attribute in ("pretrained_cfg", "default_cfg"):
            config = getattr(owner, attribute, None)
            if isinstance(config, Mapping) and config:
                return parts_of(config)
    return {}


def hub_parts(config: Any, processor: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of an input configuration out of a Hugging Face model's two configurations.

    The size is the processor's, else the model's `image_size`, else 224. Without a processor's configuration the images
    are resized bilinearly and normalised with mean and std 0.5, the default of the library's own ViT.

    Args:
        config: the model's configuration.
        processor: the image processor's, as a dictionary; empty where the model came without.
    """
    channels = getattr(config, "num_channels", None)
    resized, cropped = (_edges(processor.get(key)) for key in ("size", "crop_size"))
    cropped = cropped if processor.get("do_center_crop", True) else None
    size = cropped or resized or _edges(getattr(config, "image_size", None)) or (224, 224)
    parts: dict[str, Any] = {"size": size, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    if isinstance(channels, int):
        parts["channels"] = channels
    parts["interpolation"] = _RESAMPLING.get(processor.get("resample", 2), "bilinear")
    for key in ("mean", "std"):
        if f"image_{key}" in processor:
            parts[key] = tuple(processor[f"image_{key}"])
    if cropped and resized:
        parts["crop"] = min(1.0, min(cropped) / min(resized))
    elif "crop_pct" in processor:
        parts["crop"] = float(processor["crop_pct"])
    return parts


def _edges(size: Any) -> tuple[int, int] | None:
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        return (size["height"], size["width"]) if "height" in size else (edge, edge) if edge else None
    if isinstance(size, list | tuple):
        return (size[0], size[-1])
    return (size, size) if isinstance(size, int) else None
