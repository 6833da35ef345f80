"""Mixers of the attention family and involution: the formulas, loop by loop, and what each becomes at its limits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.halo_attn import HaloAttn
from torch import Tensor, nn

from models.mixers.test_every_mixer import built
from reference import mixers_attention as twin
from visionscope.errors import ConfigError
from visionscope.models.mixers.mixer import mixer_of

SIZES = [(4, 4), (3, 5), (7, 2)]
sizes = st.tuples(st.integers(1, 7), st.integers(1, 7))


def _map(size: tuple[int, int], dim: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(1, dim, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _numbers(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy().squeeze() for name, value in module.named_parameters()}


def _same(found: Tensor, expected: np.ndarray) -> None:
    torch.testing.assert_close(found.detach()[0], torch.from_numpy(expected), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "text",
    ["global_attention", "neighbourhood", "neighbourhood(kernel_size=5)", "pooled_attention",
     "pooled_attention(reduction=3)"],
)  # fmt: skip
def test_attention_is_its_formula(text: str, size: tuple[int, int]) -> None:
    mixer = mixer_of(text)
    module, x = built(mixer, dim=8), _map(size)
    weights, image = _numbers(module), x[0].numpy()
    keys = twin.means(image, mixer.reduction) if mixer.name == "pooled_attention" else image
    seen = twin.around(image, mixer.kernel_size // 2) if mixer.name == "neighbourhood" else twin.everywhere(keys)
    k, v = (twin.heads_of(part, keys, 4) for part in np.split(weights["kv.weight"], 2))
    _same(module(x), twin.attend(twin.heads_of(weights["q.weight"], image, 4), k, v, seen))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("window", [2, 3])
def test_hilo_is_its_formula(window: int, size: tuple[int, int]) -> None:
    module, x = built(mixer_of(f"hilo(window_size={window})"), dim=8), _map(size)
    weights = _numbers(module)
    parts = (weights[f"{name}.weight"] for name in ("high_qkv", "low_q", "low_kv"))
    _same(module(x), twin.hilo(x[0].numpy(), *parts, window))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel_size", [3, 7])
def test_involution_is_its_formula(kernel_size: int, size: tuple[int, int]) -> None:
    module, x = built(mixer_of(f"involution(kernel_size={kernel_size})"), dim=8), _map(size)
    weights = _numbers(module)
    parts = (weights[name] for name in ("reduce.weight", "reduce.bias", "span.weight", "span.bias"))
    _same(module(x), twin.involution(x[0].numpy(), *parts, kernel_size))


@pytest.mark.parametrize("size", SIZES)
def test_the_non_local_layer_is_its_formula(size: tuple[int, int]) -> None:
    module, x = built(mixer_of("nonlocal"), dim=8), _map(size)
    weights = _numbers(module)
    _same(module(x), twin.non_local(x[0].numpy(), *((weights[f"{n}.weight"], weights[f"{n}.bias"]) for n in "tpgz")))


@pytest.mark.parametrize("size", SIZES)
def test_the_lambda_layer_is_its_formula(size: tuple[int, int]) -> None:
    module, x = built(mixer_of("lambda(kernel_size=5)"), dim=8), _map(size)
    weights = _numbers(module)
    norm = weights["norm_q.weight"], weights["norm_q.bias"]
    expected = twin.lambda_layer(
        x[0].numpy(), weights["qkv.weight"], norm, weights["conv_lambda.weight"], weights["conv_lambda.bias"], 1e-6
    )
    _same(module(x), expected)


@pytest.mark.parametrize("size", [(4, 4), (4, 8), (5, 3), (1, 9)])
@pytest.mark.parametrize(("block", "halo"), [(4, 3), (2, 1)])
def test_the_halo_layer_is_its_formula_on_any_size(block: int, halo: int, size: tuple[int, int]) -> None:
    module, x = built(mixer_of(f"halo(block_size={block}, halo_size={halo})"), dim=8), _map(size)
    names = ("q.weight", "kv.weight", "pos_embed.height_rel", "pos_embed.width_rel")
    weights = _numbers(module)
    whole = twin.filled(x[0].numpy(), block)
    expected = twin.halo(whole, *(weights[f"layer.{name}"] for name in names), block, halo)
    _same(module(x), expected[:, : size[0], : size[1]])


@pytest.mark.parametrize("size", [(4, 4), (8, 12)])
def test_where_halo_needs_no_filling_it_is_timms_layer(size: tuple[int, int]) -> None:
    module = built(mixer_of("halo"))
    assert isinstance(module.layer, HaloAttn)
    x = _map(size, dim=16)
    assert torch.equal(module(x), module.layer(x))


@given(size=sizes, seed=st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_attention_to_all_neighbours_is_attention_to_all(size: tuple[int, int], seed: int) -> None:
    whole, near, pooled = (
        built(mixer_of(text), seed=seed, dim=8)
        for text in ("global_attention", "neighbourhood(kernel_size=13)", "pooled_attention(reduction=7)")
    )
    x = _map(size, seed=seed)
    torch.testing.assert_close(near(x), whole(x))
    # Of one square, all that is heard is its mean.
    mean = x.mean((2, 3), keepdim=True)
    value = nn.functional.conv2d(mean, pooled.kv.weight[8:, :, None, None])
    torch.testing.assert_close(pooled(x), value.expand_as(x))


@given(size=sizes, seed=st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_a_constant_stays_a_constant(size: tuple[int, int], seed: int) -> None:
    """Weights of a softmax add to one: each channel's constant is that of the values."""
    x = _map((1, 1), seed=seed).expand(1, 8, *size)
    for text in ("global_attention", "neighbourhood", "pooled_attention", "hilo", "nonlocal"):
        y = built(mixer_of(text), seed=seed, dim=8)(x)
        torch.testing.assert_close(y, y[:, :, :1, :1].expand_as(y), rtol=1e-9, atol=1e-11)


@given(size=sizes, seed=st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_involution_with_a_fixed_kernel_is_a_depthwise_convolution(size: tuple[int, int], seed: int) -> None:
    module = built(mixer_of("involution(kernel_size=3)"), seed=seed, dim=8)
    with torch.no_grad():
        module.span.weight.zero_()
    kernels = module.span.bias.reshape(4, 1, 3, 3).repeat_interleave(2, 0)
    x = _map(size, seed=seed)
    torch.testing.assert_close(module(x), nn.functional.conv2d(x, kernels, padding=1, groups=8))


@pytest.mark.parametrize("text", ["nonlocal", "lambda"])
def test_nothing_is_normalised_over_the_batch(text: str) -> None:
    assert not any(isinstance(module, nn.BatchNorm2d) for module in mixer_of(text).build(16).modules())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("neighbourhood(kernel_size=4)", r"^mixer neighbourhood\.kernel_size: must be an odd number .*; got 4"),
        ("pooled_attention(reduction=1)", r"^mixer pooled_attention\.reduction: must be .*2.*; got 1"),
        ("hilo(window_size=0)", r"^mixer hilo\.window_size: must be .*2.*; got 0"),
        ("halo(halo_size=0)", r"^mixer halo\.halo_size: must be .*1.*; got 0"),
        ("halo(block=4)", r"^mixer halo: there is no setting 'block'\. Did you mean 'block_size'\?$"),
        ("involution(kernel_size=2)", r"^mixer involution\.kernel_size: must be an odd number from 3 to 63; got 2"),
    ],
)  # fmt: skip
def test_settings_that_break_a_rule_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mixer_of(text)
