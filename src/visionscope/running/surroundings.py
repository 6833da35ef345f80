"""What a model is given for a while - a device, a mode, a random state, a precision - and has taken back."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from visionscope.core.modes import evaluation_mode
from visionscope.tracing.opaque import hidden


@contextlib.contextmanager
def on_device(model: nn.Module, device: torch.device) -> Iterator[None]:
    """The model on a device for a while; one that was made for its own stays there.

    Args:
        model: comes back to where it was.
        device: where it goes.
    """
    home = next((parameter.device for parameter in model.parameters()), device)
    found = None if home == device else hidden(model)
    if home == device or (found is not None and found.fixed):
        yield
        return
    try:
        model.to(device)
        yield
    finally:
        model.to(home)


@contextlib.contextmanager
def as_found(model: nn.Module, *, seed: int) -> Iterator[None]:
    """Evaluation mode and a random state of its own for a while; every module gets its mode back.

    Args:
        model: the network.
        seed: of the random state.
    """
    devices = sorted({value.device.index or 0 for value in model.parameters() if value.device.type == "cuda"})
    with torch.random.fork_rng(devices), evaluation_mode(model):
        torch.manual_seed(seed)
        yield


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The arithmetic of a precision: bfloat16 by autocast, all others as the weights have it.

    Args:
        precision: `fp32`, `fp64` or `bf16`.
        device: where the model runs.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
