"""What stands in the way of a network's second derivatives, by module and operation."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from visionscope.core.printable import message_of
from visionscope.errors import VisionscopeError
from visionscope.tracing.record import tensors_in

_FEW = 2  # images that a model is looked at with
_STEP = 1e-7  # of the central difference, along a direction of length 1 per tensor: no ReLU should switch
_DIFFERENCE = 1e-2  # largest share of an error in it: kinks, not the wrong terms that are looked for


@dataclasses.dataclass(frozen=True)
class ModuleCall:
    """One call of one module, by itself.

    Attributes:
        path: the module's name in `named_modules`.
        module: the module.
        args: detached copies of what it was given.
        kwargs: the same.
        wanted: which of the tensors given needed a gradient.
        output: a detached copy of what it returned.
        reached: whether a gradient passes back through what it returned.
    """

    path: str
    module: nn.Module
    args: Any
    kwargs: Any
    wanted: tuple[bool, ...]
    output: Any
    reached: bool = True


def module_calls(model: nn.Module, images: Tensor) -> list[ModuleCall]:
    """The module calls of one pass, in order of their ends: inner ones ahead of those around them.

    Args:
        model: any network.
        images: what it is called with.
    """
    calls: list[ModuleCall] = []
    opened: list[tuple[Any, Any, tuple[bool, ...]]] = []
    paths = {id(module): path for path, module in model.named_modules()}

    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        leaves = tree_flatten((args, kwargs))[0]
        wanted = tuple(leaf.requires_grad for leaf in leaves if isinstance(leaf, Tensor))
        opened.append((*tree_map(_copied, (args, kwargs)), wanted))

    def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        reached = any(tensor.requires_grad for _, tensor in tensors_in(output))
        calls.append(ModuleCall(paths[id(module)], module, *opened.pop(), tree_map(_copied, output), reached))

    with ExitStack() as handles:
        for module in model.modules():
            handles.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
            handles.callback(module.register_forward_hook(leave, with_kwargs=True).remove)
        model(images)
    return calls


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def cut(model: nn.Module, images: Tensor) -> str:
    """The path of the first module that stands between a gradient and what the output depends on, or "".

    Such modules run under `torch.no_grad`, or detach: they are given something with a gradient and return nothing with
    one. Each is called again alone with changed input, and the network with changed results of it: only where both
    make a difference is a gradient missing.

    Args:
        model: the network; gradients are on.
        images: some; with `requires_grad` where gradients to them are asked for.
    """
    calls = module_calls(model, images)
    for call in calls:
        given, structure = tree_flatten((call.args, call.kwargs))
        if not call.path or call.reached or not any(call.wanted):
            continue
        wanted = iter(call.wanted)
        moved = [_moved(value) if isinstance(value, Tensor) and next(wanted) else value for value in given]
        args, kwargs = tree_unflatten(moved, structure)
        try:
            with torch.no_grad():
                again = call.module(*args, **kwargs)
        except Exception:
            continue  # it needs its surroundings
        if _differ(again, call.output) and _differ(_with_changed(model, call.module, images), calls[-1].output):
            return call.path
    return ""


@torch.no_grad()
def _with_changed(model: nn.Module, module: nn.Module, images: Tensor) -> Any:
    """What the network returns when a module's results are others."""
    handle = module.register_forward_hook(lambda _, args, output: tree_map(_moved, output))
    try:
        return model(images)
    finally:
        handle.remove()


def _moved(value: Any) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point() or not value.numel():
        return value
    noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(0)).to(value)
    return value.detach() + (1 + value.detach().abs().max()) * noise


def _differ(one: Any, other: Any) -> bool:
    pairs = zip(tensors_in(one), tensors_in(other), strict=False)
    return any(not torch.equal(left, right) for (_, left), (_, right) in pairs if left.is_floating_point())


