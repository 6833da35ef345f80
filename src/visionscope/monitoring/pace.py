"""When a monitor measures: every so many epochs or steps, and less often where that takes too much time."""

from __future__ import annotations

import math
from typing import Literal

_SHORTEST = 1e-9  # seconds
_ROUNDING = 1e-9  # of epochs that are quotients of steps


class Pace:
    """The moments of a training at which it is measured.

    A measurement is due where epochs, or steps, pass a multiple of the interval, and at the first call if that is at
    one. Once two have been taken, one that is due is left out, and the interval doubled, where the training since the
    last one took less than `cost / at_most`, `cost` being the mean of what they took. The first does not count: it
    imports and compiles. So measuring takes a share of at most `at_most` of the training between any two, up to the
    scatter of its cost.

    Args:
        every: `epoch`, or a number of steps.
        at_most: share of the training's time, or None for no limit.
    """

    def __init__(self, every: Literal["epoch"] | int, at_most: float | None) -> None:
        self._every, self._at_most = every, at_most
        self._interval = 1
        self._before: float | None = None
        self._taken, self._seconds = 0, 0.0

    def due(self, step: int, epoch: float) -> bool:
        """Whether a measurement is due; to be asked of each moment once, in order.

        Args:
            step: steps that the optimizer has made.
            epoch: passes over the training images, with fractions.
        """
        now = epoch if isinstance(self._every, str) else step / self._every
        before, self._before = self._before, now
        places = [
            math.floor(moment / self._interval + _ROUNDING) for moment in (now, now if before is None else before)
        ]
        if before is None:
            return abs(now / self._interval - places[0]) <= _ROUNDING
        return places[0] > places[1]

    def too_dear(self, trained: float) -> str:
        """Where a measurement takes too much time, a line that says so, after which there are half as many; else "".

        Args:
            trained: seconds of training since the last measurement.
        """
        if self._at_most is None or self._taken < 2:
            return ""
        cost = self._seconds / (self._taken - 1)
        if cost <= self._at_most * trained:
            return ""
        self._interval *= 2
        count = self._interval * (1 if isinstance(self._every, str) else self._every)
        words = "epochs" if isinstance(self._every, str) else "steps"
        share = cost / max(trained, _SHORTEST)
        return (
            f"monitor: a measurement would take {share:.2g} of the training's time since the last one, and at_most is "
            f"{self._at_most:g}; from now on it measures every {count} {words}"
        )

    def took(self, seconds: float) -> None:
        """Takes note of what a measurement cost.

        Args:
            seconds: of it.
        """
        self._seconds += seconds if self._taken else 0.0
        self._taken += 1
