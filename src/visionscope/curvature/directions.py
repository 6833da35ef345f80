"""Directions in the space of a network's weights, and the planes that they span."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from visionscope.errors import ConfigError, nearest

NORMALIZATIONS = ("filter", "layer", "none", "official")
_OFFICIAL_EPSILON = 1e-7

Direction = dict[str, Tensor]


def random_direction(weights: Mapping[str, Tensor], normalization: str, key: str) -> Direction:
    """A Gaussian direction, each tensor of which is scaled to the weights that it moves.

    With filter normalization (Li et al. 2018, section 4) every output filter of a direction is as long as the filter
    that it moves, `d_i <- d_i |w_i| / |d_i|`. A filter is an index of the first axis: an output channel of a
    convolution, an output row of a linear layer. A filter that is zero stays where it is. A complex number is a pair of
    reals: both parts are drawn, and `|w_i|` is the norm over both.

    Args:
        weights: the tensors that move, by parameter name; each of two or more dimensions for `filter` and `official`.
        normalization: `filter`; `layer` for the same with whole tensors; `none` for standard normal numbers;
            `official` for the authors' code, whose norms run over the first axis, across filters, for each place in a
            filter, with 1e-7 added to `|d|`.
        key: what else the numbers depend on, such as seed and draw; they depend on the parameter's name, too, but not
            on the other parameters, the machine or the device.

    Returns:
        By parameter name, in the type and on the device of the weights; computed in float64 or complex128.

    Raises:
        ConfigError: for another normalization.
    """
    if normalization not in NORMALIZATIONS:
        raise ConfigError(
            f"normalization: must be one of {', '.join(NORMALIZATIONS)}; got {normalization!r}."
            f"{nearest(normalization, NORMALIZATIONS)}"
        )
    direction = {}
    for name, weight in weights.items():
        drawn = gaussian((*weight.shape, 2) if weight.is_complex() else tuple(weight.shape), f"{key}/{name}")
        drawn = torch.view_as_complex(drawn) if weight.is_complex() else drawn
        scaled = _scaled(drawn, _wide(weight.detach().cpu()), normalization)
        direction[name] = scaled.to(weight)
    return direction


def gaussian(shape: tuple[int, ...], key: str) -> Tensor:
    """Standard normal numbers in float64 that depend on the key alone (for one version of NumPy).

    Args:
        shape: of the tensor.
        key: any text.
    """
    entropy = int.from_bytes(hashlib.sha256(key.encode()).digest(), "little")
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
    return torch.from_numpy(np.asarray(generator.standard_normal(shape)))


def length(direction: Mapping[str, Tensor]) -> float:
    """The Euclidean norm over all tensors together, in float64.

    Args:
        direction: by parameter name.
    """
    return math.sqrt(inner(direction, direction))


def inner(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The inner product over the tensors that both have, in float64; complex numbers are pairs of reals.

    Args:
        one: a direction by parameter name.
        other: another one.
    """
    return math.fsum((_reals(one[name]) * _reals(other[name])).sum().item() for name in one if name in other)


def plane_through(
    origin: Mapping[str, Tensor], first: Mapping[str, Tensor], second: Mapping[str, Tensor]
) -> tuple[Direction, Direction, tuple[float, float]]:
    """The plane through three places in the space of weights.

    The first axis runs from the origin to the first place, which lies at (1, 0). The second axis is at a right angle to
    it and as long, so that distances in the plane are those between weights, in units of the distance from the origin
    to the first place.

    Args:
        origin: by parameter name.
        first: the same names.
        second: the same names.

    Returns:
        The two axes, and the coordinates of the second place.

    Raises:
        ConfigError: when the three lie on a line, up to rounding.
    """
    across = {name: _wide(first[name]) - _wide(origin[name]) for name in origin}
    other = {name: _wide(second[name]) - _wide(origin[name]) for name in origin}
    squared = inner(across, across)
    along = inner(across, other) / squared if squared else 0.0
    rest = {name: other[name] - along * across[name] for name in origin}
    height = length(rest)
    if not squared or height <= 1e-6 * length(other):
        raise ConfigError(
            "checkpoints: the model and the two files must be three different places, not on one line; got two that "
            "agree, or three on a line"
        )
    unit = math.sqrt(squared)
    upward = {name: rest[name] * (unit / height) for name in origin}
    axes = ({name: value.to(origin[name]) for name, value in axis.items()} for axis in (across, upward))
    return (*axes, (along, height / unit))  # type: ignore[return-value]


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def _reals(tensor: Tensor) -> Tensor:
    wide = _wide(tensor).resolve_conj()
    return torch.view_as_real(wide) if wide.is_complex() else wide


def _scaled(drawn: Tensor, weight: Tensor, normalization: str) -> Tensor:
    if normalization == "none":
        return drawn
    first, stop = {"filter": (1, weight.ndim), "layer": (0, weight.ndim), "official": (0, 1)}[normalization]
    axes, epsilon = tuple(range(first, stop)), _OFFICIAL_EPSILON if normalization == "official" else 0.0
    wanted, found = (torch.linalg.vector_norm(tensor, dim=axes, keepdim=True) for tensor in (weight, drawn))
    scaled: Tensor = drawn * (wanted / (found + epsilon))
    return scaled