def explain(model: nn.Module, images: Tensor, error: RuntimeError) -> VisionscopeError:
    """The error that says why second derivatives failed: the innermost module that has none by itself.

    To be called inside `twice_differentiable`.

    Args:
        model: the network.
        images: some that it failed on.
        error: what torch or `check_symmetry` raised.

    Returns:
        One line with module path, class and operation, to be raised.
    """
    name = type(model).__name__
    reason = message_of(error).strip().partition("\n")[0] or type(error).__name__
    if "nference tensor" in message_of(error):
        return VisionscopeError(
            f"{name}: a part of its forward runs under torch.inference_mode, which blocks gradients; remove that"
        )
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in message_of(error):
        return VisionscopeError(
            f"{name}: second derivatives need more memory than there is; take smaller images or a smaller model"
        )
    try:
        found = _first_obstacle(model, images)
    except RuntimeError:
        return VisionscopeError(f"{name}: the pass failed: {reason}")
    if found is not None:
        return found
    return VisionscopeError(f"{name}: second derivatives failed, though each module has them alone: {reason}")


def check_functions(model: nn.Module, images: Tensor) -> None:
    """Refuses a network in which an autograd.Function has no second derivative, or a wrong one.

    A backward that cuts the graph (`once_differentiable`, detach, numpy) or treats its saved input as a constant often
    raises nothing, as torch differentiates what is left. So each module that runs such a Function is called alone and
    compared with a central difference of its gradients in float64. To be called inside `twice_differentiable`; without
    such Functions it takes one pass of two images.

    Args:
        model: the network.
        images: some.

    Raises:
        VisionscopeError: naming module path and Function.
    """
    output = [tensor for _, tensor in tensors_in(model(images[:_FEW].clone())) if tensor.requires_grad]
    found = _first_obstacle(model, images) if _nodes(output)[0] else None
    if found is not None:
        raise found


def _first_obstacle(model: nn.Module, images: Tensor) -> VisionscopeError | None:
    calls = module_calls(model, images[:_FEW].clone())
    # The innermost first: what a module lacks, all around it lack as well. The network itself comes last.
    for call in sorted(calls, key=lambda call: -call.path.count(".") if call.path else 1):
        operation = _obstacle(call)
        if operation:
            where = f"module {call.path!r} ({type(call.module).__name__})" if call.path else "its own forward"
            return VisionscopeError(
                f"{type(model).__name__} can't be differentiated twice: {where} runs {operation}, whose second "
                "derivative is missing or wrong; replace it in the model by operations that have one"
            )
    return None


def _obstacle(call: ModuleCall) -> str:
    """The operation because of which one call has no second derivative, or nothing."""
    try:
        run, leaves = _isolated(call, None)
        output = run(leaves)
    except Exception:
        return ""  # a module that needs its surroundings says nothing alone
    functions = ", ".join(_nodes(output)[0])
    try:
        first = _gradients(output, leaves)
        _products(first, leaves, leaves)
    except RuntimeError as error:
        named = re.search(r"derivative for (\S+) is not implemented", str(error))
        return named[1] if named else functions or str(error).strip().partition("\n")[0]
    # A square loss has a gradient that depends on every leaf through the output.
    cut = any(gradient is not None and not gradient.requires_grad for gradient in first)
    if output and (cut or _nodes([gradient for gradient in first if gradient is not None])[1]):
        return functions or "an operation"
    return functions if functions and _differs(call) else ""


Run = Callable[[Sequence[Tensor]], list[Tensor]]


def _isolated(call: ModuleCall, dtype: torch.dtype | None) -> tuple[Run, list[Tensor]]:
    """The call as a function of its leaves: the tensors given that needed a gradient, and the parameters."""

    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor

    given, structure = tree_flatten((call.args, call.kwargs))
    given = [cast(value) if isinstance(value, Tensor) else value for value in given]
    tensors = [place for place, value in enumerate(given) if isinstance(value, Tensor)]
    places = [place for place, needed in zip(tensors, call.wanted, strict=True) if needed]
    named = {name: value for name, value in call.module.named_parameters() if value.requires_grad}
    held = {name: cast(buffer) for name, buffer in call.module.named_buffers()}
    starts = [*(given[place] for place in places), *map(cast, named.values())]
    leaves = [value.detach().clone().requires_grad_() for value in starts]

    def run(leaves: Sequence[Tensor]) -> list[Tensor]:
        # Copies: a module may write into what it is given.
        values = [value.clone() if isinstance(value, Tensor) else value for value in given]
        for place, leaf in zip(places, leaves, strict=False):
            values[place] = leaf.clone()
        own = dict(zip(named, leaves[len(places) :], strict=True))
        args, kwargs = tree_unflatten(values, structure)
        output = functional_call(call.module, {**held, **own}, args, kwargs)
        return [tensor for _, tensor in tensors_in(output) if tensor.requires_grad]

    return run, leaves


