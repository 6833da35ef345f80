"""Every spelling of an addition of two tensors: `x + y`, `torch.add(input=x, other=y)`, `addcmul`, `baddbmm`, ..."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Form:
    """How a function adds: its operands, and what they are multiplied with.

    Attributes:
        names: of its parameters, the first operand's in front.
        factor: name of the factor of what is added.
        product: the function whose result is added; None where the second parameter itself is.
        sign: of what is added.
    """

    names: tuple[tuple[str, ...], ...]
    factor: str = "alpha"
    product: Any = None
    sign: int = 1


_FIRST = ("input", "self")
_ADD = Form((_FIRST, ("other",)))
_SUB = Form((_FIRST, ("other",)), sign=-1)
_LERP = Form((_FIRST, ("end",), ("weight",)), factor="")
_MATRICES = Form((_FIRST, ("mat1",), ("mat2",)), product=torch.mm)
_BARE = {
    "add": _ADD,
    "sub": _SUB,
    "subtract": _SUB,
    "lerp": _LERP,
    "addcmul": Form((_FIRST, ("tensor1",), ("tensor2",)), factor="value", product=torch.mul),
    "addmm": _MATRICES,
    "baddbmm": Form((_FIRST, ("batch1",), ("batch2",)), product=torch.bmm),
}
_OVERLOADS = ("", ".Tensor", ".Scalar", ".out", ".default")
FORMS = {f"{name}{suffix}": form for name, form in _BARE.items() for suffix in _OVERLOADS} | {
    f"{name}_{suffix}": form for name, form in _BARE.items() for suffix in _OVERLOADS
}


def _bound(form: Form, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    values = list(args[: len(form.names)])
    for names in form.names[len(values) :]:
        values.append(next((kwargs[name] for name in names if name in kwargs), None))
    return values


def addition(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> Addends | None:
    """The two things that a call adds, where both are tensors of one rank; the same in every pass, at any batch size.

    Args:
        func: any function.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    name = getattr(func, "__name__", "")
    form = FORMS.get(name)
    if form is None:
        return None
    values = _bound(form, args, kwargs or {})
    if not all(isinstance(value, Tensor) for value in values[:2]):
        return None
    rank = values[0].dim()
    if form.product is not None:
        if not isinstance(values[2], Tensor) or max(values[1].dim(), values[2].dim()) != rank:
            return None
    elif values[1].dim() != rank:
        return None
    return Addends(name.partition(".")[0], form, values, kwargs or {}) if rank > 1 else None


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Addends:
    """A call that adds two tensors.

    Attributes:
        name: of the function.
        form: how it adds.
        values: its operands and factors in the order of the form's names.
        kwargs: its keyword arguments.
    """

    name: str
    form: Form
    values: list[Any]
    kwargs: Mapping[str, Any]

    @property
    def is_in_place(self) -> bool:
        """Whether the first operand is overwritten with the sum."""
        return self.name.endswith("_")

    @property
    def is_product(self) -> bool:
        """Whether what is added is a product that the call computes itself."""
        return self.form.product is not None

    def skip(self, place: int) -> Tensor:
        """An operand as the stream that is added to.

        Args:
            place: 0 or 1.
        """
        value: Tensor = self.values[place]
        if place == 1:
            return self._scaled(value)
        beta = self.kwargs.get("beta", 1)
        scaled: Tensor = value if _is_one(beta) else value * beta
        return scaled

    def branch(self, place: int) -> Tensor:
        """What one operand adds to the other: `factor * second`, or the interpolation's step.

        Args:
            place: 0 or 1.
        """
        values = self.values
        if self.form is _LERP:
            weight = values[2] if place else 1 - values[2]
            step: Tensor = weight * (values[place] - values[1 - place])
            return step
        if place == 0:
            return self.skip(0)
        return self._scaled(self.form.product(values[1], values[2]) if self.is_product else values[1])

    def _scaled(self, value: Tensor) -> Tensor:
        factor = self.form.sign * self.kwargs.get(self.form.factor, 1)
        scaled: Tensor = value if _is_one(factor) else value * factor
        return scaled

    def without(self, skip: int, func: Any, args: Sequence[Any]) -> Tensor:
        """The result of the call without its branch, where and as the sum would lie in memory.

        Nothing that the model overwrites later is shared with the operand, and an addition in place leaves the stream
        in the tensor that it was to change.

        Args:
            skip: which operand is the stream.
            func: the function.
            args: its positional arguments.
        """
        stream = self.skip(skip)
        if self.is_in_place and skip == 0 and _is_one(self.kwargs.get("beta", 1)):
            return stream
        stream = stream.clone() if self.is_in_place or "out" in self.kwargs else stream
        result: Tensor = func(*args, **self.kwargs)
        result.copy_(stream)
        return result


def _is_one(factor: Any) -> bool:
    return isinstance(factor, (int, float)) and factor == 1
