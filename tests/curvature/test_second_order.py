"""Second derivatives: right for every family, named where there are none, and nothing of the model is left changed."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference.second_order import OBJECTIVE, Frozen, batch, product_and_difference
from visionscope.curvature.hvp import HessianProduct
from visionscope.curvature.plane import PlaneModel
from visionscope.curvature.second_order import (
    check_passes,
    graph_bytes,
    twice_differentiable,
)
from visionscope.errors import NondeterminismError
from visionscope.tracing.caches import clear_caches

# Small members; `test_*` are timm's own for tests.
TINY: dict[str, Callable[[], nn.Module]] = {
    "hard sigmoid": lambda: timm.create_model("mobilenetv3_small_050", num_classes=5),
    "attention": lambda: timm.create_model("test_vit", num_classes=5, img_size=32),
    "windows": lambda: timm.create_model(
        "swin_tiny_patch4_window7_224",
        num_classes=5,
        img_size=32,
        window_size=4,
        depths=(2, 1),
        num_heads=(2, 2),
        embed_dim=16,
    ),
    "layer scale": lambda: timm.create_model("test_convnext", num_classes=5),
    "SiLU": lambda: timm.create_model("test_efficientnet", num_classes=5),
}
FAMILIES = """
vit_tiny_patch16_224 deit_tiny_patch16_224 cait_xxs24_224 xcit_nano_12_p8_224 pit_ti_224 levit_128s
swin_tiny_patch4_window7_224 swinv2_cr_tiny_ns_224 twins_svt_small pvt_v2_b0 poolformer_s12 coatnet_nano_rw_224
convnext_atto resnet18 resnetv2_50 regnetx_002 densenet121 vgg11_bn efficientnet_b0 mobilenetv3_small_050
ghostnet_050 mixer_s16_224
"""


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
@pytest.mark.parametrize("family", TINY)
def test_products_are_the_difference_of_gradients(family: str, batch_norm: str) -> None:
    model = TINY[family]().double()
    found, expected = product_and_difference(model, batch(32), batch_norm)
    assert float(found.norm()) > 0
    assert float((found - expected).norm() / expected.norm()) < 1e-4


def kept_biases() -> nn.Module:
    """A LeViT, which keeps its table of position biases in evaluation mode, after a pass without gradients."""
    model = timm.create_model(
        "levit_128s",
        img_size=64,
        embed_dim=(16, 16, 16),
        key_dim=8,
        num_heads=(2, 2, 2),
        depth=(1, 1, 1),
        num_classes=5,
    ).double()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.ones_(module.weight)  # branches begin at zero
    nn.init.normal_(model.head.linear.weight)
    with torch.no_grad():
        model.eval()(batch(64).images)
    return model


def test_what_a_model_keeps_is_computed_anew_at_each_pass() -> None:
    model = kept_biases()
    attention = model.stages[0].blocks[0].attn
    assert attention.attention_bias_cache
    with twice_differentiable(model):
        for _ in range(2):  # the first graph is gone when the second is made
            loss = OBJECTIVE.mean_nll(model, batch(64), attention.attention_biases)
            (gradient,) = torch.autograd.grad(loss, [attention.attention_biases])
            assert float(gradient.abs().sum()) > 0
    assert not attention.attention_bias_cache
    assert not model._forward_pre_hooks
    found, expected = product_and_difference(model, batch(64))
    assert float((found - expected).norm() / expected.norm()) < 1e-4


def test_a_plane_moves_what_a_model_keeps() -> None:
    model, images = kept_biases(), batch(64).images
    name = "stages.0.blocks.0.attn.attention_biases"
    direction = {name: torch.ones_like(model.get_parameter(name)).cumsum(1)}
    plane = PlaneModel(model, [name])
    with torch.no_grad():
        here = plane.network(images)
        plane.move([(1.0, plane.prepared(direction))])
        there = plane.network(images)
        model.get_parameter(name).add_(direction[name])
        clear_caches(model)
        torch.testing.assert_close(there, model(images), rtol=1e-12, atol=0)
    assert not torch.allclose(here, there, rtol=1e-6, atol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FAMILIES.split())
def test_products_of_each_family(name: str) -> None:
    smaller = {"mlp_ratio": 0.02} if name.startswith("vgg") else {}  # its head has 120 million weights
    model = timm.create_model(name, num_classes=5, **smaller).double()
    side = 64
    if model.pretrained_cfg["fixed_input_size"]:
        side = timm.data.resolve_model_data_config(model)["input_size"][1]
    found, expected = product_and_difference(model, batch(side))
    assert float(found.norm()) > 0
    assert float((found - expected).norm() / expected.norm()) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("inplace", [False, True])
def test_the_hard_sigmoid_has_the_same_bits_and_a_second_derivative(dtype: torch.dtype, inplace: bool) -> None:
    values = torch.cat([torch.linspace(-5, 5, 100_001, dtype=dtype), torch.tensor([-3.0, 3.0, -0.0], dtype=dtype)])
    module = nn.Hardsigmoid(inplace=inplace)
    plain = values.clone().requires_grad_()
    expected = F.hardsigmoid(plain)
    (slope,) = torch.autograd.grad(expected.square().sum(), plain)
    with twice_differentiable(module):
        ours = values.clone().requires_grad_()
        found = module(ours.clone())
        (first,) = torch.autograd.grad(found.square().sum(), ours, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), ours)
    assert torch.equal(found, expected)
    torch.testing.assert_close(first, slope, rtol=1e-5, atol=1e-7)
    inner = (values.abs() < 3).to(dtype)
    torch.testing.assert_close(second, inner / 18, rtol=1e-6, atol=0)


class Dense(nn.Module):
    """Batch norm, dropout and attention beside each other."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.attention = nn.MultiheadAttention(3, 1, batch_first=True)
        self.head = nn.Linear(3, 5)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.norm(x) * self.frozen[:, None, None]).flatten(2).mT
        return self.head((x + self.attention(x, x, x)[0]).mean(1))


