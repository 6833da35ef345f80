"""The half-diagonal and the rings against the official numbers, slow twins and signals whose spectrum is known."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import feature_maps as twin
from visionscope.numerics import spectrum

OFFICIAL = json.loads((Path(__file__).parent.parent / "golden" / "official_measures.json").read_text())["feature_maps"]
HALF_LOG_TWO = math.log(2) / 2


def official_input(case):
    batch, channels, side, _ = map(int, case.split("x"))
    x = np.random.default_rng(side).standard_normal((batch, channels, side, side)).astype(np.float32)
    return (np.cumsum(x, axis=-1) * 0.3 + x).astype(np.float32)


def delta(maps):
    profile = spectrum.diagonal_log_amplitude(maps)
    return profile - profile[:, :1]


def random_maps(shape, seed, offset=1.0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape) + offset)


def as_tokens(maps):
    """The same maps as a view of tokens behind a class token: not contiguous, channels innermost."""
    batch, channels, height, width = maps.shape
    tokens = torch.cat([torch.full((batch, 1, channels), 7.0), maps.flatten(2).mT], dim=1)
    return tokens[:, 1:].mT.unflatten(2, (height, width))


shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(3, 9), st.integers(3, 9))


@pytest.mark.parametrize("case", OFFICIAL["cases"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_official_numbers_come_out(case, layout):
    maps = torch.from_numpy(official_input(case)).contiguous(memory_format=layout)
    assert delta(maps).mean(0).tolist() == pytest.approx(OFFICIAL["cases"][case]["delta_log_amplitude"], abs=1e-5)


@pytest.mark.parametrize("case", OFFICIAL["cases"])
def test_twin_is_the_official_code(case):
    expected = OFFICIAL["cases"][case]["delta_log_amplitude"]
    assert twin.official_delta_log_amplitude(official_input(case)).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("grid", "length"), [((7, 7), 4), ((8, 8), 4), ((14, 14), 7), ((3, 5), 2), ((2, 9), 0)])
def test_half_diagonal_length(grid, length):
    assert spectrum.diagonal_length(grid) == length


@pytest.mark.parametrize(("side", "last"), [(56, 0.9643), (28, 0.9286), (14, 0.8571), (8, 0.75), (7, 0.8571)])
def test_true_frequency_of_the_last_bin(side, last):
    axis = spectrum.frequencies((side, side), spectrum.diagonal_length((side, side)))
    assert axis[0] == 0
    assert axis[-1] == pytest.approx(last, abs=1e-4)


@given(shapes, st.integers(0, 2**32 - 1))
def test_half_diagonal_equals_the_term_by_term_sum(shape, seed):
    maps = random_maps(shape, seed)
    expected = np.array([twin.diagonal_log_amplitude(image) for image in maps.numpy()])
    for view in (maps, maps.contiguous(memory_format=torch.channels_last), as_tokens(maps)):
        np.testing.assert_allclose(spectrum.diagonal_log_amplitude(view), expected, atol=1e-10)


@given(st.integers(3, 15), st.integers(0, 2**32 - 1))
def test_float32_stays_within_its_goal(side, seed):
    maps = random_maps((4, 16, side, side), seed).float()
    np.testing.assert_allclose(delta(maps).mean(0), twin.official_delta_log_amplitude(maps), atol=1e-5)


def test_a_mean_that_cancels_keeps_its_digits_in_float32():
    maps = random_maps((8, 64, 14, 14), seed=7, offset=0.0).float()
    maps[3, 5] -= maps[3, 5].double().mean().float()
    maps[3, 5, 0, 0] -= maps[3, 5].double().sum().float() - 2e-6
    assert abs(float(maps[3, 5].double().sum())) < 1e-5
    for layout in (torch.contiguous_format, torch.channels_last):
        found = spectrum.diagonal_log_amplitude(maps.contiguous(memory_format=layout))
        np.testing.assert_allclose(found, spectrum.diagonal_log_amplitude(maps.double()), atol=1e-5)


@given(shapes, st.integers(0, 2**32 - 1))
def test_rings_equal_their_twin(shape, seed):
    maps = random_maps(shape, seed)
    expected = np.array([twin.radial_log_amplitude(image) for image in maps.numpy()])
    np.testing.assert_allclose(spectrum.radial_log_amplitude(maps), expected, atol=1e-10)


@pytest.mark.parametrize("side", [14, 15])
def test_white_noise_is_half_log_two_not_zero(side):
    # the coefficient at 0 is real, the others are complex, so the mean of their logarithms differs by ln(2) / 2
    means = delta(random_maps((200, 100, side, side), seed=3, offset=0.0).float()).mean(0)
    assert means[1:].tolist() == pytest.approx([HALF_LOG_TWO] * (len(means) - 1), abs=0.03)


def test_box_blur_multiplies_the_amplitude_by_its_transfer_function():
    noise = random_maps((200, 200, 16, 16), seed=4, offset=0.0)
    blurred = sum(noise.roll((dy, dx), (2, 3)) for dy in (0, 1) for dx in (0, 1)) / 4
    omega = math.pi * np.array(spectrum.frequencies((16, 16), 8))
    gain = 2 * np.log(np.cos(omega / 2))
    np.testing.assert_allclose(delta(blurred) - delta(noise), np.tile(gain, (200, 1)), atol=1e-3)
    assert delta(blurred).mean(0)[1:].numpy() == pytest.approx(HALF_LOG_TWO + gain[1:], abs=0.03)


@pytest.mark.parametrize("grid", [(8, 8), (7, 7), (8, 12), (12, 7)])
def test_constant_map_is_floored(grid):
    maps = torch.full((2, 3, *grid), 2.5, dtype=torch.float64)
    floor = math.log(1e-6) - math.log(2.5 * grid[0] * grid[1])
    assert delta(maps)[:, 1:].flatten().numpy() == pytest.approx(floor, abs=1e-6)


@given(st.integers(3, 10), st.integers(0, 2**32 - 1), st.integers(0, 9), st.integers(0, 9))
def test_circular_shift_changes_nothing(side, seed, down, right):
    maps = random_maps((2, 3, side, side), seed)
    np.testing.assert_allclose(delta(maps.roll((down, right), (2, 3))), delta(maps), atol=1e-4)


@given(shapes, st.integers(0, 2**32 - 1), st.floats(10, 1000))
def test_an_offset_changes_frequency_zero_alone(shape, seed, offset):
    maps = random_maps(shape, seed)
    before, after = (spectrum.diagonal_log_amplitude(x) for x in (maps, maps + offset))
    np.testing.assert_allclose(after[:, 1:], before[:, 1:], atol=1e-4)
    assert (after[:, 0] > before[:, 0]).all()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_wave_shows_up_at_its_own_frequency(k):
    place = torch.arange(8)[:, None] + torch.arange(8)
    wave = torch.cos(2 * math.pi * k * place / 8).double().expand(1, 1, 8, 8)
    profile = spectrum.diagonal_log_amplitude(wave)[0]
    assert int(profile.argmax()) == k
    assert float(profile[k]) == pytest.approx(math.log(32), abs=1e-6)


@pytest.mark.parametrize("measure", [spectrum.diagonal_log_amplitude, spectrum.radial_log_amplitude])
def test_bfloat16_maps_are_measured_in_float32_even_under_autocast(measure):
    maps = random_maps((3, 5, 14, 14), seed=5).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = measure(maps.requires_grad_())
    assert values.dtype == torch.float32
    assert not values.requires_grad
    np.testing.assert_allclose(values, measure(maps.detach().double()), atol=1e-5)


def test_chunks_of_a_large_batch_are_put_together_in_order():
    maps = random_maps((40, 64, 56, 56), seed=6).float()
    each = torch.cat([spectrum.diagonal_log_amplitude(image[None]) for image in maps])
    np.testing.assert_allclose(spectrum.diagonal_log_amplitude(maps), each, atol=1e-5)
