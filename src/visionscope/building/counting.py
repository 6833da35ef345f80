"""What a pass costs, operation by operation: multiply-accumulates, memory traffic, and the memory that it needs."""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from visionscope.building.formulas import FORMULAS
from visionscope.building.free import FREE, UNREAD, UNTOUCHED
from visionscope.errors import ConfigError
from visionscope.tracing.record import module_calls

__all__ = ["Counter", "Operation", "count"]

_NAMESPACE = "aten::"  # torch's own operations


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """What all calls of one operation cost together.

    Attributes:
        calls: how many there were.
        macs: multiply-accumulates, by `visionscope.building.formulas`.
        traffic: bytes read and written: every tensor that goes in once, every one that comes out once.
    """

    calls: int = 0
    macs: int = 0
    traffic: int = 0


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts every operation that runs inside it, on any device; it computes nothing by itself.

    Attributes:
        operations: by name, such as `convolution`; those that overwrite a tensor under the name of those that don't.
        module: path of the module that runs, if `count` tells it.
        peak: most bytes that results of operations took at one time; those that share memory are one.

    Raises:
        ConfigError: inside, at an operation of which neither a formula nor a declaration says what it costs.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: dict[str, Operation] = {}
        self.module: list[str] = []
        self.peak = 0
        self._held: dict[int, int] = {}

    def leave_out(self, tensors: Iterable[Tensor]) -> None:
        """Memory that is there whether or not a pass runs is not part of `peak`: weights, say, and views of them.

        Args:
            tensors: that outlive this.
        """
        self._held.update({id(tensor.untyped_storage()): 0 for tensor in tensors})

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all operations."""
        return sum(operation.macs for operation in self.operations.values())

    @property
    def traffic(self) -> int:
        """Bytes that all operations read and write."""
        return sum(operation.traffic for operation in self.operations.values())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs an operation and adds what it costs."""
        kwargs = kwargs or {}
        name = _name(func)
        if name not in FORMULAS and name not in FREE:
            if isinstance(func, torch._ops.OpOverload):
                with self:  # what torch itself expresses by other operations is counted as these
                    result = func.decompose(*args, **kwargs)
                if result is not NotImplemented:
                    return result
            raise ConfigError(self._refusal(func))
        result = func(*args, **kwargs)
        self._hold(result)
        formula = FORMULAS.get(name)
        before = self.operations.get(name, Operation())
        self.operations[name] = Operation(
            calls=before.calls + 1,
            macs=before.macs + (formula(result, *args, **kwargs) if formula else 0),
            traffic=before.traffic + (0 if name in UNTOUCHED else _traffic(name, args, kwargs, result)),
        )
        return result

    def _hold(self, result: Any) -> None:
        for tensor in tree_leaves(result):
            if not isinstance(tensor, Tensor):
                continue
            memory = tensor.untyped_storage()
            if id(memory) not in self._held:
                self._held[id(memory)] = memory.nbytes()
                weakref.finalize(memory, self._held.pop, id(memory), None)
        self.peak = max(self.peak, sum(self._held.values()))

    def _refusal(self, func: Any) -> str:
        where = f"in {self.module[-1]}" if self.module and self.module[-1] else "in the model itself"
        return (
            "model: what every operation costs must be known; no formula and no declaration covers "
            f"{func.name()}, which runs {where}. Express it by operations of torch"
        )


def count(model: nn.Module, images: Tensor) -> Counter:
    """Runs a model once and counts what the pass costs, in the same way on every device.

    Fused encoder layers run as their single operations, attention as two products with a softmax in between: the
    multiply-accumulates are the same, and the traffic is that of a pass which writes the attention weights.

    Args:
        model: in the mode that is asked for; what its pass changes stays changed.
        images: of its device and type; on meta nothing is computed.

    Raises:
        ConfigError: for an operation that isn't known, with its name and the module that runs it.
    """
    paths = {id(module): path for path, module in model.named_modules()}
    counter = Counter()
    counter.leave_out((images, *model.parameters(), *model.buffers()))

    def enter(module: nn.Module, _: Any) -> None:
        above = counter.module[-1] if counter.module else ""
        counter.module.append(paths.get(id(module), above))

    def leave(*_: Any) -> None:
        counter.module.pop()

    with module_calls(enter, leave), sdpa_kernel(SDPBackend.MATH), torch.no_grad(), counter:
        model(images)
    return counter


def _name(func: Any) -> str:
    """Of an operation of torch: its name without namespace and overload; of others: with the namespace."""
    name: str = func.name().partition(".")[0]
    if not name.startswith(_NAMESPACE):
        return name
    name = name.removeprefix(_NAMESPACE)
    return name if name.startswith("__") else name.removesuffix("_")


def _traffic(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> int:
    read = tree_leaves((args[1:] if name in UNREAD else args, kwargs))
    distinct = {id(value): value for value in read if isinstance(value, Tensor)}
    written = (value for value in tree_leaves(result) if isinstance(value, Tensor))
    return sum(map(_bytes, distinct.values())) + sum(map(_bytes, written))


def _bytes(tensor: Tensor) -> int:
    """Of a tensor that was expanded only what is there."""
    lengths = (length for length, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride or not length)
    return math.prod(lengths) * tensor.element_size()
