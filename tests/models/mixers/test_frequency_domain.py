"""Mixers in the Fourier domain, and two convolutional ones of timm: formulas, identities, narrow numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.focalnet import FocalModulation
from timm.models.metaformer import SepConv
from torch import Tensor, nn

from models.mixers.test_every_mixer import built
from reference import mixers_spectral as twin
from visionscope.errors import ConfigError
from visionscope.models.mixers.mixer import mixer_of

SPECTRAL = ("fnet", "gfnet", "afno", "aff")
SIZES = [(4, 4), (8, 8), (3, 5), (6, 7), (1, 1), (1, 6), (5, 1)]
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


def _map(size: tuple[int, int], dim: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(1, dim, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _complex(values: Tensor) -> np.ndarray:
    real, imaginary = values.detach().numpy()
    return real + 1j * imaginary


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", [*SPECTRAL, "gfnet(grid=2)", "afno(threshold=0.5)"])
def test_each_is_its_formula(text: str, size: tuple[int, int]) -> None:
    mixer = mixer_of(text)
    module, x = built(mixer, dim=8), _map(size)
    image = x[0].numpy()
    if mixer.name == "fnet":
        expected = twin.fnet(image)
    elif mixer.name == "gfnet":
        expected = twin.gfnet(image, _complex(module.gains.unflatten(0, (2, -1))))
    else:
        weights = _complex(module.network.weights.transpose(0, 1)), _complex(module.network.biases.transpose(0, 1))
        expected = twin.afno(image, *weights, mixer.threshold) if mixer.name == "afno" else twin.aff(image, *weights)
    torch.testing.assert_close(module(x).detach()[0], torch.from_numpy(expected), rtol=1e-9, atol=1e-11)


@given(size=sizes, seed=st.integers(0, 2**16), grid=st.sampled_from([2, 8, 14]))
@settings(max_examples=25, deadline=None)
def test_gfnet_with_gains_of_one_is_the_identity(size: tuple[int, int], seed: int, grid: int) -> None:
    module = mixer_of(f"gfnet(grid={grid})").build(8).double()
    with torch.no_grad():
        module.gains[:8], module.gains[8:] = 1, 0
    x = _map(size, seed=seed)
    torch.testing.assert_close(module(x), x)


@given(size=sizes, seed=st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
def test_gfnet_with_real_gains_that_fall_is_a_low_pass_filter_on_every_size(size: tuple[int, int], seed: int) -> None:
    """Gains that are stored once are those of the same frequencies on every size."""
    module = mixer_of("gfnet").build(8).double()
    rows, columns = torch.linspace(-0.5, 0.5, 9)[:, None].abs(), torch.linspace(0, 0.5, 5)
    with torch.no_grad():
        module.gains[:8], module.gains[8:] = 1 - rows - columns, 0
    x = _map(size, seed=seed)
    expected = 1 - torch.fft.fftfreq(size[0]).abs()[:, None] - torch.fft.fftfreq(size[1]).abs()
    found, before = torch.fft.fft2(module(x)), torch.fft.fft2(x)
    torch.testing.assert_close(found, before * expected, rtol=1e-6, atol=1e-6)


@given(size=sizes, seed=st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
def test_fnet_of_fnet_is_the_even_part(size: tuple[int, int], seed: int) -> None:
    """Re F Re F x = (x(c, n) + x(-c, -n)) / 2, since F twice is a mirror and Re the even part for a real map."""
    module, x = mixer_of("fnet").build(8), _map(size, seed=seed)
    tokens = x.flatten(2)
    mirrored = tokens.flip(1, 2).roll((1, 1), (1, 2))
    torch.testing.assert_close(module(module(x)), ((tokens + mirrored) / 2).reshape(x.shape))


@given(size=sizes, seed=st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
def test_a_mask_of_ones_is_the_identity_and_a_high_threshold_is_nothing(size: tuple[int, int], seed: int) -> None:
    aff, afno = (built(mixer_of(text), seed=seed, dim=8) for text in ("aff", "afno(threshold=1e6)"))
    with torch.no_grad():
        aff.network.weights[1] = 0
        aff.network.biases[1, 0], aff.network.biases[1, 1] = 1, 0
    x = _map(size, seed=seed)
    torch.testing.assert_close(aff(x), x)
    assert not afno(x).any()


@given(size=sizes, seed=st.integers(0, 2**16), shift=st.tuples(st.integers(0, 8), st.integers(0, 8)))
@settings(max_examples=25, deadline=None)
def test_a_learned_filter_moves_with_its_map(size: tuple[int, int], seed: int, shift: tuple[int, int]) -> None:
    """Gains of frequencies are a convolution round the edges."""
    module, x = built(mixer_of("gfnet"), seed=seed, dim=8), _map(size, seed=seed)
    torch.testing.assert_close(module(x.roll(shift, (2, 3))), module(x).roll(shift, (2, 3)))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("text", SPECTRAL)
def test_half_precision_is_near(text: str, autocast: bool) -> None:
    module = built(mixer_of(text)).float()
    x = _map((8, 6), dim=16).float()
    with torch.inference_mode():
        expected = module(x)
        found = module.to(torch.float32 if autocast else torch.bfloat16)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = found(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, rtol=5e-2, atol=5e-2 * float(expected.abs().max()))


def test_the_separable_convolution_is_timms() -> None:
    module = built(mixer_of("sep_conv(kernel_size=5)"))
    bare = SepConv(16, kernel_size=5, padding=2).double()
    bare.load_state_dict(module.state_dict())
    x = _map((5, 7), dim=16)
    assert torch.equal(module(x), bare(x))


def test_focal_modulation_is_timms_before_its_last_linear_map() -> None:
    module = built(mixer_of("focal(levels=2)"))
    bare = FocalModulation(16, focal_window=3, focal_level=2).double()
    bare.load_state_dict(module.state_dict(), strict=False)
    x = _map((5, 7), dim=16)
    assert isinstance(module.proj, nn.Identity)
    torch.testing.assert_close(bare.proj(module(x)), bare(x))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gfnet(grid=7)", r"^mixer gfnet\.grid: must be an even number from 2 to 64; got 7"),
        ("afno(threshold=-1)", r"^mixer afno\.threshold: must be .*0.*; got -1"),
        ("fnet(norm=1)", r"^mixer fnet: there is no setting 'norm'\. It has none$"),
        ("focal(levels=0)", r"^mixer focal\.levels: must be .*1.*; got 0"),
        ("sep_conv(kernel_size=6)", r"^mixer sep_conv\.kernel_size: must be an odd number from 3 to 63; got 6"),
    ],
)
def test_settings_that_break_a_rule_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mixer_of(text)
