"""Second derivatives: right for every family, named where there are none, and nothing of the model is left changed."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from visionscope.core.objective import Objective
from visionscope.core.types import Batch
from visionscope.errors import NondeterminismError, VisionscopeError
from visionscope.numerics.hvp import HessianProduct, split
from visionscope.tracing.caches import clear_caches
from visionscope.tracing.plane import PlaneModel
from visionscope.tracing.second_order import (
    check_functions,
    check_passes,
    check_symmetry,
    explain,
    graph_bytes,
    twice_differentiable,
)

OBJECTIVE = Objective()

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


def batch(side: int, count: int = 2, dtype: torch.dtype = torch.float64) -> Batch:
    images = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return Batch(images, torch.arange(count) % 5, torch.arange(count))


def product_and_difference(model: nn.Module, images: Batch, batch_norm: str = "eval") -> tuple[Tensor, Tensor]:
    """H v, and the central difference of gradients along v; the step is tiny, or ReLUs would switch."""
    generator = torch.Generator().manual_seed(1)
    with twice_differentiable(model, batch_norm):
        parameters = list(model.parameters())
        pieces = [
            torch.randn(p.shape, generator=generator, dtype=p.dtype) * p.detach().std(correction=0) for p in parameters
        ]
        vector = torch.cat([piece.reshape(-1) for piece in pieces])
        vector /= vector.norm()
        hessian = HessianProduct(OBJECTIVE.mean_nll(model, images, parameters[0]), parameters)
        product = hessian.block(range(len(parameters)))
        check_symmetry(product, parameters, seed=2)
        found = product(vector)
        origin = [parameter.detach().clone() for parameter in parameters]
        gradients = []
        for step in (1e-7, -1e-7):
            with torch.no_grad():
                for parameter, here, along in zip(parameters, origin, split(vector, parameters), strict=True):
                    parameter.copy_(here + step * along)
            loss = OBJECTIVE.mean_nll(model, images, parameters[0])
            gradient = torch.autograd.grad(loss, parameters, materialize_grads=True)
            gradients.append(torch.cat([piece.reshape(-1) for piece in gradient]))
        with torch.no_grad():
            for parameter, here in zip(parameters, origin, strict=True):
                parameter.copy_(here)
    return found, (gradients[0] - gradients[1]) / 2e-7


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


class Once(torch.autograd.Function):
    """Squares; its backward may be differentiated no further."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class Underived(Once):
    """Its backward calls another one that has no derivative of its own."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardsigmoid_backward(gradient, x)


class Cut(Once):
    """Its backward leaves the graph: no error, but a Hessian that is wrong."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return (2 * x * gradient).detach()


class Constant(Once):
    """Its backward treats the saved input as a constant: the Hessian is symmetric, and wrong."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x.detach() * gradient


class Right(Once):
    """Nothing is wrong with this one."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class Using(nn.Module):
    """Applies a Function."""

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)  # type: ignore[no-any-return]


def planted(function: type[torch.autograd.Function]) -> nn.Module:
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), Using(function))
    return nn.Sequential(inner, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))


def hessian_of(model: nn.Module, images: Batch) -> Callable[[Tensor], Tensor]:
    parameters = list(model.parameters())
    hessian = HessianProduct(OBJECTIVE.mean_nll(model, images, parameters[0]), parameters)
    return hessian.block(range(len(parameters)))


NAMED = (
    "Sequential can't be differentiated twice: module '0.2' (Using) runs {}, whose second derivative is missing or "
    "wrong; replace it in the model by operations that have one"
)


