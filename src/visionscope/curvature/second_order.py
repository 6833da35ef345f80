"""Second derivatives of any network: what must be so while they are taken, and what they cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from visionscope.core.inputs import image_like
from visionscope.core.sample import MINI_BATCH, Batch
from visionscope.curvature.obstacles import check_functions, check_symmetry, cut, explain, module_calls
from visionscope.errors import NondeterminismError, VisionscopeError
from visionscope.tracing.caches import clear_caches
from visionscope.tracing.record import tensors_in

__all__ = ["check_functions", "check_passes", "check_symmetry", "explain", "graph_bytes", "twice_differentiable"]

BATCH_NORMS = ("eval", "train")

PEAK = 3
"""How much a Hessian-vector product needs at its worst moment, in units of `graph_bytes`: measured 2.0 to 3.2."""

_ACCELERATOR_TOLERANCE = 1e-5  # relative: kernels there may add in another order each time
_FEW = 2  # images that a model is looked at with
_HARD_SIGMOIDS = (F.hardsigmoid, torch._C._nn.hardsigmoid, torch._C._nn.hardsigmoid_)


class SampleOfBatches(Protocol):
    """What `check_passes` needs of a sample."""

    def __len__(self) -> int: ...

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        """Yields the images at the positions start to stop - 1, in order."""


@contextmanager
def twice_differentiable(
    model: nn.Module, batch_norm: str = "eval", parameters: Collection[str] | None = None
) -> Iterator[None]:
    """A context in which a network's loss can be differentiated twice by its parameters.

    Inside: evaluation mode (dropout and drop path off), in which nothing is kept from one pass to the next; attention
    by torch's plain kernel, as the fused ones have no second derivative, and nn.MultiheadAttention without its fast
    path; the hard sigmoid as clamp(x + 3, 0, 6) / 6, which gives the same bits in float32 and float64 and has a second
    derivative; weight normalization as v (g / |v|), as the second derivative of torch's own kernel is wrong; the
    parameters that are asked for require a gradient, and no others. Modes, switches, gradient flags and the running
    statistics are as before afterwards, also after an exception; `.grad` is never touched.

    Args:
        model: any network; the gradients must be taken inside the context.
        batch_norm: `eval` normalizes with running statistics, `train` with those of the batch.
        parameters: by which of them, as named in `named_parameters`; by default all, frozen or not.

    Raises:
        ValueError: for another `batch_norm`.
    """
    if batch_norm not in BATCH_NORMS:
        raise ValueError(f"batch_norm: must be eval or train; got {batch_norm!r}")
    with ExitStack() as restored, torch.enable_grad():
        for module in model.modules():
            restored.callback(setattr, module, "training", module.training)
        for name, parameter in model.named_parameters():
            wanted = parameter.is_floating_point() and (parameters is None or name in parameters)
            if parameter.requires_grad != wanted:
                restored.callback(parameter.requires_grad_, parameter.requires_grad)
                parameter.requires_grad_(wanted)
        restored.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        model.eval()
        if batch_norm == "train":
            _take_batch_statistics(model, restored)
        torch.backends.mha.set_fastpath_enabled(False)
        clear_caches(model)
        restored.callback(clear_caches, model)
        restored.callback(model.register_forward_pre_hook(lambda module, args: clear_caches(module)).remove)
        restored.enter_context(sdpa_kernel(SDPBackend.MATH))
        restored.enter_context(_Substitutes())
        yield


def _take_batch_statistics(model: nn.Module, restored: ExitStack) -> None:
    for module in model.modules():
        if not isinstance(module, _BatchNorm):
            continue
        restored.callback(setattr, module, "track_running_stats", module.track_running_stats)
        # Subclasses may update statistics whatever the flag says.
        for buffer in module.buffers(recurse=False):
            restored.callback(_put_back, buffer, buffer.clone())
        module.training = True
        module.track_running_stats = False


@torch.no_grad()
def _put_back(buffer: Tensor, value: Tensor) -> None:
    if not torch.equal(buffer, value):
        buffer.copy_(value)


class _Substitutes(TorchFunctionMode):
    """Replaces what torch can differentiate once only, or wrongly the second time."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _HARD_SIGMOIDS:
            return _hard_sigmoid(*args, **{"inplace": func is _HARD_SIGMOIDS[2], **kwargs})
        if func is torch._weight_norm:
            return _weight_norm(*args, **kwargs)
        return func(*args, **kwargs)


def _hard_sigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    return input.add_(3).clamp_(0, 6).div_(6) if inplace else (input + 3).clamp(0, 6) / 6


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """The second derivative of torch's own kernel is wrong (seen in 2.15): its Hessian is not symmetric."""
    return v * (g / torch.norm_except_dim(v, 2, dim))


