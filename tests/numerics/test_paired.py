"""Intervals of shares and of paired differences: closed forms, exact coverage, scipy, and the laws they obey."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, multinomial, norm

from visionscope.errors import ConfigError
from visionscope.numerics.paired import holm, paired_means, paired_shares, relative_losses, wilson

COUNTS = st.tuples(*[st.integers(0, 12)] * 4).filter(lambda counts: sum(counts) > 0)


def pairs(both, only_first, only_second, neither):
    first = np.array([True] * (both + only_first) + [False] * (only_second + neither))
    second = np.array([True] * both + [False] * only_first + [True] * only_second + [False] * neither)
    return first, second


@pytest.mark.parametrize(("right", "images"), [(0, 10), (1, 10), (7, 9), (50, 100), (10, 10), (9_999, 10_000)])
def test_wilson_is_its_formula(right, images):
    z, p = norm.ppf(0.975), right / images
    reach = z * math.sqrt(p * (1 - p) / images + z**2 / (4 * images**2))
    ends = [(p + z**2 / (2 * images) + sign * reach) / (1 + z**2 / images) for sign in (-1, 1)]
    assert wilson(right, images) == pytest.approx(ends, abs=1e-12)


def test_wilson_stays_inside_and_has_a_width():
    assert wilson(0, 5)[0] == 0.0
    assert wilson(5, 5)[1] == 1.0
    assert wilson(0, 5)[1] > 0.3


@pytest.mark.parametrize(("right", "images"), [(3, 2), (-1, 2), (0, 0)])
def test_wilson_refuses_impossible_counts(right, images):
    with pytest.raises(ConfigError, match=r"right: must be 0 to images"):
        wilson(right, images)


def test_mcnemar_by_hand():
    # 1 against 7 disagreements: 2 * (C(8,0) + C(8,1)) / 2^8.
    found = paired_shares(*pairs(10, 1, 7, 3))
    assert found.p == pytest.approx(18 / 256)
    assert found.value == pytest.approx(-6 / 21)
    assert paired_shares(*pairs(4, 0, 0, 3)).p == 1.0


@given(COUNTS)
def test_exchanging_the_two_turns_the_difference_round(counts):
    both, only_first, only_second, neither = counts
    one, other = paired_shares(*pairs(*counts)), paired_shares(*pairs(both, only_second, only_first, neither))
    assert (other.value, other.low, other.high) == pytest.approx((-one.value, -one.high, -one.low), abs=1e-12)
    assert other.p == pytest.approx(one.p)
    assert -1 <= one.low <= one.value <= one.high <= 1


@given(COUNTS, st.integers(0, 2**32 - 1))
def test_the_order_of_the_images_does_not_matter(counts, seed):
    first, second = pairs(*counts)
    order = np.random.default_rng(seed).permutation(len(first))
    assert paired_shares(first[order], second[order]) == paired_shares(first, second)


@pytest.mark.parametrize("chances", [(0.6, 0.15, 0.05, 0.2), (0.7, 0.12, 0.08, 0.1), (0.3, 0.3, 0.3, 0.1)])
def test_the_interval_covers_as_often_as_it_says(chances):
    """Exact coverage: every table of 30 images, weighted by its chance."""
    images, covered = 30, 0.0
    truth = chances[1] - chances[2]
    for both in range(images + 1):
        for only_first in range(images + 1 - both):
            for only_second in range(images + 1 - both - only_first):
                counts = (both, only_first, only_second, images - both - only_first - only_second)
                weight = multinomial.pmf(counts, images, chances)
                if weight > 1e-9:
                    found = paired_shares(*pairs(*counts))
                    covered += weight * (found.low <= truth <= found.high)
    assert 0.93 < covered < 0.99


def test_mcnemar_does_not_cry_wolf():
    """Where there is no difference, p falls below 0.05 in at most 5 of 100 cases, whatever the number that disagree."""
    for disagreeing in (5, 12, 40, 200):
        false = sum(
            binom.pmf(ones, disagreeing, 0.5)
            for ones in range(disagreeing + 1)
            if paired_shares(*pairs(0, ones, disagreeing - ones, 7)).p < 0.05
        )
        assert false <= 0.05


def test_the_bootstrap_agrees_with_the_normal_interval_for_many_images():
    random = np.random.default_rng(0)
    first, second = random.random(4_000), random.random(4_000)
    found = paired_means(first, second)
    changes = first - second
    error = changes.std(ddof=1) / math.sqrt(len(changes))
    reach = norm.ppf(0.975) * error
    assert found.value == pytest.approx(changes.mean())
    assert (found.low, found.high) == pytest.approx((found.value - reach, found.value + reach), abs=0.1 * reach)
    assert found.p == pytest.approx(2 * norm.sf(abs(found.value) / error), abs=0.05)


def test_the_bootstrap_is_the_same_twice_and_sees_a_real_difference():
    random = np.random.default_rng(1)
    second = random.random(500)
    first = second + 0.2 + 0.1 * random.random(500)
    assert paired_means(first, second) == paired_means(first, second)
    assert paired_means(first, second).p < 0.01
    assert paired_means(second, second).p == 1.0


@pytest.mark.parametrize("counts", [(4, 5, 0, 3), (10, 1, 7, 3), (2, 3, 9, 0)])
def test_exchanging_yes_and_no_is_mcnemars_test(counts):
    first, second = pairs(*counts)
    assert paired_means(first * 1.0, second * 1.0).p == pytest.approx(paired_shares(first, second).p)


def test_exchanging_by_draws_agrees_with_all_exchanges():
    first, second = pairs(5, 5, 14, 3)
    assert paired_means(first * 1.0, second * 1.0).p == pytest.approx(paired_shares(first, second).p, abs=0.02)


def test_a_sure_difference_withstands_any_number_of_comparisons():
    first, second = pairs(0, 200, 0, 200)
    p = paired_means(first * 1.0, second * 1.0).p
    assert p < 1e-9
    assert max(holm([p] * 1_000)) < 0.05
    # 14 of 14 that differ are one in 8,192: of 2,000 draws hardly one.
    few = paired_means(*(some * 1.0 for some in pairs(0, 14, 0, 200))).p
    assert 2**-14 < few < 2 / 2_001


def test_exchanging_does_not_cry_wolf_where_few_images_differ():
    """The bootstrap finds a difference in 5 images that changed one way alone, which chance makes once in 16."""
    assert paired_means(*(some * 1.0 for some in pairs(0, 5, 0, 995))).p == pytest.approx(1 / 16)


def test_unequal_images_are_refused():
    with pytest.raises(ConfigError, match=r"second: must be of the same images"):
        paired_shares(np.ones(3, dtype=bool), np.ones(4, dtype=bool))
    with pytest.raises(ConfigError, match=r"second: must be of the same images"):
        paired_means(np.ones(0), np.ones(0))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.5, 0.9]) == (1.0, 1.0)
    assert holm([]) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_lies_between_the_raw_p_and_bonferronis(chances):
    raised = holm(chances)
    for p, high in zip(chances, raised, strict=True):
        assert p <= high <= 1.0
        assert high <= max(p, min(1.0, len(chances) * max(q for q in chances if q <= p))) + 1e-12
    order = np.argsort(chances, kind="stable")
    assert all(a <= b for a, b in zip(np.array(raised)[order], np.array(raised)[order][1:], strict=False))


def test_few_values_are_drawn_as_many_are():
    """Two ways to the same distribution: values that repeat, and the same with what tells them apart."""
    random = np.random.default_rng(2)
    first, second = random.integers(0, 3, 900) / 2, random.integers(0, 2, 900).astype(float)
    apart = first + 1e-9 * np.arange(900)
    few, many = paired_means(first, second), paired_means(apart, second)
    reach = few.high - few.low
    assert (many.low, many.high) == pytest.approx((few.low, few.high), abs=0.08 * reach)


def test_relative_losses_by_hand():
    intact, damaged = np.array([1.0, 1, 1, 1, 0]), np.array([1.0, 0.5, 0, 1, 0])
    values = relative_losses(intact, damaged, 0.2)
    # accuracies 0.8 and 0.5, of which 0.6 and 0.3 are above chance
    assert values.mean() == pytest.approx(0.5, abs=1e-15)
    assert values == pytest.approx(
        [0.5 + (a - d - 0.5 * (a - 0.2)) / 0.6 for a, d in zip(intact, damaged, strict=True)]
    )
    with pytest.raises(ConfigError, match=r"intact: must be right more often than by chance, 0\.8; got 0\.8"):
        relative_losses(intact, damaged, 0.8)


@pytest.mark.parametrize("differs", [False, True], ids=["one chance", "a chance per image"])
def test_the_influence_of_an_image_is_the_derivative_of_the_share(differs):
    """Leaving an image out moves the share by its influence / (n - 1), to first order."""
    random = np.random.default_rng(0)
    intact = (random.random(5000) < 0.7).astype(float)
    damaged = intact * (random.random(5000) < 0.6)
    # As of masks: what is right without damage goes with what guessing gets right.
    chances = 0.1 + 0.2 * intact + 0.1 * random.random(5000) if differs else np.full(5000, 0.1)
    values = relative_losses(intact, damaged, chances if differs else 0.1)
    for image in (int(intact.argmin()), int(intact.argmax()), int(damaged.argmax())):
        kept = np.arange(5000) != image
        exact = (intact[kept].mean() - damaged[kept].mean()) / (intact[kept].mean() - chances[kept].mean())
        assert (values.mean() - exact) * 4999 == pytest.approx(values[image] - values.mean(), rel=2e-3)


def test_a_chance_that_follows_the_images_narrows_the_interval_of_a_relative_loss():
    """Masks: a network that gets 0.2 more than always the commonest class of each image, and loses half of that."""
    chances = np.random.default_rng(4).uniform(0.3, 0.7, 200)
    intact, damaged = chances + 0.2, chances + 0.1
    assert relative_losses(intact, damaged, chances) == pytest.approx(np.full(200, 0.5))
    constant = relative_losses(intact, damaged, float(chances.mean()))
    assert constant.mean() == pytest.approx(0.5)
    assert constant.std() > 0.2  # the scatter of what guessing gets, which is no uncertainty of the loss


def outcomes_of_two(random, images):
    """Two networks of 80 and 71 % that both lose 3/7 of their accuracy above a chance of 10 %, on the same images."""
    hard = random.random(images) < 0.5  # for both alike
    found = []
    for accuracy in (0.8, 0.71):
        lost = (accuracy - 0.1) * 3 / 7
        right = random.random(images) < np.where(hard, 2 * accuracy - 0.95, 0.95)
        kept = right & (random.random(images) < 1 - lost / accuracy)
        found.append((right.astype(float), kept.astype(float)))
    return found


def test_intervals_of_relative_losses_hold_the_truth_and_p_is_no_smaller_than_chance():
    random = np.random.default_rng(3)
    runs, held, small = 400, 0, 0
    for _ in range(runs):
        (clean_a, bad_a), (clean_b, bad_b) = outcomes_of_two(random, 300)
        one = paired_means(relative_losses(clean_a, bad_a, 0.1), relative_losses(clean_b, bad_b, 0.1))
        held += one.low <= 0 <= one.high
        small += one.p < 0.05
    # 95 % of 400 is 380, standard deviation 4.4
    assert 366 <= held <= 393
    assert 7 <= small <= 34
