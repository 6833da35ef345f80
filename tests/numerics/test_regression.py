"""Least squares with intervals: against exact fractions, scipy's two-sample t, and what data were made of."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t, ttest_ind

from visionscope.errors import ConfigError
from visionscope.numerics.regression import least_squares


def slowly(columns, values):
    """Coefficients and their squared errors, by Gauss and Jordan in exact fractions of the normal equations."""
    rows = [[Fraction(1), *map(Fraction, own)] for own in zip(*columns, strict=True)]
    count = len(rows[0])
    matrix = [
        [sum(row[i] * row[j] for row in rows) for j in range(count)] + [Fraction(int(i == j)) for j in range(count)]
        for i in range(count)
    ]
    for place in range(count):
        pivot = next(row for row in range(place, count) if matrix[row][place])
        matrix[place], matrix[pivot] = matrix[pivot], matrix[place]
        matrix[place] = [one / matrix[place][place] for one in matrix[place]]
        for other in range(count):
            if other != place:
                factor = matrix[other][place]
                matrix[other] = [a - factor * b for a, b in zip(matrix[other], matrix[place], strict=True)]
    inverse = [row[count:] for row in matrix]
    seen = [sum(row[i] * Fraction(y) for row, y in zip(rows, values, strict=True)) for i in range(count)]
    found = [sum(a * b for a, b in zip(row, seen, strict=True)) for row in inverse]
    rest = [
        Fraction(y) - sum(a * b for a, b in zip(row, found, strict=True)) for row, y in zip(rows, values, strict=True)
    ]
    variance = sum(one * one for one in rest) / (len(rows) - count)
    return [float(one) for one in found], [math.sqrt(float(variance * inverse[i][i])) for i in range(count)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(7, 20))
def test_coefficients_and_ends_are_those_of_the_normal_equations_in_fractions(seed, count, rows):
    random = np.random.default_rng(seed)
    columns = [[float(one) for one in random.integers(-4, 5, rows)] for _ in range(count)]
    values = [float(one) for one in random.integers(-20, 21, rows)]
    if np.linalg.matrix_rank(np.column_stack([np.ones(rows), *columns])) <= count:
        return
    found = least_squares(columns, values)
    expected, errors = slowly(columns, values)
    edge = t.ppf(0.975, rows - count - 1)
    assert [one.value for one in found] == pytest.approx(expected[1:], abs=1e-8)
    assert [one.low for one in found] == pytest.approx(
        [v - edge * e for v, e in zip(expected, errors, strict=True)][1:], abs=1e-7
    )
    assert [one.high for one in found] == pytest.approx(
        [v + edge * e for v, e in zip(expected, errors, strict=True)][1:], abs=1e-7
    )


def test_one_fact_is_the_two_sample_t_test():
    first, second = [1.0, 2.0, 4.0, 3.5], [0.0, 0.5, 1.5]
    (found,) = least_squares([[0.5] * 4 + [-0.5] * 3], [*first, *second])
    expected = ttest_ind(first, second)
    assert found.value == pytest.approx(np.mean(first) - np.mean(second))
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_the_interval_holds_the_truth_in_19_of_20():
    """2,000 draws: Monte Carlo error sqrt(0.95 * 0.05 / 2,000) = 0.005."""
    random = np.random.default_rng(0)
    columns = random.integers(0, 2, (3, 26)) - 0.5
    held = 0
    for _ in range(2_000):
        found = least_squares(columns, 60 + columns.T @ [1.0, 0.5, -0.7] + random.normal(0, 1, 26))
        held += found[0].low <= 1.0 <= found[0].high
    assert held / 2_000 == pytest.approx(0.95, abs=3 * 0.005)


@pytest.mark.parametrize(
    ("columns", "values", "message"),
    [
        ([[0.0, 1.0]], [1.0, 2.0], "values: must be more than the 2 coefficients; got 2"),
        ([[1.0, 1.0, 1.0]], [1.0, 2.0, 3.0], "columns: must be told apart by the rows; one is a sum of others"),
    ],
)
def test_what_can_not_be_solved_is_told_in_one_line(columns, values, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        least_squares(columns, values)
