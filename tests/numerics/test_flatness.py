"""Flatness of curves whose answers are known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionscope.numerics.flatness import curvature, radius_of, rise_at

STEPS = [-1.0, -0.5, 0.0, 0.5, 1.0]


@given(a=st.floats(-50, 50), b=st.floats(-5, 5), c=st.floats(-5, 5))
def test_a_parabola_has_its_curvature_everywhere(a, b, c):
    losses = [a * x * x + b * x + c for x in STEPS]
    assert curvature(STEPS, losses) == pytest.approx(2 * a, abs=1e-9)
    assert rise_at(1.0, STEPS, losses) == pytest.approx(a, abs=1e-9)
    assert rise_at(0.5, STEPS, losses) == pytest.approx(a / 4, abs=1e-9)


def test_a_cone_is_known_between_steps():
    losses = [4 * abs(x) if x < 0 else 2 * x for x in STEPS]
    assert radius_of(1.0, STEPS, losses) == pytest.approx((0.25, 0.5))
    assert radius_of(3.0, STEPS, losses) == (pytest.approx(0.75), None)
    assert rise_at(0.25, STEPS, losses) == pytest.approx((1 + 0.5) / 2)


def test_the_first_crossing_counts():
    losses = [0.0, 5.0, 0.0, 5.0, 0.0]
    assert radius_of(2.5, STEPS, losses) == pytest.approx((0.25, 0.25))


def test_what_is_not_finite_gives_no_number():
    hill = [math.inf, 1.0, 0.0, 1.0, math.nan]
    assert curvature(STEPS, hill) == pytest.approx(8)
    assert radius_of(0.5, STEPS, hill) == pytest.approx((0.25, 0.25))
    assert radius_of(2.0, STEPS, hill) == (None, None)
    assert rise_at(0.5, STEPS, hill) == pytest.approx(1)
    assert rise_at(0.75, STEPS, hill) is None
    assert curvature(STEPS, [0.0, math.inf, 0.0, 1.0, 2.0]) is None


def test_lines_that_are_too_short():
    assert rise_at(2.0, STEPS, [0.0] * 5) is None
    assert curvature([0.0, 1.0], [0.0, 1.0]) is None
