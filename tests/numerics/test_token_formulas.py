"""Token norms, outliers and likeness: slow twins, laws, and what has no direction."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation, ortho_group

from reference import tokens as twin
from visionscope.numerics.tokens import outliers, token_likeness, token_norms

_shapes = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(2, 5))  # channels, height, width


def drawn(seed, shape, images=2, offset=0.3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, *shape, generator=generator, dtype=torch.float64) + offset


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**16), _shapes, st.sampled_from(["b c h w", "channels last"]))
def test_norms_outliers_and_likeness_are_those_of_the_slow_twins(seed, shape, layout):
    maps = drawn(seed, shape)
    given_to = maps if layout == "b c h w" else maps.contiguous(memory_format=torch.channels_last)
    norms, likeness = token_norms(given_to), token_likeness(given_to)
    for image, own, alike, out in zip(maps.tolist(), norms, likeness, outliers(norms, 2.0), strict=True):
        np.testing.assert_allclose(own, twin.norms(image), rtol=1e-12)
        np.testing.assert_allclose(alike, twin.likeness(image), rtol=1e-9, atol=1e-12)
        assert out.tolist() == twin.outlier_places(twin.norms(image), 2.0)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**16), _shapes, st.floats(1e-3, 1e3))
def test_likeness_keeps_its_bounds_and_ignores_scale_rotation_and_order(seed, shape, scale):
    maps = drawn(seed, shape)
    found = token_likeness(maps)
    count, most = shape[1] * shape[2], min(shape[0], shape[1] * shape[2])
    assert bool((found[:, 0] <= 1 + 1e-12).all() and (found[:, 0] >= -1 / (count - 1) - 1e-12).all())
    assert bool(((found[:, 1] >= 0) & (found[:, 1] <= 1 + 1e-12)).all())
    assert bool(((found[:, 2] >= 1 - 1e-9) & (found[:, 2] <= most + 1e-9)).all())
    if shape[0] > 1:
        turn = torch.from_numpy(ortho_group.rvs(shape[0], random_state=seed))
        torch.testing.assert_close(token_likeness(torch.einsum("dc,bchw->bdhw", turn, maps)), found)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    shuffled = maps.flatten(2)[..., order].reshape(maps.shape)
    torch.testing.assert_close(token_likeness(shuffled), found)
    torch.testing.assert_close(token_likeness(scale * maps), found)
    norms = token_norms(maps)
    torch.testing.assert_close(token_norms(scale * maps), scale * norms)
    assert outliers(scale * norms, 5.0).equal(outliers(norms, 5.0))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-3)])
@pytest.mark.parametrize("channels", [5, 40])
def test_constant_tokens_are_one_token(dtype, tolerance, channels):
    token = torch.randn(channels, generator=torch.Generator().manual_seed(0), dtype=dtype)
    maps = token[None, :, None, None].expand(2, -1, 4, 5)
    assert token_likeness(maps) == pytest.approx(torch.ones(2, 3), abs=tolerance)
    assert not outliers(token_norms(maps), 5.0).any()


def test_orthogonal_tokens_of_one_length_have_full_rank_and_no_cosine():
    count = 12
    tokens = torch.from_numpy(ortho_group.rvs(20, random_state=0))[:count]
    found = token_likeness(tokens.T.reshape(1, 20, 3, 4))[0]
    assert found.tolist() == pytest.approx([0, 1 / count, count], abs=1e-12)


def test_opposite_tokens_have_no_mean():
    token = torch.ones(3, dtype=torch.float64)
    maps = torch.stack([token, -token]).T.reshape(1, 3, 1, 2)
    assert token_likeness(maps)[0].tolist() == pytest.approx([-1, 0, 1], abs=1e-12)


def test_zeros_have_no_direction():
    maps = torch.zeros(2, 3, 2, 2, dtype=torch.float64)
    maps[1, 0, 0, :] = 2.0  # two alike, two of zeros
    assert token_likeness(maps)[0].tolist() == [1, 1, 1]
    assert token_likeness(maps)[1].tolist() == pytest.approx([2 / 12, 0.5, 1])
    np.testing.assert_allclose(token_likeness(maps)[1], twin.likeness(maps[1].tolist()))


@pytest.mark.parametrize("shape", [(5, 3, 3), (96, 7, 7), (24, 8, 8)])
def test_an_image_has_the_same_bits_in_any_batch(shape):
    maps = drawn(1, shape, images=12).float()
    for measure in (token_norms, token_likeness):
        for batch in (1, 5):
            parts = torch.cat([measure(part) for part in maps.split(batch)])
            assert parts.equal(measure(maps))


def test_what_is_no_number_stays_in_its_image():
    maps = drawn(0, (4, 3, 3), images=3)
    expected = token_likeness(maps)
    maps[1, 2, 1, 1] = math.inf
    found = token_likeness(maps)
    assert found[1].isnan().all()
    assert found[[0, 2]].equal(expected[[0, 2]])


def test_outliers_are_told_by_the_median_absolute_deviation():
    """Ten norms with median 10 and MAD 1 by scipy: the line lies at 15, and what is on it is no outlier."""
    norms = torch.tensor([[8, 9, 9, 9, 10, 10, 11, 11, 15, 15.01]], dtype=torch.float64)
    assert float(median_abs_deviation(norms[0].numpy())) == 1
    assert outliers(norms, 5.0)[0].nonzero().flatten().tolist() == [9]


def test_one_part_in_a_hundred_thousand_is_rounding():
    norms = torch.ones(1, 9, dtype=torch.float64)
    norms[0, 0], norms[0, 1] = 1 + 0.9e-5, 1 + 1.1e-5
    assert outliers(norms, 5.0)[0].nonzero().flatten().tolist() == [1]


def test_normal_norms_have_four_outliers_in_ten_thousand():
    """What the docs say of them: P(z > 5 x 0.6745)."""
    norms = 100 + torch.randn(100, 4000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert float(outliers(norms, 5.0).double().mean()) == pytest.approx(3.7e-4, rel=0.15)