def state(model: nn.Module) -> list[Any]:
    buffers = [(name, value.clone()) for name, value in model.state_dict(keep_vars=False).items()]
    flags = [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    modes = [(module.training, getattr(module, "track_running_stats", None)) for module in model.modules()]
    switches = (
        torch.backends.mha.get_fastpath_enabled(),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
        torch.is_grad_enabled(),
    )
    return [dict(buffers), flags, modes, switches]


def assert_same(first: list[Any], second: list[Any]) -> None:
    assert first[1:] == second[1:]
    assert first[0].keys() == second[0].keys()
    assert all(torch.equal(first[0][name], second[0][name]) for name in first[0])


def fail_inside(model: nn.Module, batch_norm: str, images: Tensor) -> None:
    with twice_differentiable(model, batch_norm):
        model(images)
        raise KeyError("mine")


@pytest.mark.parametrize("batch_norm", ["eval", "train"])
def test_everything_is_as_before_afterwards_even_after_an_exception(batch_norm: str) -> None:
    model = Dense().train()
    model.drop.eval()
    model(torch.randn(8, 3, 4, 4))  # running statistics that are not the initial ones
    before = state(model)
    images = batch(4, 8, torch.float32)
    with torch.no_grad(), twice_differentiable(model, batch_norm):
        loss = OBJECTIVE.mean_nll(model, images, model.head.weight)
        parameters = list(model.parameters())
        product = HessianProduct(loss, parameters).block(range(len(parameters)))
        assert bool(product(torch.ones(sum(p.numel() for p in parameters))).abs().sum() > 0)
        assert model.frozen.requires_grad
        assert torch.backends.cuda.flash_sdp_enabled() is False
        assert torch.backends.mha.get_fastpath_enabled() is False
    assert_same(state(model), before)
    with pytest.raises(KeyError, match="mine"):
        fail_inside(model, batch_norm, images.images)
    assert_same(state(model), before)


def test_batch_statistics_are_used_when_asked_for() -> None:
    model = Dense()
    model.norm.running_mean.fill_(7)
    images = batch(4, 8, torch.float32).images
    mean, variance = images.mean((0, 2, 3), keepdim=True), images.var((0, 2, 3), keepdim=True, correction=0)
    seen = []
    model.norm.register_forward_hook(lambda module, args, output: seen.append(output.detach()))
    for batch_norm in ("eval", "train"):
        with twice_differentiable(model, batch_norm):
            model(images)
    torch.testing.assert_close(seen[0], (images - 7) / (1 + 1e-5) ** 0.5)
    torch.testing.assert_close(seen[1], (images - mean) / (variance + 1e-5).sqrt())
    with (
        pytest.raises(ValueError, match="batch_norm: must be eval or train; got 'both'"),
        twice_differentiable(model, "both"),
    ):
        pass


class Noisy(nn.Module):
    """Functional dropout that stays on in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, training=True)


def test_passes_that_differ_are_refused_with_the_module_that_draws() -> None:
    layers = [nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.Flatten()]
    model = nn.Sequential(nn.Sequential(*layers), nn.Linear(144, 5)).train()
    state_before = torch.get_rng_state()
    check_passes(model, Frozen())
    model[0].insert(2, Noisy())
    with pytest.raises(
        NondeterminismError,
        match=r"Sequential: two passes over the same images differ, first in 0\.2 \(Noisy\); likely a random draw",
    ):
        check_passes(model, Frozen())
    assert torch.equal(torch.get_rng_state(), state_before)
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_sample_that_draws_anew_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    with pytest.raises(NondeterminismError, match="the sample gave other images when its first 8 images were loaded"):
        check_passes(model, Frozen(noise=1e-6))


def test_a_graphs_bytes_grow_with_the_images_and_leave_the_models_out() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.Tanh(), nn.Linear(64, 5))
    images = batch(8, 16, torch.float32)
    with twice_differentiable(model):
        loss = lambda some: OBJECTIVE.mean_nll(model, some, model[1].weight)  # noqa: E731
        measured = graph_bytes(model, images, loss)
        model[1].bias.data = model[1].bias.data.clone()
    weights = sum(parameter.numel() for parameter in model.parameters()) * 4
    images_bytes = 16 * 192 * 4
    # Gradients of the weights' size once; images; some tensors of (16, 64) and (16, 5), not dozens.
    least = weights + images_bytes + 16 * 64 * 4
    assert least < measured < least + 12 * 16 * (64 + 5) * 8
