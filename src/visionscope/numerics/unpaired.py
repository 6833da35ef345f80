"""Two groups that share nothing: the interval of the difference of their means."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from visionscope.errors import ConfigError
from visionscope.numerics.over_seeds import CONFIDENCE, Interval


def welch_interval(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Welch's 95 % interval of the mean of one group less that of another, whose spreads may differ (Welch 1947).

    `m1 - m2 -+ t(0.975, f) sqrt(v1 + v2)`, v = s^2 / n of each group with n - 1 in the denominator of s^2, and
    `f = (v1 + v2)^2 / (v1^2 / (n1 - 1) + v2^2 / (n2 - 1))` degrees of freedom. Of groups without any spread it is the
    difference twice.

    Args:
        first: at least 2 numbers.
        second: at least 2 numbers.

    Raises:
        ConfigError: for fewer, or one that is not finite.
    """
    means, variances, parts = [], [], []
    for name, values in (("first", first), ("second", second)):
        numbers = np.asarray(values, dtype=np.float64)
        if numbers.ndim != 1 or len(numbers) < 2:
            raise ConfigError(f"{name}: must be at least 2 numbers; got {len(numbers)}")
        if not np.isfinite(numbers).all():
            raise ConfigError(f"{name}: must be finite; got {numbers[~np.isfinite(numbers)][0]}")
        means.append(float(numbers.mean()))
        variances.append(float(numbers.var(ddof=1)) / len(numbers))
        parts.append(variances[-1] ** 2 / (len(numbers) - 1))
    difference = means[0] - means[1]
    if not sum(parts):
        return difference, difference
    from scipy.stats import t  # takes a second, which no measuring needs

    reach = float(t.ppf((1 + CONFIDENCE) / 2, sum(variances) ** 2 / sum(parts))) * math.sqrt(sum(variances))
    return difference - reach, difference + reach
