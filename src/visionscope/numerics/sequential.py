"""Whether a number rises, asked again as seeds are added: a paired t test whose error is shared out over its looks."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from visionscope.errors import ConfigError

ERROR = 0.05
"""Chance that a change which helps nothing is kept, over all looks together."""

POWER = 0.8
"""Chance that a change as large as `detectable` says is kept."""

FEWEST = 2
_FEWEST_EARLY = 3  # seeds: of 2 a bound lies so far out that a look would cost error and end nothing
_MOST_LOOKS = 3

Ruling = Literal["keep", "drop", "more"]


def looks_of(most: int) -> tuple[int, ...]:
    """At how many seeds is looked: at the most, at half of them and at a quarter, where that leaves 3 or more.

    Args:
        most: seeds that there may be, at least 2.

    Raises:
        ConfigError: for fewer.
    """
    if most < FEWEST:
        raise ConfigError(f"seeds: must be at least {FEWEST}, since a t test needs two; got {most}")
    looks = [most]
    while len(looks) < _MOST_LOOKS and (half := -(-looks[0] // 2)) >= _FEWEST_EARLY and half < looks[0]:
        looks.insert(0, half)
    return tuple(looks)


def gain_bounds(gains: Sequence[float], looks: int, least: float = 0.0) -> tuple[float, float]:
    """One-sided bounds of the mean gain that decide at one of several looks.

    `mean - t(1 - 0.05 / looks, n - 1) s / sqrt(n)` and `mean + t(1 - 0.2 / looks, n - 1) s / sqrt(n)`: by Bonferroni's
    inequality all looks together err by 5 % (a change without gain is kept) and by 20 % (one with gain is dropped
    early), however the looks depend on one another.

    Args:
        gains: of each seed, the candidate's number less its parent's, of at least 2.
        looks: that share the error.
        least: standard deviation that is taken where the gains' own is smaller; of shares of few images, which are
            whole numbers of images, several gains are equal by chance alone.

    Raises:
        ConfigError: for fewer gains, or one that is not finite.
    """
    numbers = np.asarray(gains, dtype=np.float64)
    if len(numbers) < FEWEST or not np.isfinite(numbers).all():
        raise ConfigError(f"gains: must be finite numbers of at least {FEWEST} seeds; got {list(gains)}")
    n, mean = len(numbers), float(numbers.mean())
    error = max(float(numbers.std(ddof=1)), least) / math.sqrt(n)
    return mean - _quantile(ERROR / looks, n) * error, mean + _quantile((1 - POWER) / looks, n) * error


@functools.cache
def _quantile(share: float, n: int) -> float:
    """What Student's t of n numbers exceeds with a chance of `share`."""
    from scipy.stats import t  # takes a second, which no measuring needs

    return float(t.ppf(1 - share, n - 1))


def ruling(gains: Sequence[float], most: int, least: float = 0.0) -> Ruling:
    """What becomes of a change: kept where its gain lies above zero, dropped where below, or where no look is left.

    Args:
        gains: as for `gain_bounds`, as many as one of `looks_of(most)`.
        most: seeds that there may be.
        least: as for `gain_bounds`.

    Raises:
        ConfigError: for another number of gains.
    """
    looks = looks_of(most)
    if len(gains) not in looks:
        raise ConfigError(f"gains: must be of {' or '.join(map(str, looks))} seeds, where is looked; got {len(gains)}")
    low, high = gain_bounds(gains, len(looks), least)
    if low > 0:
        return "keep"
    return "drop" if high <= 0 or len(gains) == most else "more"


@functools.cache  # told for the same plan again and again
def detectable(most: int) -> float:
    """The smallest true gain that is kept in four of five searches, in standard deviations of a seed's gain.

    For the bound of the last look to lie above zero: d with `P(T > t(1 - 0.05 / looks, n - 1)) = 0.8`, T of the
    noncentral t distribution with n - 1 degrees of freedom and noncentrality d sqrt(n). Earlier looks add to that.

    Args:
        most: seeds that there may be, at least 2.

    Raises:
        ConfigError: for fewer.
    """
    looks, root = len(looks_of(most)), math.sqrt(most)
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    edge = float(t.ppf(1 - ERROR / looks, most - 1))
    return float(brentq(lambda effect: float(nct.sf(edge, most - 1, effect * root)) - POWER, 0.0, 40.0 / root))