def _gradients(output: Sequence[Tensor], leaves: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    if not output:
        return (None,) * len(leaves)
    return torch.autograd.grad(_squares(output), leaves, create_graph=True, allow_unused=True)


def _products(first: Iterable[Tensor | None], leaves: Sequence[Tensor], along: Sequence[Tensor]) -> list[Tensor]:
    """The matrix of second derivatives times a direction, as far as torch finds it."""
    pairs = [(one, way) for one, way in zip(first, along, strict=True) if one is not None and one.requires_grad]
    if not pairs:
        return [torch.zeros_like(leaf) for leaf in leaves]
    ones, ways = zip(*((one, way.detach()) for one, way in pairs), strict=True)
    return list(torch.autograd.grad(ones, leaves, ways, materialize_grads=True))


def _differs(call: ModuleCall) -> bool:
    """Whether second derivatives are not the differences of the first ones, in float64 along a random direction."""
    try:
        run, leaves = _isolated(call, torch.float64)
        generator = torch.Generator().manual_seed(0)
        along = [torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf) for leaf in leaves]
        along = [way / way.norm() for way in along]
        found = _products(_gradients(run(leaves), leaves), leaves, along)
        ends: list[list[Tensor]] = []
        for step in (_STEP, -_STEP):
            moved = [(leaf + step * way).detach().requires_grad_() for leaf, way in zip(leaves, along, strict=True)]
            gradients = _gradients(run(moved), moved)
            pairs = zip(gradients, leaves, strict=True)
            ends.append([torch.zeros_like(leaf) if one is None else one.detach() for one, leaf in pairs])
    except Exception:
        return False  # not in float64, or not alone
    expected = [(one - other) / (2 * _STEP) for one, other in zip(*ends, strict=True)]
    error = _squares([one - other for one, other in zip(found, expected, strict=True)])
    return bool(error > _DIFFERENCE**2 * _squares(expected))


def _squares(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.abs().square().sum() for tensor in tensors]).sum()


def _nodes(tensors: Sequence[Tensor]) -> tuple[list[str], bool]:
    """The autograd.Function classes in the graph of some tensors, and whether `once_differentiable` ends it."""
    names: dict[str, None] = {}
    ends = False
    waiting = [tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None]
    seen: set[Any] = set()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        ends = ends or "Error" in node.name()
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            names[type(node).__name__.removesuffix("Backward")] = None
        waiting.extend(following for following, _ in node.next_functions if following is not None)
    return list(names), ends


class AsymmetryError(VisionscopeError, RuntimeError):
    """Products that no Hessian has; a RuntimeError as well, so that it is explained like those of torch."""


def check_symmetry(product: Callable[[Tensor], Tensor], like: Sequence[Tensor], seed: int = 0) -> None:
    """Takes two products with random u and v: a Hessian has <u, H v> = <v, H u>.

    It finds gradients that were cut off the graph. A backward that treats its saved input as a constant leaves a matrix
    that is symmetric, but wrong: `check_functions` finds that.

    Args:
        product: takes a vector (n,) to H times it, (n,).
        like: tensors of n elements in all, of the vectors' type and device.
        seed: of u and v.

    Raises:
        AsymmetryError: when the two differ by more than rounding.
    """
    size = sum(tensor.numel() for tensor in like)
    generator = torch.Generator().manual_seed(seed)
    u, v = (torch.randn(size, generator=generator, dtype=torch.float64).to(like[0]) for _ in range(2))
    hu, hv = product(u).double(), product(v).double()
    one, other = (float((left.double() * right).sum()) for left, right in ((u, hv), (v, hu)))
    # u is standard normal, so an error e of H v changes <u, H v> by about |e|.
    coarsest = max(torch.finfo(tensor.dtype).eps for tensor in like)
    allowed = math.sqrt(coarsest) * math.sqrt(float(hu.norm()) * float(hv.norm()))
    if not abs(one - other) <= allowed:
        raise AsymmetryError(
            f"the Hessian's products are not symmetric: <u, Hv> = {one:.6g}, <v, Hu> = {other:.6g}; "
            "a custom operation's backward leaves the graph (detach, .data, numpy)"
        )
