"""Changes of weights relative to their magnitude: how much they raise a loss on average, and at worst."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from visionscope.curvature.directions import gaussian
from visionscope.curvature.moving import MovableWeights

_REACH = 2.5
"""How far all steps of an ascent lead together, in radii (Madry et al. 2018)."""


class Loss(Protocol):
    """A loss of a network as its weights are."""

    def value(self) -> float:
        """The loss, without its graph."""

    def gradient(self, parameters: Sequence[Tensor]) -> tuple[float, list[Tensor]]:
        """The loss and its gradient."""


def average_rise(
    weights: MovableWeights, loss: Callable[[], float], start: float, radius: float, keys: Sequence[str]
) -> list[float]:
    r"""The rise :math:`L(w + |w| \circ u) - L(w)` for random u, normal with the radius as standard deviation.

    Args:
        weights: those that change; they are left at the last place.
        loss: of the network as it is.
        start: the loss at the origin.
        radius: standard deviation, as a share of each weight's magnitude.
        keys: one text per draw, which the numbers depend on, beside the parameter's name.

    Returns:
        One number per key; infinite or NaN where the loss is.
    """
    rises = []
    for key in keys:
        change = {
            name: value.abs() * gaussian(tuple(value.shape), f"{key}/{name}").to(value)
            for name, value in weights.origin.items()
        }
        weights.move(change, radius)
        rises.append(loss() - start)
    return rises


def worst_rise(
    weights: MovableWeights,
    loss: Loss,
    start: float,
    gradient: Mapping[str, Tensor],
    *,
    radius: float,
    steps: int,
    norm: str,
) -> float:
    r"""The largest rise :math:`L(w + |w| \circ u) - L(w)` found with :math:`|u| \le` radius: a lower bound.

    Projected ascent from u = 0, in u: with :math:`a = |w| \circ \nabla L` a step adds `2.5 radius / steps` times
    sign(a), or a / |a|, and cuts back to the ball.

    Args:
        weights: those that change; they are left at the last place.
        loss: of the network as it is.
        start: the loss at the origin.
        gradient: by parameter name, at the origin.
        radius: of the ball.
        steps: how many.
        norm: `linf` or `l2`, over all parameters together.

    Returns:
        0 or more; infinity where the loss on the way is infinite or not a number.
    """
    names, parameters = list(weights.here), list(weights.here.values())
    scale = {name: value.abs() for name, value in weights.origin.items()}
    change = {name: torch.zeros_like(value) for name, value in weights.origin.items()}
    uphill, best = dict(gradient), 0.0
    for step in range(steps):
        _climb(change, {name: scale[name] * uphill[name] for name in names}, _REACH * radius / steps, radius, norm)
        weights.move({name: scale[name] * change[name] for name in names})
        if step + 1 == steps:
            here = loss.value()
        else:
            here, found = loss.gradient(parameters)
            uphill = dict(zip(names, found, strict=True))
        if not math.isfinite(here):
            return math.inf
        best = max(best, here - start)
    return best


def _climb(change: Mapping[str, Tensor], ascent: Mapping[str, Tensor], step: float, radius: float, norm: str) -> None:
    """Moves u a step uphill and back into the ball, in place."""
    if norm == "linf":
        for name, value in change.items():
            value.add_(ascent[name].sign(), alpha=step).clamp_(-radius, radius)
        return
    steepness = _length(ascent)
    if not steepness:
        return
    for name, value in change.items():
        value.add_(ascent[name], alpha=step / steepness)
    length = _length(change)
    if length > radius:
        for value in change.values():
            value.mul_(radius / length)


def _length(tensors: Mapping[str, Tensor]) -> float:
    return math.sqrt(math.fsum(float(value.double().square().sum()) for value in tensors.values()))
