"""What stands in the way of second derivatives: what torch refuses, and Functions that are silently wrong."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from reference.second_order import OBJECTIVE, Frozen, batch, product_and_difference
from visionscope.core.sample import Batch
from visionscope.curvature.hvp import HessianProduct
from visionscope.curvature.second_order import (
    check_functions,
    check_passes,
    check_symmetry,
    explain,
    twice_differentiable,
)
from visionscope.errors import VisionscopeError


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


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
