"""Mixers that are means over what is near or alike: against loops, against their libraries, and by what must hold."""

import math
import sys
from collections.abc import Callable
from typing import Any

import kornia.filters
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.blur_pool import BlurPool2d
from timm.models.metaformer import Pooling
from torch import Tensor, nn

from reference import means as twins
from visionscope.errors import ConfigError
from visionscope.models.mixers.mixer import mixer_of
from visionscope.models.windows import MsaBlock, draw_convolutions

SIZES = [(6, 6), (7, 5), (4, 9), (4, 4), (1, 1), (2, 3), (1, 6)]
DIM = 6
CONVEX = ["bilateral", "blur_pool", "gaussian", "gaussian_scale_space", "guided", "kmeans", "nonlocal_means"]
FORMULAS: dict[str, Callable[[Any], Any]] = {
    "bilateral": lambda x: twins.bilateral(x, 5, 1.5, 1.0),
    "bilateral(kernel_size=3, sigma_space=0.7, sigma_value=0.4)": lambda x: twins.bilateral(x, 3, 0.7, 0.4),
    "blur_pool": lambda x: twins.binomial(x, 3),
    "blur_pool(kernel_size=7)": lambda x: twins.binomial(x, 7),
    "gaussian": lambda x: twins.gaussian(x, 1.0),
    "gaussian(sigma=1.7)": lambda x: twins.gaussian(x, 1.7),
    "guided": lambda x: twins.guided(x, 5, 0.5),
    "guided(kernel_size=3, eps=0.1)": lambda x: twins.guided(x, 3, 0.1),
    "kmeans": lambda x: twins.k_means(x, 2, 0.5),
    "kmeans(grid=3, h=1.5)": lambda x: twins.k_means(x, 3, 1.5),
    "nonlocal_means": lambda x: twins.nonlocal_means(x, 1.0),
    "nonlocal_means(h=0.6)": lambda x: twins.nonlocal_means(x, 0.6),
    "pooling": lambda x: twins.over_window(x, 3) - x,
    "pooling(window_size=5)": lambda x: twins.over_window(x, 5) - x,
}


def built(text: str) -> nn.Module:
    torch.manual_seed(0)
    return mixer_of(text).build(DIM).double()


def maps(height: int, width: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, DIM, height, width, generator=generator, dtype=torch.float64)


def mixed(text: str, x: Tensor) -> Tensor:
    with torch.no_grad():
        y: Tensor = built(text)(x)
    return y


@pytest.mark.parametrize("text", FORMULAS)
def test_every_size_gives_what_loops_over_positions_give(text: str) -> None:
    for size in SIZES:
        x = maps(*size)
        for image, result in zip(x.numpy(), mixed(text, x), strict=True):
            torch.testing.assert_close(result, torch.from_numpy(FORMULAS[text](image)), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("scales", [2, 3, 4])
def test_a_scale_space_is_what_loops_over_positions_give(scales: int) -> None:
    module = built(f"gaussian_scale_space(scales={scales})")
    weight, bias = (parameter.detach().numpy() for parameter in module.parameters())
    for size in SIZES:
        x = maps(*size)
        with torch.no_grad():
            y = module(x)
        for image, result in zip(x.numpy(), y, strict=True):
            expected = twins.scale_space(image, weight[:, :, 0, 0], bias)
            torch.testing.assert_close(result, torch.from_numpy(expected), rtol=1e-11, atol=1e-11)


def test_what_libraries_do_is_what_they_do_alone() -> None:
    x = maps(8, 7)
    torch.testing.assert_close(mixed("pooling", x), Pooling(3)(x))
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))  # at the edge timm's own default reflects
    torch.testing.assert_close(mixed("blur_pool", x)[inside], BlurPool2d(DIM, 3, stride=1).double()(x)[inside])
    torch.testing.assert_close(
        mixed("gaussian", x), kornia.filters.gaussian_blur2d(x, 7, (1.0, 1.0), "replicate", separable=False)
    )
    torch.testing.assert_close(
        mixed("bilateral", x),
        kornia.filters.bilateral_blur(x, 5, math.sqrt(DIM), (1.5, 1.5), "replicate", "l2"),
    )
    alone = [kornia.filters.guided_blur(one, one, 5, 0.5, "replicate") for one in x.split(1, 1)]
    torch.testing.assert_close(mixed("guided", x), torch.cat(alone, 1))


@pytest.mark.parametrize("text", CONVEX)
@settings(max_examples=15)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_a_mean_keeps_constants_and_stays_within_the_values(text: str, height: int, width: int, seed: int) -> None:
    x = maps(height, width, seed)
    constant = x[..., :1, :1].expand_as(x).contiguous()
    torch.testing.assert_close(mixed(text, constant), constant, rtol=1e-9, atol=1e-9)
    y = mixed(text, x)
    assert (y <= x.amax((2, 3), keepdim=True) + 1e-9).all()
    assert (y >= x.amin((2, 3), keepdim=True) - 1e-9).all()


@pytest.mark.parametrize("text", ["blur_pool", "blur_pool(kernel_size=9)", "gaussian", "gaussian(sigma=0.3)"])
def test_no_frequency_grows_in_a_blur(text: str) -> None:
    impulse = torch.zeros(1, DIM, 32, 32, dtype=torch.float64)
    impulse[:, :, 16, 16] = 1
    gain = torch.fft.fft2(mixed(text, impulse)).abs()
    assert gain.max() <= 1 + 1e-12
    torch.testing.assert_close(gain[..., 0, 0], torch.ones(1, DIM, dtype=torch.float64))