def test_what_torch_refuses_to_differentiate_twice_is_named() -> None:
    model, images = planted(Underived), batch(8, 4, torch.float32)
    with twice_differentiable(model):
        with pytest.raises(RuntimeError, match="derivative for aten::hardsigmoid_backward is not") as caught:
            hessian_of(model, images)(torch.ones(sum(p.numel() for p in model.parameters())))
        assert str(explain(model, images.images, caught.value)) == NAMED.format("aten::hardsigmoid_backward")
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("function", [Once, Cut, Constant, Underived])
def test_a_function_that_is_silently_wrong_is_named_before_anything_is_measured(
    function: type[torch.autograd.Function],
) -> None:
    model, images = planted(function), batch(8, 4, torch.float32)
    operation = "aten::hardsigmoid_backward" if function is Underived else function.__name__
    with twice_differentiable(model), pytest.raises(VisionscopeError, match="differentiated twice") as caught:
        check_functions(model, images.images)
    assert str(caught.value) == NAMED.format(operation)


def test_passes_are_checked_for_functions_where_second_derivatives_are_wanted() -> None:
    model = nn.Sequential(planted(Constant), nn.Flatten())
    check_passes(model, Frozen())
    with pytest.raises(VisionscopeError, match=r"module '0\.0\.2' \(Using\) runs Constant"):
        check_passes(model, Frozen(), second_derivatives=True)


def test_a_right_function_passes() -> None:
    images = batch(8, 4, torch.float32)
    with twice_differentiable(model := planted(Right)):
        check_functions(model, images.images)
        check_symmetry(hessian_of(model, images), list(model.parameters()))


@pytest.mark.parametrize("name", ["swish_me", "mish_me", "hard_sigmoid_me", "hard_swish_me", "hard_mish_me"])
def test_the_memory_efficient_activations_of_timm_pass(name: str) -> None:
    class Activation(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return getattr(timm.layers.activations_me, name)(3 * x)  # type: ignore[no-any-return]

    model = nn.Sequential(nn.Conv2d(3, 4, 3), Activation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    with twice_differentiable(model.double()):
        check_functions(model, batch(8).images)
    found, expected = product_and_difference(model, batch(8))
    assert float((found - expected).norm() / expected.norm()) < 1e-4


def test_an_obstacle_in_the_models_own_forward_and_an_unknown_one() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 5)

        def forward(self, x: Tensor) -> Tensor:
            return Once.apply(self.head(x.mean((2, 3))))  # type: ignore[no-any-return]

    model, images = Bare(), batch(8, 4, torch.float32).images
    with twice_differentiable(model):
        assert "twice: its own forward runs Once, whose" in str(
            explain(model, images, RuntimeError("first line\nsecond"))
        )
        fine = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
        said = str(explain(fine, images, RuntimeError("first line\nsecond")))
        assert said == "Sequential: second derivatives failed, though each module has them alone: first line"
        said = str(explain(fine, images, RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 GB")))
        assert said.startswith("Sequential: second derivatives need more memory than there is; take")


@pytest.mark.parametrize("function", [Once, Cut])
def test_products_that_are_not_symmetric_are_refused_and_explained(function: type[torch.autograd.Function]) -> None:
    model, images = planted(function), batch(8, 4, torch.float32)
    with twice_differentiable(model):
        product = hessian_of(model, images)
        with pytest.raises(RuntimeError, match=r"products are not symmetric: <u, Hv> = .*leaves the graph") as caught:
            check_symmetry(product, list(model.parameters()))
        assert isinstance(caught.value, VisionscopeError)
        assert str(explain(model, images.images, caught.value)) == NAMED.format(function.__name__)


def test_symmetry_is_that_of_a_matrix() -> None:
    like = [torch.zeros(3), torch.zeros(2, 2)]
    matrix = torch.randn(7, 7)
    check_symmetry(lambda vector: (matrix + matrix.mT) @ vector, like)
    check_symmetry(torch.zeros_like, like)
    for wrong in (matrix, torch.full((7, 7), torch.nan)):
        with pytest.raises(VisionscopeError, match="not symmetric"):
            check_symmetry(lambda vector, wrong=wrong: wrong @ vector, like)  # type: ignore[misc]


class Frozen:
    """A sample that gives what it holds, or draws noise anew each time."""

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise

    def __len__(self) -> int:
        return 8

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        found = batch(8, stop - start, torch.float32)
        noise = self.noise * torch.randn(found.images.shape) if self.noise else 0
        yield Batch(found.images + noise, found.labels, found.positions)


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
