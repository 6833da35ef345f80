"""Radii of fields: against counting pixels, known fields, and what no shift or scale may change."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import fields as twin
from visionscope.numerics.fields import centre_of_mass, jackknife, radii

SHARES = (0.2, 0.5, 0.99)
SEEDS = st.integers(0, 2**31)


def field(seed, height=7, width=9):
    return np.random.default_rng(seed).random((height, width)) ** 3


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 8), st.integers(1, 8))
def test_radii_are_those_of_counted_pixels(seed, height, width):
    weights = field(seed, height, width)
    assert centre_of_mass(weights) == pytest.approx(twin.centre(weights), abs=1e-10)
    assert radii(weights, SHARES) == pytest.approx([twin.radius(weights, share) for share in SHARES], abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.floats(1e-6, 1e6), st.integers(0, 5), st.integers(0, 5))
def test_no_scale_shift_or_turn_changes_them(seed, scale, down, across):
    weights = field(seed)
    found = radii(weights, SHARES)
    assert list(found) == sorted(found)
    shifted = np.pad(weights, ((down, 5 - down), (across, 5 - across)))
    assert radii(scale * shifted, SHARES) == pytest.approx(found, abs=1e-6)
    assert radii(np.rot90(weights), SHARES) == pytest.approx(found, abs=1e-6)


def test_known_fields():
    point = np.zeros((5, 5))
    point[1, 3] = 2.0
    assert radii(point, SHARES) == (0.0, 0.0, 0.0)
    assert centre_of_mass(point) == (1.0, 3.0)
    line = np.ones((1, 5))  # 1/5 at distance 0, 2/5 at 1, 2/5 at 2
    assert radii(line, (0.2, 0.4, 0.6, 0.8)) == pytest.approx((0.0, 0.5, 1.0, 1.5))


def test_errors_leave_one_group_out():
    groups = np.array([field(seed) for seed in range(5)])
    assert jackknife(groups, SHARES) == pytest.approx([twin.error(list(groups), share) for share in SHARES], abs=1e-9)
    assert jackknife(groups[:3], SHARES) is None
    assert jackknife(np.array([groups[0]] * 4), SHARES) == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)
    alone = np.zeros_like(groups)
    alone[2] = groups[2]
    assert jackknife(alone, SHARES) is None
