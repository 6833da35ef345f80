"""The network inside its wrappers, and a training that finds everything as it left it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from visionscope.core.inputs import place_of
from visionscope.core.modes import evaluation_mode
from visionscope.errors import ConfigError

# By name, as Lightning has them in two packages and timm's are heavy to import. A network of one's own may call its
# backbone `module`, so the attribute alone says nothing.
_WRAPPERS = {
    *("DistributedDataParallel", "DataParallel", "AveragedModel", "_FabricModule"),
    *("ModelEma", "ModelEmaV2", "ModelEmaV3"),
}
_COMPILED = "OptimizedModule"
_SHARDED = {"FullyShardedDataParallel", "DTensor"}


def unwrapped(model: nn.Module) -> nn.Module:
    """The network that `torch.compile`, data parallelism, Fabric or an average of weights wraps.

    Args:
        model: as the training loop has it.

    Raises:
        ConfigError: for what is no network, and one whose weights are spread over processes.
    """
    inner = model
    while True:
        if not isinstance(inner, nn.Module):
            raise ConfigError(f"model: must be the network that is trained; got {type(inner).__name__}")
        names = {kind.__name__ for kind in type(inner).__mro__}
        if _COMPILED in names:
            inner = inner._orig_mod  # type: ignore[assignment]
        elif names & _WRAPPERS:
            inner = inner.module  # type: ignore[assignment]
        else:
            break
    if any(type(one).__name__ in _SHARDED for one in (*inner.modules(), *inner.parameters())):
        raise ConfigError(
            f"model: must be whole, and {type(inner).__name__} is spread over processes; pass a whole copy, "
            "such as the average of its weights"
        )
    return inner


@contextlib.contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """A context in which a network may be measured; modes, gradients and random states are bit-equal afterwards.

    Inside, parameters have no gradients, so that none is added to; what is compiled inside the network runs as it is
    written; autocast is off, and the network is in evaluation mode.

    Args:
        model: from `unwrapped`.
    """
    parameters = [(parameter, parameter.grad, parameter.requires_grad) for parameter in model.parameters()]
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    states = random.getstate(), np.random.get_state()
    with contextlib.ExitStack() as stack:
        for device in {"cpu", place_of(model).type}:
            stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(torch.random.fork_rng(devices))  # torch.manual_seed reaches all devices
        stack.enter_context(_uncompiled(model))
        stack.enter_context(evaluation_mode(model))
        try:
            for parameter, _, _ in parameters:
                parameter.grad = None
            yield
        finally:
            for parameter, gradient, wanted in parameters:
                parameter.requires_grad_(wanted)
                parameter.grad = gradient
            random.setstate(states[0])
            np.random.set_state(states[1])


@contextlib.contextmanager
def _uncompiled(model: nn.Module) -> Iterator[None]:
    """The network with its compiled parts as they were written: a compiled one hides its operations."""
    modules = list(model.modules())
    compiled = [module for module in modules if getattr(module, "_compiled_call_impl", None) is not None]
    calls = [module._compiled_call_impl for module in compiled]
    wrapped = [
        (module, name, child)
        for module in modules
        for name, child in module._modules.items()
        if type(child).__name__ == _COMPILED
    ]
    try:
        for module in compiled:
            module._compiled_call_impl = None
        for module, name, child in wrapped:
            module._modules[name] = child._orig_mod  # type: ignore[union-attr, assignment]
        yield
    finally:
        for module, call in zip(compiled, calls, strict=True):
            module._compiled_call_impl = call
        for module, name, child in wrapped:
            module._modules[name] = child
