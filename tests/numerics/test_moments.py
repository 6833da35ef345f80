"""Spatial variance against the official numbers, exact fractions, and its laws."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import feature_maps as twin
from visionscope.numerics.moments import spatial_variance

OFFICIAL = json.loads((Path(__file__).parent.parent / "golden" / "official_measures.json").read_text())["feature_maps"]


def random_maps(shape, seed, offset=0.0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape) + offset)


@pytest.mark.parametrize("case", OFFICIAL["cases"])
def test_official_numbers_come_out(case):
    batch, channels, side, _ = map(int, case.split("x"))
    x = np.random.default_rng(side).standard_normal((batch, channels, side, side)).astype(np.float32)
    maps = torch.from_numpy((np.cumsum(x, axis=-1) * 0.3 + x).astype(np.float32))
    expected = OFFICIAL["cases"][case]["variance"]
    assert float(spatial_variance(maps).mean()) == pytest.approx(expected, rel=1e-6)


@given(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 6), st.integers(2, 6)), st.integers(0, 2**32 - 1))
def test_equals_exact_fractions(shape, seed):
    maps = random_maps(shape, seed)
    expected = [twin.spatial_variance(image.tolist()) for image in maps]
    for view in (maps, maps.contiguous(memory_format=torch.channels_last), maps.mT.contiguous().mT):
        np.testing.assert_allclose(spatial_variance(view), expected, rtol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 10.0, 1000.0])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_large_mean_costs_no_digits_in_float32(offset, layout):
    maps = random_maps((3, 4, 14, 14), seed=1, offset=offset).float().contiguous(memory_format=layout)
    expected = [twin.spatial_variance(image.tolist()) for image in maps]
    np.testing.assert_allclose(spatial_variance(maps), expected, rtol=1e-6)


def test_constant_is_zero_and_white_noise_one():
    assert spatial_variance(torch.full((2, 3, 4, 5), 3.7)).tolist() == pytest.approx([0, 0], abs=1e-12)
    assert float(spatial_variance(random_maps((100, 50, 7, 7), seed=2)).mean()) == pytest.approx(1, abs=0.01)


def test_unbiased_also_on_the_smallest_map():
    assert float(spatial_variance(random_maps((5000, 20, 1, 2), seed=3)).mean()) == pytest.approx(1, abs=0.02)


@given(st.floats(-5, 5), st.floats(-100, 100), st.integers(0, 2**32 - 1))
def test_scales_with_the_square_and_ignores_shifts(scale, shift, seed):
    maps = random_maps((2, 3, 4, 5), seed)
    expected = scale**2 * spatial_variance(maps)
    np.testing.assert_allclose(spatial_variance(scale * maps + shift), expected, rtol=1e-9, atol=1e-9)


def test_bfloat16_maps_are_measured_in_float32_under_autocast():
    maps = random_maps((3, 5, 14, 14), seed=4, offset=2.0).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = spatial_variance(maps)
    assert values.dtype == torch.float32
    np.testing.assert_allclose(values, spatial_variance(maps.double()), rtol=1e-6)
