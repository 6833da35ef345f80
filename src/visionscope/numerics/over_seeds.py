"""What a few seeds say: intervals of a mean, the exact p of its sign, and the effect that they could show."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visionscope.errors import ConfigError

CONFIDENCE = 0.95
POWER = 0.8
_RESAMPLED = 9_999
_MOST_FLIPS = 2**16  # all flips of up to 16 seeds; of more, as many are drawn

Values = NDArray[np.float64]
Interval = tuple[float, float]


def t_interval(values: Sequence[float]) -> Interval:
    """Student's 95 % interval of the mean: `mean -+ t(0.975, n - 1) s / sqrt(n)`, s with n - 1 in the denominator.

    Args:
        values: one number per seed, of at least 2.

    Raises:
        ConfigError: for fewer, or one that is not finite.
    """
    return _around(values, 1.0)


def prediction_interval(values: Sequence[float]) -> Interval:
    """Where the number of one further seed would lie: `mean -+ t(0.975, n - 1) s sqrt(1 + 1 / n)`.

    Args:
        values: one number per seed, of at least 2.

    Raises:
        ConfigError: for fewer, or one that is not finite.
    """
    return _around(values, math.sqrt(len(values) + 1))


def bca_interval(values: Sequence[float], seed: int = 0) -> Interval:
    """The 95 % interval of the mean by the bias-corrected and accelerated bootstrap (Efron 1987), as scipy has it.

    9,999 times n numbers are drawn with replacement. Of equal numbers it is that number twice. With fewer than ten
    seeds it is too narrow; it stands beside Student's interval, and decides nothing.

    Args:
        values: one number per seed, of at least 2.
        seed: of the draws.

    Raises:
        ConfigError: for fewer, or one that is not finite.
    """
    numbers = _checked(values)
    if np.ptp(numbers) == 0:
        return float(numbers[0]), float(numbers[0])
    from scipy.stats import bootstrap  # takes a second, which no measuring needs

    found = bootstrap(
        (numbers,), np.mean, confidence_level=CONFIDENCE, n_resamples=_RESAMPLED, rng=np.random.default_rng(seed)
    ).confidence_interval
    return float(found.low), float(found.high)


def sign_flip(values: Sequence[float]) -> float:
    """Two-sided p of a mean whose numbers could as well have had the other signs.

    The share of all 2^n choices of signs whose mean is at least as far from zero (Fisher's randomization test). It
    can't be smaller than 2 / 2^n. Of more than 16 seeds 65,536 choices are drawn.

    Args:
        values: one number per seed, of at least 2.

    Raises:
        ConfigError: for fewer, or one that is not finite.
    """
    numbers = _checked(values)
    from scipy.stats import permutation_test

    found = permutation_test(
        (numbers,),
        lambda drawn, axis: drawn.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_MOST_FLIPS,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


@functools.cache  # of one study's claims there are few counts of seeds
def detectable(n: int, *, comparisons: int = 1) -> float:
    """The smallest true effect that n seeds show in four of five such experiments, in standard deviations of a seed.

    For Student's interval to lie beyond zero: d with `P(T > t(0.975, n - 1)) = 0.8`, T of the noncentral t distribution
    with n - 1 degrees of freedom and noncentrality d sqrt(n). Where Holm's rule over several comparisons lets through
    no other p of the sign flips than the smallest one, all n numbers must have the same sign, too: `Phi(d)^n = 0.8`;
    the larger d counts. Infinite where n seeds can't reach a p that Holm's rule lets through.

    Args:
        n: seeds, at least 2.
        comparisons: how many claims Holm's rule counts; 1 for none.

    Raises:
        ConfigError: for fewer than 2 seeds.
    """
    if n < 2:
        raise ConfigError(f"n: must be at least 2 seeds; got {n}")
    from scipy.optimize import brentq
    from scipy.stats import nct, norm, t

    edge, root = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)), math.sqrt(n)
    by_interval = float(brentq(lambda effect: float(nct.sf(edge, n - 1, effect * root)) - POWER, 0.0, 40.0 / root))
    if comparisons == 1:
        return by_interval
    if n < fewest_seeds(comparisons):
        return math.inf
    by_signs = float(norm.ppf(POWER ** (1 / n))) if comparisons * 4 / 2**n >= 1 - CONFIDENCE else 0.0
    return max(by_interval, by_signs)


def fewest_seeds(comparisons: int) -> int:
    """The fewest seeds whose smallest p, `comparisons * 2 / 2^n`, lies below 0.05.

    Args:
        comparisons: how many claims Holm's rule counts.
    """
    return next(n for n in range(1, 64) if comparisons * 2 / 2**n < 1 - CONFIDENCE)


def _around(values: Sequence[float], width: float) -> Interval:
    numbers = _checked(values)
    from scipy.stats import t

    n = len(numbers)
    reach = width * float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * float(numbers.std(ddof=1)) / math.sqrt(n)
    return float(numbers.mean()) - reach, float(numbers.mean()) + reach


def _checked(values: Sequence[float]) -> Values:
    numbers: Values = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or len(numbers) < 2:
        raise ConfigError(f"values: must be one number for each of at least 2 seeds; got {len(numbers)}")
    if not np.isfinite(numbers).all():
        raise ConfigError(f"values: must be finite; got {numbers[~np.isfinite(numbers)][0]}")
    return numbers
