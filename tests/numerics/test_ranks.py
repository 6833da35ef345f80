"""Rank correlation: scipy's, and its p against all orders."""

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from visionscope.numerics.ranks import rank_correlation


@pytest.mark.parametrize(("count", "p"), [(4, 2 / 24), (5, 2 / 120), (6, 2 / 720)])
def test_a_perfect_order_of_few_values_is_as_rare_as_it_is(count, p):
    order = list(range(count))
    assert rank_correlation(order, order) == (pytest.approx(1.0), pytest.approx(p))
    assert rank_correlation(order, order[::-1]) == (pytest.approx(-1.0), pytest.approx(p))


@pytest.mark.parametrize("count", [5, 7, 8, 9, 40])
def test_the_correlation_is_scipys_with_ties_too(count):
    random = np.random.default_rng(count)
    first, second = random.integers(0, 5, (2, count)).tolist()
    rho, p = rank_correlation(first, second)
    found = spearmanr(first, second)
    assert rho == pytest.approx(found.statistic)
    if count > 8:
        assert p == found.pvalue


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([1.0, 2.0, 2.0, 5.0, 4.0, 9.0], [3.0, 1.0, 4.0, 4.0, 7.0, 6.0]),
        ([0.0, 3.0, 2.0, 3.0, 2.0], [1.0, 0.0, 2.0, 4.0, 0.0]),
        ([3.0, 0.0, 3.0, 4.0, 0.0, 3.0], [0.0, 2.0, 3.0, 1.0, 3.0, 2.0]),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [2.0, 1.0, 4.0, 3.0, 7.0, 5.0, 6.0]),
    ],
)
def test_p_of_few_values_is_that_of_all_orders(first, second):
    """Two-sided: |rho| of every order; of ties that is not twice the smaller tail."""
    own = abs(spearmanr(first, second).statistic)
    every = [abs(spearmanr(order, second).statistic) for order in itertools.permutations(first)]
    assert rank_correlation(first, second)[1] == pytest.approx(np.mean([rho >= own - 1e-9 for rho in every]), abs=1e-12)


def test_what_does_not_vary_has_no_order():
    assert rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) == (0.0, 1.0)
    assert rank_correlation([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]) == (0.0, 1.0)
