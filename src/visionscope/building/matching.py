"""Controls of equal size: the width at which a family of networks costs as much as another network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import nn

from visionscope.building.measure import costs
from visionscope.errors import ConfigError, nearest

__all__ = ["Match", "matched"]

Measured = Literal["parameters", "macs"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Match:
    """The network of a family that is nearest to a target.

    Attributes:
        width: what the family was called with.
        value: what the network of this width has: parameters or multiply-accumulates.
        error: value / target - 1; 0.01 is 1 % too much.
    """

    width: int
    value: int
    error: float


def matched(
    make: Callable[[int], nn.Module],
    of: Measured,
    target: float,
    widths: Sequence[int],
    *,
    size: tuple[int, int] = (32, 32),
    channels: int = 3,
) -> Match:
    """The width whose network has most nearly as many parameters, or multiply-accumulates, as asked for.

    Every width is tried, since costs don't always grow with the width (channels are rounded to multiples); of two that
    are equally near, the first is taken. Torch's random numbers are left as they were.

    Args:
        make: a network from its width.
        of: what is to be equal: trained parameters, or multiply-accumulates of one image.
        target: how many.
        widths: to choose from.
        size: height and width of the images in pixels.
        channels: of the images.

    Raises:
        ConfigError: for an unknown measure, a target that isn't above 0, no widths, or an operation of a network of
            which it isn't known what it costs.
    """
    if of not in get_args(Measured):
        raise ConfigError(f"of must be parameters or macs; got {of!r}.{nearest(of, get_args(Measured))}")
    if not 0 < target < float("inf"):
        raise ConfigError(f"target must be above 0 and finite; got {target}. What a network costs is {of} >= 1")
    if not widths:
        raise ConfigError("widths must name at least one width; got none. Did you mean range(8, 129, 8)?")
    with torch.random.fork_rng():
        values = {width: getattr(costs(make(width), size, channels), of) for width in widths}
    width = min(values, key=lambda tried: abs(values[tried] - target))
    return Match(width=width, value=values[width], error=values[width] / target - 1)