def test_a_binomial_blur_is_a_power_of_the_cosine() -> None:
    """|H| = cos^2(w_1 / 2) cos^2(w_2 / 2) for three taps."""
    impulse = torch.zeros(1, DIM, 16, 16, dtype=torch.float64)
    impulse[:, :, 8, 8] = 1
    angle = torch.pi * torch.fft.fftfreq(16, dtype=torch.float64)
    expected = (angle.cos()[:, None] * angle.cos()[None, :]).square().expand(1, DIM, 16, 16)
    torch.testing.assert_close(torch.fft.fft2(mixed("blur_pool", impulse)).abs(), expected)


def test_pooling_takes_constants_away() -> None:
    assert mixed("pooling", torch.full((1, DIM, 5, 7), 3.0, dtype=torch.float64)).abs().max() < 1e-14


def test_a_wide_nonlocal_mean_is_the_mean_and_a_narrow_one_nothing() -> None:
    x = maps(7, 5)
    torch.testing.assert_close(mixed("nonlocal_means(h=1000000)", x), x.mean((2, 3), keepdim=True).expand_as(x))
    torch.testing.assert_close(mixed("nonlocal_means(h=0.01)", x), x, rtol=1e-9, atol=1e-9)


def test_means_by_likeness_know_no_places() -> None:
    x = maps(4, 4)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(2))

    def shuffled(value: Tensor) -> Tensor:
        return value.flatten(2)[:, :, order].unflatten(2, (4, 4))

    torch.testing.assert_close(mixed("nonlocal_means", shuffled(x)), shuffled(mixed("nonlocal_means", x)))


def test_one_cluster_is_the_mean() -> None:
    x = maps(7, 5)
    torch.testing.assert_close(mixed("kmeans(grid=1)", x), x.mean((2, 3), keepdim=True).expand_as(x))


def test_a_cluster_that_nothing_belongs_to_does_no_harm() -> None:
    """The first cell's centre is 0, and all that it was made of lies in the centres of two others."""
    x = torch.full((1, DIM, 4, 4), 5.0)
    x[..., 2:, :] = -5
    x[..., :1, :2] = -5
    torch.testing.assert_close(mixer_of("kmeans(h=0.1)").build(DIM)(x), x)


def test_two_kinds_of_positions_become_their_own_means() -> None:
    x = torch.zeros(1, DIM, 4, 4, dtype=torch.float64)
    x[..., 2:] = 5 + 0.1 * torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = mixed("kmeans", x)
    torch.testing.assert_close(y[..., :2], torch.zeros_like(y[..., :2]))
    torch.testing.assert_close(
        y[..., 2:], x[..., 2:].mean((2, 3), keepdim=True).expand(1, DIM, 4, 2), rtol=0, atol=0.02
    )


def test_filters_that_keep_edges_end_in_a_blur_and_in_nothing() -> None:
    x = maps(7, 9)
    blur = kornia.filters.gaussian_blur2d(x, 5, (1.5, 1.5), "replicate")
    torch.testing.assert_close(mixed("bilateral(sigma_value=100)", x), blur, rtol=0, atol=1e-3)
    torch.testing.assert_close(mixed("bilateral(sigma_value=0.01)", x), x)
    twice = kornia.filters.box_blur(kornia.filters.box_blur(x, 5, "replicate"), 5, "replicate")
    torch.testing.assert_close(mixed("guided(eps=1000000)", x), twice, rtol=0, atol=1e-5)
    torch.testing.assert_close(mixed("guided(eps=1e-9)", x), x, rtol=0, atol=1e-6)


def test_a_network_leaves_a_mixer_the_weights_that_it_starts_with() -> None:
    """Torch's own are uniform up to 1 / sqrt(fan-in); those of the network's convolutions are drawn wider."""
    block = MsaBlock(32, 32, num_heads=2, head_dim=8, window_size=4, mixer="gaussian_scale_space")
    draw_convolutions(block)
    logits = block.mixer.mix.scale.weight
    assert logits.abs().max() <= logits.shape[1] ** -0.5
    assert block.mixer.proj.weight.abs().max() > logits.shape[1] ** -0.5


@pytest.mark.parametrize("name", ["bilateral", "gaussian", "guided"])
def test_without_kornia_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for module in ("kornia", "kornia.filters"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"^mixer {name} needs kornia: pip install 'visionscope\[mixers\]'$"):
        MsaBlock(8, 8, num_heads=2, head_dim=5, window_size=3, mixer=name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gaussian(sigma=0)", r"^mixer gaussian\.sigma: must be .*0\.3.*; got 0"),
        ("blur_pool(kernel_size=4)", r"^mixer blur_pool\.kernel_size: must be 3, 5, 7 or 9; got 4"),
        ("nonlocal_means(h=0)", r"^mixer nonlocal_means\.h: must be .*0.*; got 0"),
        ("kmeans(grid=0)", r"^mixer kmeans\.grid: must be .*1.*; got 0"),
        ("guided(kernel_size=2)", r"^mixer guided\.kernel_size: must be an odd number from 3 to 31; got 2"),
    ],
)
def test_settings_that_break_a_rule_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mixer_of(text)
