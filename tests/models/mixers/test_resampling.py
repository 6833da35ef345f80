"""Mixers that go down to lower resolutions and back, against matrices and by what must hold."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from reference import resampling as twins
from visionscope.errors import ConfigError
from visionscope.models.mixers.mixer import mixer_of

SIZES = [(8, 8), (7, 5), (9, 13), (4, 4), (1, 1), (2, 3), (1, 6)]
DIM = 6


def built(text: str) -> nn.Module:
    """With weights that are none of them at their first values."""
    torch.manual_seed(0)
    module = mixer_of(text).build(DIM).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += torch.randn_like(parameter)
    return module


def maps(height: int, width: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, DIM, height, width, generator=generator, dtype=torch.float64)


def gate_logits(module: nn.Module, image: np.ndarray, gates: str) -> np.ndarray:
    """(scales, 1 or c, 1 or h, 1 or w), from the weights alone."""
    weights = [parameter.detach().numpy() for parameter in module.parameters()]
    if gates == "fixed":
        return np.asarray(weights[0][0])
    if gates == "position":
        logits = np.einsum("sc,chw->shw", weights[0][:, :, 0, 0], image) + weights[1][:, None, None]
        return logits[:, None]
    hidden = weights[0] @ image.mean((1, 2)) + weights[1]
    hidden = hidden * 0.5 * (1 + torch.erf(torch.from_numpy(hidden) / 2**0.5).numpy())
    return (weights[2] @ hidden + weights[3]).reshape(-1, DIM, 1, 1)


@pytest.mark.parametrize("gates", ["fixed", "channel", "position"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_scale_decomposition_is_what_its_bands_say(size: tuple[int, int], gates: str) -> None:
    for scales in (2, 3, 4):
        module, x = built(f"scale_decomposition(scales={scales}, gates={gates})"), maps(*size)
        with torch.no_grad():
            y = module(x)
        for image, result in zip(x.numpy(), y, strict=True):
            expected = twins.gated(image, gate_logits(module, image, gates))
            torch.testing.assert_close(result, torch.from_numpy(expected), rtol=1e-11, atol=1e-11)


@settings(max_examples=30)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(2, 6), st.integers(0, 9))
def test_with_gates_of_one_the_bands_add_to_the_map_itself(height: int, width: int, scales: int, seed: int) -> None:
    x = maps(height, width, seed)
    assert torch.equal(mixer_of(f"scale_decomposition(scales={scales})").build(DIM).double()(x), x)
    total = sum(twins.bands(x[0].numpy(), scales))
    torch.testing.assert_close(torch.from_numpy(np.asarray(total)), x[0], rtol=1e-13, atol=1e-13)


@settings(max_examples=20)
@given(st.integers(1, 20), st.integers(1, 20))
def test_of_a_constant_there_is_the_last_band_alone(height: int, width: int) -> None:
    module = built("scale_decomposition")
    x = torch.ones(1, DIM, height, width, dtype=torch.float64)
    last = 2 * module.gates.logits[:, -1].sigmoid()
    torch.testing.assert_close(module(x), last * x, rtol=1e-12, atol=1e-12)


def test_the_first_band_is_the_finest() -> None:
    """With the first gate closed a checkerboard is gone, but at edges, and with the last one closed a constant."""
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    board = (1.0 - 2 * ((rows + columns) % 2)).double().expand(1, DIM, 32, 32)
    module = mixer_of("scale_decomposition").build(DIM).double()
    with torch.no_grad():
        module.gates.logits[:, 0] = -1e3
        assert module(board)[..., 10:-10, 10:-10].abs().max() < 1e-12
        module.gates.logits.zero_()
        module.gates.logits[:, -1] = -1e3
        assert module(torch.ones_like(board)).abs().max() < 1e-12


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_u_net_is_what_matrices_and_loops_give(size: tuple[int, int]) -> None:
    for depth in (1, 2, 3):
        module, x = built(f"unet(depth={depth})"), maps(*size)
        convs = [one for one in module.modules() if isinstance(one, nn.Conv2d)]
        assert len(convs) == depth
        kernels, biases = (
            [value.detach().numpy() for value in kind] for kind in zip(*map(_weights, convs), strict=True)
        )
        with torch.no_grad():
            y = module(x)
        for image, result in zip(x.numpy(), y, strict=True):
            expected = twins.unet(image, kernels, biases)
            torch.testing.assert_close(result, torch.from_numpy(expected), rtol=1e-11, atol=1e-11)


def _weights(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    assert conv.bias is not None
    return conv.weight, conv.bias


def test_a_u_net_whose_kernels_are_zero_does_nothing() -> None:
    module = built("unet")
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    x = maps(7, 9)
    assert torch.equal(module(x), x)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scale_decomposition(gates=pos)", r"^mixer scale_decomposition\.gates: must be .*fixed, channel.* got 'pos'"),
        ("scale_decomposition(scales=1)", r"^mixer scale_decomposition\.scales: must be .*2.*; got 1"),
        ("unet(depth=0)", r"^mixer unet\.depth: must be .*1.*; got 0"),
    ],
)
def test_settings_that_break_a_rule_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mixer_of(text)


def test_what_gates_depend_on_is_known_of_each_setting() -> None:
    assert not mixer_of("scale_decomposition").data_specific
    assert mixer_of("scale_decomposition(gates=position)").data_specific
    assert mixer_of("scale_decomposition(gates=channel)").reach() is None
    assert mixer_of("scale_decomposition(gates=position)").reach() == 9
