"""How flat a loss is around the middle of a line: curvature, radius of a given rise, rise at a given radius."""

from __future__ import annotations

import math
from collections.abc import Sequence


def curvature(steps: Sequence[float], losses: Sequence[float]) -> float | None:
    """The second derivative at step 0, (f(h) - 2 f(0) + f(-h)) / h^2 with the nearest neighbours.

    Args:
        steps: rising and evenly spaced, with 0 among them.
        losses: the loss at each.

    Returns:
        In the loss's unit per squared step; None where 0 has no neighbour on either side or a loss is not finite.
    """
    middle = list(steps).index(0.0)
    if not 0 < middle < len(steps) - 1:
        return None
    before, here, after = losses[middle - 1 : middle + 2]
    value = (after - 2 * here + before) / (steps[middle + 1] ** 2)
    return value if math.isfinite(value) else None


def radius_of(rise: float, steps: Sequence[float], losses: Sequence[float]) -> tuple[float | None, float | None]:
    """How far from step 0 the loss has first risen by a given amount, backwards and forwards.

    Linear between neighbouring steps.

    Args:
        rise: in the loss's unit.
        steps: rising, with 0 among them.
        losses: the loss at each.

    Returns:
        Two positive distances; None where the rise is not reached, or not before a loss that is not finite.
    """
    middle = list(steps).index(0.0)
    backwards = _crossing(rise, steps[middle::-1], losses[middle::-1])
    return backwards, _crossing(rise, steps[middle:], losses[middle:])


def rise_at(radius: float, steps: Sequence[float], losses: Sequence[float]) -> float | None:
    """How much higher the loss is at a given distance from step 0, mean of both senses, linear between steps.

    Args:
        radius: the distance.
        steps: rising, with 0 among them.
        losses: the loss at each.

    Returns:
        In the loss's unit; None where the line is too short or a loss that is needed is not finite.
    """
    middle = list(steps).index(0.0)
    value = (_between(-radius, steps, losses) + _between(radius, steps, losses)) / 2 - losses[middle]
    return value if math.isfinite(value) else None


def _crossing(rise: float, steps: Sequence[float], losses: Sequence[float]) -> float | None:
    for index in range(1, len(steps)):
        low, high = (losses[place] - losses[0] for place in (index - 1, index))
        if not math.isfinite(high - low):
            return None
        if high >= rise:
            share = (rise - low) / (high - low)
            return abs(steps[index - 1] + share * (steps[index] - steps[index - 1]))
    return None


def _between(place: float, steps: Sequence[float], losses: Sequence[float]) -> float:
    for index in range(1, len(steps)):
        if steps[index - 1] <= place <= steps[index]:
            share = (place - steps[index - 1]) / (steps[index] - steps[index - 1])
            if share in (0.0, 1.0):  # so that infinity at the other end does not matter
                return losses[index - 1 + int(share)]
            return (1 - share) * losses[index - 1] + share * losses[index]
    return math.nan
