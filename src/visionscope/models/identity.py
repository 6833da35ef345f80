"""What a network's numbers depend on: its state, and the graph and constants of one that is a graph."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

_MANGLED = re.compile(r"___torch_mangle_\d+\.?")  # numbered anew in each process


def entries(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """All names and values, in an order that depends on the names alone; tensors, or what `repr` tells in full.

    Packed weights of quantised layers are taken apart. The graph of a `torch.fx`, exported or scripted module counts,
    and so do constants that are no part of its state.

    Args:
        model: any network.
    """
    state = model.state_dict()
    for name, value in sorted({**_weights(model), **state}.items()):
        yield from _opened(name, value)
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        if isinstance(module, GraphModule):
            yield f"{prefix}(code)", module.code
            for name in sorted({str(node.target) for node in module.graph.nodes if node.op == "get_attr"}):
                if prefix + name not in state:
                    yield from _opened(prefix + name, _attribute(module, name))
        elif isinstance(module, torch.jit.ScriptModule):
            yield from _scripted(prefix, module)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, asked of the modules themselves: a `state_dict` of one's own may leave some out."""
    found: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    for path, module in model.named_modules(remove_duplicate=False):
        apart = getattr(module, "_non_persistent_buffers_set", ())
        for name, value in module.named_buffers(recurse=False):
            if name not in apart:
                found[f"{path}.{name}" if path else name] = value
    return found


def _scripted(prefix: str, module: torch.jit.ScriptModule) -> Iterator[tuple[str, Any]]:
    try:
        code, constants = module.code_with_constants
    except (RuntimeError, AttributeError):  # a part without a forward of its own
        return
    yield f"{prefix}(code)", _MANGLED.sub("", code)
    for name, value in sorted(constants.const_mapping.items()):
        yield from _opened(f"{prefix}(constant {name})", value)


def _attribute(module: nn.Module, name: str) -> Any:
    value: Any = module
    for step in name.split("."):
        value = getattr(value, step)
    return value


def _opened(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A value as tensors of plain types, and what is none by itself."""
    if isinstance(value, (tuple, list)):
        for place, item in enumerate(value):
            yield from _opened(f"{name}.{place}", item)
    elif isinstance(value, dict):
        for key, item in sorted(value.items(), key=lambda pair: str(pair[0])):
            yield from _opened(f"{name}.{key}", item)
    elif isinstance(value, Tensor) and is_traceable_wrapper_subclass(value):
        names, _ = value.__tensor_flatten__()
        yield from _opened(name, {inner: getattr(value, inner) for inner in names})
    elif isinstance(value, torch.ScriptObject):
        yield from _opened(name, value.__getstate__())
    elif isinstance(value, Tensor) and value.is_quantized:
        yield f"{name}.integers", value.int_repr()
        if value.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
            yield f"{name}.scales", value.q_per_channel_scales()
            yield f"{name}.zeros", value.q_per_channel_zero_points()
        else:
            yield f"{name}.scales", (value.q_scale(), value.q_zero_point())
    else:
        yield name, value