def check_passes(
    model: nn.Module,
    sample: SampleOfBatches,
    batch_norm: str = "eval",
    *,
    second_derivatives: bool = False,
    parameters: Collection[str] | None = None,
) -> None:
    """Loads a sample's first mini-batch twice and passes it twice; bit-equal on a CPU, to 1e-5 on accelerators.

    Args:
        model: any network.
        sample: frozen, so that it gives the same images each time.
        batch_norm: as for `twice_differentiable`.
        second_derivatives: calls `check_functions` as well.
        parameters: as for `twice_differentiable`.

    Raises:
        NondeterminismError: when the images differ, or the outputs, naming the first module that makes them differ.
        VisionscopeError: from `check_functions`.
    """
    first, again = (next(sample.batches(0, min(MINI_BATCH, len(sample)), MINI_BATCH)) for _ in range(2))
    for field in dataclasses.fields(Batch):
        if not _same(getattr(first, field.name), getattr(again, field.name), 0):
            raise NondeterminismError(
                f"the sample gave other {field.name} when its first {len(first.images)} images were loaded again; "
                "draw the augmentation once, from a seed"
            )
    images = first.images.to(image_like(model, first.images.shape[1:]))
    with twice_differentiable(model, batch_norm, parameters), torch.no_grad(), torch.random.fork_rng():
        outputs = [model(images.clone()) for _ in range(2)]
        if not _same(outputs[0], outputs[1], _tolerance(images)):
            raise NondeterminismError(_restless(model, images))
        if second_derivatives:
            with torch.enable_grad():
                _check_gradients(model, images)


def _check_gradients(model: nn.Module, images: Tensor) -> None:
    try:
        check_functions(model, images)
        where = cut(model, images[:_FEW].clone())
    except RuntimeError as error:
        raise explain(model, images, error) from error
    if where:
        raise VisionscopeError(
            f"{type(model).__name__}: no gradient passes through module {where!r}, on which the loss depends: it runs "
            "under torch.no_grad or detaches; let gradients through, or freeze the parameters in front of it "
            "(requires_grad_(False)) to measure the others"
        )


def depends(
    model: nn.Module, names: Collection[str], images: Tensor, read: Callable[[Any], Tensor] = lambda output: output
) -> bool:
    """Whether a network's logits are others when some parameters are, whatever autograd says of them.

    To be called inside `twice_differentiable`.

    Args:
        model: the network.
        names: of the parameters that are changed; the network itself is left alone.
        images: some, of which two are passed.
        read: takes the logits out of what the network returns, which may hold more than the loss depends on.
    """
    generator = torch.Generator().manual_seed(0)
    changed = {}
    for name, value in model.named_parameters():
        if name in names:
            noise = torch.randn(value.shape, generator=generator).to(value)
            changed[name] = value.detach() + (1 + value.detach().abs().max()) * noise
    with torch.no_grad(), torch.random.fork_rng():
        few = images[:_FEW]
        return not _same(read(model(few.clone())), read(functional_call(model, changed, (few.clone(),))), 0)


def _tolerance(images: Tensor) -> float:
    return 0 if images.device.type == "cpu" else _ACCELERATOR_TOLERANCE


def _same(first: Any, second: Any, tolerance: float) -> bool:
    pairs = list(zip(_leaves(first), _leaves(second), strict=True))
    return all(_close(one, other, tolerance) for one, other in pairs)


def _leaves(value: Any) -> list[Tensor]:
    return [tensor for _, tensor in tensors_in(value)]


def _close(first: Tensor, second: Tensor, tolerance: float) -> bool:
    if first.shape != second.shape:
        return False
    if not tolerance or not first.is_floating_point():
        return torch.equal(first.nan_to_num(), second.nan_to_num())  # NaN is reported where the loss is taken
    return bool((first - second).abs().max() <= tolerance * first.abs().max())


def _restless(model: nn.Module, images: Tensor) -> str:
    tolerance = _tolerance(images)
    what = f"{type(model).__name__}: two passes over the same images differ"
    cause = "a random draw in its forward, such as functional dropout with training=True or added noise; remove it"
    for one, other in zip(module_calls(model, images.clone()), module_calls(model, images.clone()), strict=False):
        given = _same((one.args, one.kwargs), (other.args, other.kwargs), tolerance)
        if one.path == other.path and given and not _same(one.output, other.output, tolerance):
            where = f"{one.path} ({type(one.module).__name__})" if one.path else "the model's own forward"
            return f"{what}, first in {where}; likely {cause}"
    return f"{what}; likely {cause}"


def graph_bytes(model: nn.Module, batch: Batch, loss: Callable[[Batch], Tensor]) -> int:
    """Bytes that a mini-batch's gradient keeps with its graph: distinct storages, the model's own not counted.

    Measured on two and on four images and continued in a straight line to 16. To be called inside
    `twice_differentiable`.

    Args:
        model: the network.
        batch: four images or more.
        loss: the scalar loss of some images, with its graph.
    """
    small, large = (_kept_bytes(model, batch, loss, count) for count in (_FEW, 2 * _FEW))
    per_image = max(0.0, (large - small) / _FEW)
    return round(small + (MINI_BATCH - _FEW) * per_image)


def _kept_bytes(model: nn.Module, batch: Batch, loss: Callable[[Batch], Tensor], count: int) -> int:
    first: dict[str, Any] = {}
    for field in dataclasses.fields(Batch):
        part = getattr(batch, field.name)
        first[field.name] = None if part is None else part[:count]
    few = Batch(**first)
    own = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[tuple[torch.device, int], int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(loss(few), parameters, create_graph=True, allow_unused=True)
    for gradient in gradients:
        if gradient is not None:
            pack(gradient)
    return sum(size for storage, size in kept.items() if storage not in own)


def _storage(tensor: Tensor) -> tuple[torch.device, int]:
    return tensor.device, tensor.untyped_storage().data_ptr()
