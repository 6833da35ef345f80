"""Copies of networks that hold what Python's own deep copy refuses, and their weights in another layout."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def copy_of(model: nn.Module, instead: Mapping[int, Any] | None = None) -> nn.Module:
    """A deep copy of a network.

    Tensors that were computed from others and are kept in a module (the `weight` that weight_norm, spectral_norm and
    pruning make anew in every pass, say) are copied by value, without their graph. What can't be copied at all, such as
    a lock, a generator or an open file, is shared with the network.

    Args:
        model: any network.
        instead: by `id`, what the copy has in the place of a tensor or module of the network.
    """
    try:
        with _ByValue():
            return copy.deepcopy(model, dict(instead or {}))
    except Exception:  # whatever an object raises that doesn't let itself be copied
        with _ByValue():
            return copy.deepcopy(model, {**_uncopyable(model), **(instead or {})})


def channels_last(model: nn.Module) -> nn.Module:
    """The network itself, its tensors of four axes with channels last, the layout in which convolutions are faster.

    `Module.to` asks that of tensors of five axes, too, and fails at the first one, such as a weight of Conv3d.

    Args:
        model: any network.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return model


class _ByValue(TorchFunctionMode):
    """Deep copies of tensors that carry a graph, which torch refuses, are made without it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not Tensor.__deepcopy__ or args[0].is_leaf:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) not in memo:
            memo[id(tensor)] = tensor.detach().clone()
        return memo[id(tensor)]


def _uncopyable(model: nn.Module) -> dict[int, Any]:
    """The attributes of modules that can't be copied, by identity."""
    known = {id(part): part for part in (*model.modules(), *model.parameters(), *model.buffers())}
    found = {}
    for module in model.modules():
        for value in vars(module).values():
            try:
                with _ByValue():
                    copy.deepcopy(value, dict(known))
            except Exception:
                found[id(value)] = value
    return found
