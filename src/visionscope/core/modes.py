"""Evaluation mode for any network, also for those that refuse `eval()`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


def evaluate(model: nn.Module) -> None:
    """Puts a network and all its modules into evaluation mode.

    What `torch.export` made refuses `eval()`, as its graph has one mode for good: then only flags are set.

    Args:
        model: is changed in place.
    """
    try:
        model.eval()
    except NotImplementedError:
        for module in model.modules():
            module.training = False


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """A context in which a network is in evaluation mode; every module gets its mode back, also after an exception.

    Args:
        model: the network.
    """
    # A frozen script module has no mode.
    modes = [(module, module.training) for module in model.modules() if hasattr(module, "training")]
    try:
        evaluate(model)
        yield
    finally:
        for module, training in modes:
            module.training = training
