import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from reference.sign_flips import holm_rejects, sign_flip_by_hand
from visionscope.errors import ConfigError
from visionscope.numerics.over_seeds import (
    bca_interval,
    detectable,
    fewest_seeds,
    prediction_interval,
    sign_flip,
    t_interval,
)
from visionscope.numerics.paired import holm

FOUR = [1.0, 2.0, 3.0, 6.0]  # mean 3, squared deviations 4 + 1 + 0 + 9 = 14, t(0.975, 3) = 3.18245


def test_students_interval_by_hand():
    reach = 3.182446305284263 * math.sqrt(14 / 3) / 2
    assert t_interval(FOUR) == pytest.approx((3 - reach, 3 + reach), abs=1e-12)


def test_prediction_interval_by_hand():
    reach = 3.182446305284263 * math.sqrt(14 / 3) * math.sqrt(1 + 1 / 4)
    assert prediction_interval(FOUR) == pytest.approx((3 - reach, 3 + reach), abs=1e-9)


def test_students_interval_covers_the_truth_19_times_in_20():
    """20,000 draws of 9 seeds: the Monte Carlo error is sqrt(0.95 * 0.05 / 20,000) = 0.0015."""
    draws = np.random.default_rng(0).normal(0.3, 2.0, (20_000, 9))
    covered = np.mean([low <= 0.3 <= high for low, high in map(t_interval, draws)])
    assert covered == pytest.approx(0.95, abs=3 * 0.0015)


def test_bca_interval_is_reproducible_inside_the_numbers_and_narrower_than_students():
    low, high = bca_interval(FOUR)
    assert (low, high) == bca_interval(FOUR)
    assert 1 < low < 3 < high < 6
    assert t_interval(FOUR)[0] < low
    assert high < t_interval(FOUR)[1]


def test_bca_interval_of_equal_numbers_is_that_number():
    assert bca_interval([0.25] * 5) == (0.25, 0.25)


@pytest.mark.parametrize("n", [2, 5, 9])
@pytest.mark.parametrize("seed", range(4))
def test_sign_flip_agrees_with_counting(n, seed):
    """Whole numbers, small and with zeros, so that flips tie: the hard case."""
    numbers = np.random.default_rng(seed).integers(-3, 6, n).tolist()
    assert sign_flip(numbers) == pytest.approx(float(sign_flip_by_hand([Fraction(one) for one in numbers])), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_sign_flip_agrees_with_counting_where_numbers_are_fractions(seed):
    numbers = np.random.default_rng(seed).normal(0.5, 1, 7).tolist()
    assert sign_flip(numbers) == pytest.approx(float(sign_flip_by_hand([Fraction(one) for one in numbers])), abs=1e-12)


@pytest.mark.parametrize("n", [5, 9])
def test_the_smallest_p_of_n_seeds(n):
    assert sign_flip(np.arange(1.0, n + 1)) == pytest.approx(2 / 2**n)
    assert sign_flip(-np.arange(1.0, n + 1)) == pytest.approx(2 / 2**n)
    assert sign_flip([0.7] * n) == pytest.approx(2 / 2**n)


def test_no_effect_at_all_has_p_1():
    assert sign_flip([0.0] * 5) == 1


@pytest.mark.parametrize("seed", range(20))
def test_holm_rejects_what_its_words_reject(seed):
    chances = np.random.default_rng(seed).choice([1, 2, 3, 4, 5, 7, 9, 100, 256], 8) * 2 / 512
    assert [p < 0.05 for p in holm(chances.tolist())] == holm_rejects(chances.tolist(), 0.05)


def test_eight_claims_need_nine_seeds():
    assert fewest_seeds(8) == 9
    assert 8 * 2 / 2**9 < 0.05 < 8 * 2 / 2**8
    assert fewest_seeds(1) == 6


@pytest.mark.parametrize("n", [5, 9])
def test_what_is_detectable_is_shown_four_times_in_five(n):
    """20,000 draws: the Monte Carlo error is sqrt(0.8 * 0.2 / 20,000) = 0.0028."""
    draws = np.random.default_rng(1).normal(detectable(n), 1.0, (20_000, n))
    edge = stats.t.ppf(0.975, n - 1)
    shown = np.mean(draws.mean(1) / draws.std(1, ddof=1) * math.sqrt(n) > edge)
    assert shown == pytest.approx(0.8, abs=3 * 0.0028)


def test_what_is_detectable_in_the_primary_family_needs_nine_equal_signs():
    draws = np.random.default_rng(2).normal(detectable(9, comparisons=8), 1.0, (20_000, 9))
    assert np.mean((draws > 0).all(1)) == pytest.approx(0.8, abs=3 * 0.0028)
    assert detectable(9, comparisons=8) > detectable(9)


def test_too_few_seeds_for_the_family_detect_nothing():
    assert detectable(8, comparisons=8) == math.inf
    assert detectable(8) < 2


def test_with_more_seeds_holm_lets_other_flips_through():
    assert detectable(12, comparisons=8) == detectable(12)


@pytest.mark.parametrize("made", [t_interval, prediction_interval, bca_interval, sign_flip])
def test_what_cannot_be_told_is_refused(made):
    with pytest.raises(ConfigError, match="values: must be one number for each of at least 2 seeds; got 1"):
        made([1.0])
    with pytest.raises(ConfigError, match="values: must be finite; got nan"):
        made([1.0, math.nan, 2.0])


def test_one_seed_detects_nothing():
    with pytest.raises(ConfigError, match="n: must be at least 2 seeds; got 1"):
        detectable(1)
