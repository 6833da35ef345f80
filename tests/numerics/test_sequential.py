"""A t test over looks: its errors by simulation, its bounds by hand, and what it refuses."""

import math

import numpy as np
import pytest
from scipy.stats import t

from visionscope.errors import ConfigError
from visionscope.numerics.sequential import ERROR, POWER, detectable, gain_bounds, looks_of, ruling

DRAWS = 4_000


def kept_share(most: int, gain: float, seed: int = 0) -> tuple[float, float]:
    """The share of searches that keep a change of a true gain, in standard deviations, and the seeds that they took."""
    random = np.random.default_rng(seed)
    kept = used = 0
    for drawn in random.normal(gain, 1.0, (DRAWS, most)):
        for look in looks_of(most):
            told = ruling(list(drawn[:look]), most)
            if told != "more":
                break
        kept += told == "keep"
        used += look
    return kept / DRAWS, used / DRAWS


def test_looks_halve_the_seeds_while_three_are_left() -> None:
    assert [looks_of(most) for most in (2, 4, 5, 8, 16, 32)] == [(2,), (4,), (3, 5), (4, 8), (4, 8, 16), (8, 16, 32)]


@pytest.mark.parametrize("most", [2, 8, 16])
def test_what_helps_nothing_is_kept_as_rarely_as_stated(most: int) -> None:
    share, _ = kept_share(most, 0.0)
    noise = 3 * math.sqrt(ERROR * (1 - ERROR) / DRAWS)
    assert share <= ERROR + noise
    assert share > ERROR / 2  # the error is spent, not given away


@pytest.mark.parametrize("most", [4, 8, 16])
def test_the_detectable_gain_is_kept_as_often_as_stated(most: int) -> None:
    share, used = kept_share(most, detectable(most))
    assert share >= POWER - 3 * math.sqrt(POWER * (1 - POWER) / DRAWS)
    assert used <= most
    assert kept_share(most, detectable(most) / 2)[0] < POWER - 0.1


def test_a_harmful_change_ends_early() -> None:
    share, used = kept_share(16, -1.0)
    assert share < 0.001
    assert used < 8


def test_bounds_by_hand() -> None:
    gains = [1.0, 2.0, 4.0]
    mean, error = 7 / 3, math.sqrt(((4 / 3) ** 2 + (1 / 3) ** 2 + (5 / 3) ** 2) / 2) / math.sqrt(3)
    low, high = gain_bounds(gains, 2)
    assert low == pytest.approx(mean - t.ppf(0.975, 2) * error)
    assert high == pytest.approx(mean + t.ppf(0.9, 2) * error)


def test_gains_that_are_equal_by_chance_decide_nothing() -> None:
    assert ruling([0.01, 0.01], 2) == "keep"
    assert ruling([0.01, 0.01], 2, least=0.01) == "drop"


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"seeds: must be at least 2.*got 1"):
        looks_of(1)
    with pytest.raises(ConfigError, match=r"gains: must be of 4 or 8 seeds.*got 5"):
        ruling([1.0] * 5, 8)
    with pytest.raises(ConfigError, match=r"gains: must be finite"):
        gain_bounds([1.0, math.nan], 1)
