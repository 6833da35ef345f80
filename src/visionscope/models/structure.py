"""What a network is beside its weights: its modules, and the values that their passes go by."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_DEEPEST = 6
_OF_ANY_MODULE = frozenset(vars(nn.Module()))
_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size, slice, range)


@dataclasses.dataclass(frozen=True)
class _Where:
    """How deep a value lies, and which objects were told before: they may hold one another."""

    depth: int
    told: dict[int, Any]

    def deeper(self) -> _Where:
        return _Where(self.depth + 1, self.told)

    def is_new(self, value: Any) -> bool:
        new = id(value) not in self.told
        self.told[id(value)] = value  # kept, so that no other object gets its number
        return new


def structure_digest(model: nn.Module) -> str:
    """sha256 over a network's modules, in hex: classes, what they say of themselves, and their attributes.

    Attributes count as far as they are values: numbers, texts, containers of these, functions by their code, tensors
    and arrays that are in no state, buffers that aren't stored, modules that are kept in lists. No address is in it, so
    that two processes agree.

    Args:
        model: as its factory returned it, before any pass.
    """
    digest = hashlib.sha256()
    for line in _lines(model, _Where(0, {})):
        digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def code_digest(model: nn.Module) -> str:
    """sha256 over the code of a network's classes, in hex; for a network whose file is not known, as in a notebook.

    Functions that their methods call are not seen.

    Args:
        model: any network.
    """
    digest = hashlib.sha256()
    owners = {owner for module in model.modules() for owner in type(module).__mro__}
    for owner in sorted(owners - set(nn.Module.__mro__), key=_name):
        for name, value in sorted(vars(owner).items()):
            function = getattr(value, "__func__", getattr(value, "fget", value))  # of a class method, a property
            if isinstance(function, FunctionType):
                digest.update(f"{_name(owner)}.{name} {_code(function.__code__)}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _lines(model: nn.Module, where: _Where) -> Iterator[str]:
    modules = list(model.named_modules(remove_duplicate=False))
    for _, module in modules:
        where.is_new(module)
    for path, module in modules:
        yield f"{path} {_name(type(module))} {_told(module)}\n"
        if isinstance(module, torch.jit.ScriptModule | GraphModule):
            continue  # their code counts in full
        for name, value in sorted(vars(module).items()):
            if name not in _OF_ANY_MODULE:
                yield f"{path}.{name} {_described(value, where.deeper())}\n"
        for name in sorted(getattr(module, "_non_persistent_buffers_set", ())):
            yield f"{path}.{name} {_described(module._buffers.get(name), where.deeper())}\n"


def _told(module: nn.Module) -> str:
    try:
        return _ADDRESS.sub("", module.extra_repr())
    except Exception:  # code of the user's own
        return ""


def _described(value: Any, where: _Where) -> str:
    if isinstance(value, enum.Enum) or not isinstance(value, _PLAIN):
        return f"{_name(type(value))} {_taken_apart(value, where.deeper()) if where.depth < _DEEPEST else ''}"
    return f"{type(value).__name__} {value!r}"


def _taken_apart(value: Any, where: _Where) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return _bytes_of(value)
    if isinstance(value, Mapping):
        return _sorted(f"{_described(key, where)}: {_described(own, where)}" for key, own in value.items())
    if isinstance(value, set | frozenset):
        return _sorted(_described(own, where) for own in value)
    if isinstance(value, tuple | list):
        return "; ".join(_described(own, where) for own in value)
    if isinstance(value, nn.Module):
        if not where.is_new(value):
            return ""
        own = {**dict(value.named_parameters()), **dict(value.named_buffers())}
        return "".join(_lines(value, where)) + _described(own, where)
    if isinstance(value, functools.partial):
        return "; ".join(_described(own, where) for own in (value.func, value.args, value.keywords))
    if isinstance(value, type | BuiltinFunctionType | MethodType):
        return _name(getattr(value, "__func__", value))
    if isinstance(value, FunctionType):
        cells = [_cell(cell) for cell in value.__closure__ or ()]
        return f"{_name(value)} {_code(value.__code__)} {_described((value.__defaults__, cells), where)}"
    if isinstance(value, enum.Enum):
        return value.name
    if type(value).__module__.partition(".")[0] != "torch" and where.is_new(value):
        return _sorted(f"{name} {_described(own, where)}" for name, own in getattr(value, "__dict__", {}).items())
    return ""


def _bytes_of(value: Any) -> str:
    try:
        tensor = torch.as_tensor(value).detach().cpu().contiguous()
        content = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
    except Exception:  # an array of objects, a tensor without a layout
        return str(tuple(value.shape))
    return f"{tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(content).hexdigest()}"


def _code(code: CodeType) -> str:
    constants = [_code(own) if isinstance(own, CodeType) else repr(own) for own in code.co_consts if own is not None]
    constants = [own for own in constants if not own.startswith("frozenset")]  # in another order in each process
    return f"{code.co_code.hex()} {constants} {code.co_names}"


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty still
        return None


def _sorted(parts: Iterator[str] | Any) -> str:
    return "; ".join(sorted(parts))


def _name(value: Any) -> str:
    # The module of a user's file is named after its content, which counts by itself.
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
