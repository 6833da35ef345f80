"""NEP and APE by counting, their intervals, and densities of one sign."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionscope.curvature.eigenvalues import density_curve, negative_share, positive_mean


def test_shares_and_means_are_counted() -> None:
    groups = [np.array([5.0, -1.0, 3.0]), np.array([-2.0, -4.0, 10.0])]
    assert negative_share(groups).value == pytest.approx(0.5)
    assert positive_mean(groups).value == pytest.approx(6.0)
    assert negative_share([np.array([])]).value is None
    assert positive_mean([np.array([-1.0])]).value is None
    alone = negative_share([np.array([1.0, -1.0])])
    assert (alone.value, alone.low, alone.high) == (0.5, None, None)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0)
    covered = []
    for trial in range(200):
        rates = draws.beta(2, 8, size=32)  # mini-batches differ, as they do
        groups = [np.where(draws.random(5) < rate, -1.0, 1.0) for rate in rates]
        found = negative_share(groups, seed=trial)
        assert found.low is not None
        assert found.high is not None
        covered.append(found.low <= 0.2 <= found.high)
    assert 0.88 <= np.mean(covered) <= 0.99


def test_none_of_a_few_is_not_none_at_all() -> None:
    positive = [np.array([1.0, 2.0])] * 16
    none, every = negative_share(positive), negative_share([-values for values in positive])
    # The probability that 16 mini-batches hold none, where 20.6 % hold some, is 2.5 %.
    assert none.value == none.low == 0.0
    assert none.high is not None
    assert (1 - none.high) ** 16 == pytest.approx(0.025)
    assert (every.low, every.high) == (pytest.approx(1 - none.high), 1.0)


@given(
    st.lists(st.floats(0.1, 1e3), min_size=1, max_size=30),
    st.sampled_from([-1.0, 1.0]),
)
def test_a_density_has_area_one_and_stays_on_its_side(magnitudes: list[float], sign: float) -> None:
    values = sign * np.array(magnitudes)
    at = np.linspace(-6000, 6000, 40_001)
    curve = density_curve(values, at)
    assert np.trapezoid(curve, at) == pytest.approx(1.0, abs=0.02)
    assert (curve[np.sign(at) == -sign] == 0).all()
