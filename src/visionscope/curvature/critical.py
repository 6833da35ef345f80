"""The first step along a direction at which the loss rises: exponential search, then bisection."""

import dataclasses
import math
from collections.abc import Callable

from visionscope.curvature.moving import Direction, MovableWeights

_PASSES = 9
"""Forward passes of a search at most."""
_TOLERANCE = 1 / 8
"""Width of the bracket, as a share of its upper end, at which the search is over."""
_CLOSING = 0.88
"""A step at this share of the bracket's upper end, or its lower end at this share of a step, closes the bracket."""
_FREE = 2
"""Passes after which a step that does not halve the bracket is followed by one that does."""
_HALVED = 17 / 32
"""What is left of a bracket that was halved, and a little more: at 1/2 itself a last bit would say whether it was."""
_FARTHEST = 16
"""How many times the last step the next one is at most, as long as nothing encloses the root."""
_ASIDE = 1 / 32
"""How far from a root that is foretold a step is tried: at the root itself a last bit would say which end it is."""


_Point = tuple[float, float]
"""A step with its rise per step."""


@dataclasses.dataclass(frozen=True)
class Critical:
    """Where the loss along a direction comes back to its start.

    Attributes:
        step: the critical step, in units of the direction's own length; None where it was not found.
        low: the largest tried step below it at which the loss has not risen, 0 where there is none.
        high: the smallest tried step at which it has; infinity where there is none.
        passes: evaluations of the loss.
        note: why there is no step.
    """

    step: float | None
    low: float
    high: float
    passes: int
    note: str = ""

    @property
    def sharpness(self) -> float | None:
        """`2 / step`; on a quadratic loss `d.H.d / |g.d|`, which along the negative gradient is `g.H.g / g.g`."""
        return None if self.step is None else 2 / self.step


def critical_step(
    loss_at: Callable[[float], float], start: float, slope: float, first: float | None = None
) -> Critical:
    r"""The first step :math:`\eta > 0` at which a loss along a line is above its value at 0.

    It is the root of :math:`\psi(\eta) = (L(\eta) - L(0)) / \eta`, which begins at the slope. The first step tried is
    :math:`2\,L(0) / |\psi(0)|`: on a quadratic loss that is nowhere negative the root is at most twice as far. From
    there steps are doubled or halved until the root is enclosed. Meanwhile it is foretold, by the line from
    :math:`\psi(0)` through one step tried, or by :math:`(a + b\,\eta) / (1 + c\,\eta)` through :math:`\psi(0)` and
    two, and the next step is taken a little to one side of it, where it closes the bracket if it can. Where that did
    not halve the bracket, a halving follows. The bracket is closed when it is narrower than 1/8 of its upper end; the
    line between its ends gives the root. On a quadratic loss :math:`\psi` is a line, so that
    :math:`\eta = 2\,|g \cdot d| / (d \cdot H d)` is exact but for rounding. It is the critical learning rate of Kalra
    et al. 2026 (A Scalable Measure of Loss Landscape Curvature), who search by doubling and bisection alone.

    "First" is among the steps tried: a loss that rises and falls again between two of them is not seen. A loss that is
    infinite or not a number has risen.

    Args:
        loss_at: the loss after a step.
        start: the loss at 0, in the unit of `loss_at`.
        slope: its derivative along the direction at 0.
        first: the first step tried instead.

    Returns:
        The step with its bracket, after 9 evaluations at most; without one where the slope is not negative, where the
        loss has not risen at the largest step tried, and where the bracket stayed wide.
    """
    if not slope < 0:
        return Critical(None, 0.0, 0.0, 0, f"the loss does not fall along the direction: its slope is {slope:.3g}")
    low, high = (0.0, slope), (math.inf, math.inf)
    spare = high  # the end that a step took the place of
    step = first or (2 * start / -slope if start > 0 else 1.0)
    passes = 0
    while passes < _PASSES and _is_wide(low[0], high[0]):
        width = high[0] - low[0]
        rise = (loss_at(step) - start) / step
        passes += 1
        if rise <= 0:
            spare, low = low, (step, rise)
        else:
            spare, high = high, (step, rise if math.isfinite(rise) else math.inf)
        if passes > _FREE and high[0] - low[0] > _HALVED * width:
            step = min((low[0] + high[0]) / 2, (1 - _ASIDE) * _root(high, slope) if low[0] == 0 else math.inf)
        else:
            step = _next(low, high, spare, slope, free=passes <= _FREE)
    if math.isinf(high[0]):
        return Critical(None, low[0], high[0], passes, f"the loss has not risen at a step of {low[0]:.3g}")
    if _is_wide(low[0], high[0]):
        note = f"between {low[0]:.3g} and {high[0]:.3g} after {passes} passes"
        return Critical(None, low[0], high[0], passes, note)
    # Where the loss is infinite at the upper end, no line can be drawn to it.
    share = 0.5 if math.isinf(high[1]) else low[1] / (low[1] - high[1])
    return Critical(low[0] + share * (high[0] - low[0]), low[0], high[0], passes)


