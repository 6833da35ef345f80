"""Rank correlation with a p that holds for few values, too."""

import math
from collections.abc import Sequence

import numpy as np

_EXACT = 8  # values of which all 40,320 orders are made


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Spearman's rank correlation and its two-sided p; (0, 1) where either does not vary.

    For up to 8 values p is exact: the share of all orders of the one whose correlation with the other is as large. The
    usual approximation by Student's t gives 0 for any perfect order, of 4 values where 1 order in 12 is perfect.

    Args:
        first: numbers.
        second: as many.
    """
    if len(set(first)) < 2 or len(set(second)) < 2:
        return 0.0, 1.0
    from scipy.stats import permutation_test, rankdata, spearmanr  # takes a second, which no measuring needs

    if len(first) > _EXACT:
        found = spearmanr(first, second)
        return float(found.statistic), float(found.pvalue)
    one, other = (rankdata(values) - (len(first) + 1) / 2 for values in (first, second))
    # scipy's own two-sided p is twice that of the smaller tail, which is another number where values are tied.
    exact = permutation_test(
        (one,),
        lambda orders, axis: np.abs(orders @ other),
        permutation_type="pairings",
        n_resamples=math.factorial(len(first)),
        alternative="greater",
        vectorized=True,
    )
    return float(one @ other) / math.sqrt(float(one @ one) * float(other @ other)), float(exact.pvalue)