def critical_sharpness(
    weights: MovableWeights, direction: Direction, loss: Callable[[], float], start: float, slope: float
) -> Critical:
    """Critical step and sharpness of a network along any direction: the negative gradient, an optimizer's update.

    Where the direction is an optimizer's update, a step of 1 is that update: the critical learning rate is `step` times
    the learning rate that made it, and the sharpness is in units of its inverse.

    Args:
        weights: of the network, from `movable`, which puts them back to the bit; they are left at the last place.
        direction: by parameter name; parameters that it lacks stay.
        loss: of the network as it is, over images that stay the same.
        start: that loss where the network was.
        slope: the inner product of the direction with the gradient of that loss.
    """

    def loss_at(step: float) -> float:
        weights.move(direction, step)
        return loss()

    return critical_step(loss_at, start, slope)


def _is_wide(low: float, high: float) -> bool:
    return math.isinf(high) or high - low > _TOLERANCE * high


def _next(low: _Point, high: _Point, spare: _Point, slope: float, *, free: bool) -> float:
    """The next step, from the bracket's ends and one that was, with their rises per step.

    Where nothing encloses the root, and `free` does not say otherwise, it is at least twice the last one.
    """
    if math.isinf(high[0]):
        return min(_outward(low, spare, slope, free=free), _FARTHEST * low[0])
    if math.isinf(high[1]):
        return (low[0] + high[0]) / 2
    other = low if low[0] > 0 else spare
    root = _root(high, slope) if math.isinf(other[1]) else _foretold(other, high, slope)
    if not low[0] < root < high[0]:
        return (low[0] + high[0]) / 2
    if _CLOSING * high[0] < root:
        return max(_CLOSING * high[0], (low[0] + high[0]) / 2)
    return low[0] / _CLOSING if low[0] > _CLOSING * root else (1 - _ASIDE) * root


def _outward(low: _Point, spare: _Point, slope: float, *, free: bool) -> float:
    """The next step where nothing encloses the root."""
    ahead, nearest = (1 + _ASIDE) * _root(low, slope), low[0] / _CLOSING
    two = (1 + _ASIDE) * _foretold(spare, low, slope) if low[0] > spare[0] > 0 else math.nan
    if free and not math.isnan(two):
        return max(nearest, two)
    return nearest if free and ahead <= nearest else max(2 * low[0], ahead)


def _foretold(one: _Point, other: _Point, slope: float) -> float:
    """The root of (a + b x) / (1 + c x) through the slope at 0 and two finite points; NaN where it has none."""
    shares = one[1] / slope, other[1] / slope  # 1 at 0
    falls = (shares[0] - 1) / one[0], (shares[1] - 1) / other[0]
    if shares[0] == shares[1]:
        return math.nan
    rate = falls[0] + shares[0] * (falls[0] - falls[1]) / (shares[1] - shares[0])
    return -1 / rate if rate < 0 else math.nan


def _root(end: _Point, slope: float) -> float:
    """Where the line from the slope at 0 through one end is zero; beyond its reach where it does not rise."""
    step, rise = end
    if math.isinf(rise):
        return step
    return step * slope / (slope - rise) if rise > slope else 2 * step
