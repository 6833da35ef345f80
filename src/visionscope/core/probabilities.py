"""What went through a softmax or a sigmoid before it was returned, and so is no logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from visionscope.core.sample import DENSE_AXES

# bfloat16 has 8 bits: the sum of probabilities that were rounded to it is off by at most this.
_ROUNDING = 2.0**-8


class Sigmoids(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of the base class
    """Keeps what sigmoids made of vectors and tables, to be known again through views and reshapes.

    Of maps, which gates inside a network make as well, the last one is kept.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._made: list[Tensor] = []
        self._map: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.sigmoid.default, torch.ops.aten.sigmoid_.default, torch.ops.aten.sigmoid.out):
            if result.ndim == DENSE_AXES:
                self._map = [result]
            self._made += [result] if result.ndim <= 2 else []
        return result

    def made(self, values: Tensor) -> bool:
        """Whether a sigmoid made these values.

        Args:
            values: of the output, or a view of them.
        """
        return any(
            one.untyped_storage().data_ptr() == values.untyped_storage().data_ptr() for one in self._made + self._map
        )


def not_logits(values: Tensor, output_is: str, *, seen_sigmoid: bool) -> str:
    """Why values can't be what they are taken for, or "".

    Args:
        values: (batch, columns, ...); of a single image nothing is told.
        output_is: `logits`, `probabilities`, or "" for logits that are looked at.
        seen_sigmoid: whether a sigmoid made them. By their values alone logits of an untrained network may be such.
    """
    if output_is == "logits" or len(values) < 2:
        return ""
    some = values.detach().double()
    within = bool(((some >= 0) & (some <= 1)).all())
    one = some.shape[1] == 1
    summed = within and not one and bool(((some.sum(1) - 1).abs() <= _ROUNDING).all())
    each = "pixel" if values.ndim == DENSE_AXES else "row"
    if output_is == "probabilities":
        if summed or (within and one):
            return ""
        rule = "lie in [0, 1]" if one else f"lie in [0, 1] and sum to 1 in each {each}"
        return (
            f"output_is: probabilities must {rule}; those of this network go from {some.min():.3g} to {some.max():.3g}"
        )
    remedy = "return the logits, or say --output-is probabilities (output_is=), which takes their logarithm"
    if summed:
        what = "its outputs went through a softmax, so they are not logits"
        return f"{what}: all lie in [0, 1] and each {each} sums to 1; {remedy}"
    if within and seen_sigmoid and one:
        return f"its output went through a sigmoid, so it is not a logit; {remedy}"
    if within and seen_sigmoid:
        return (
            f"its outputs went through a sigmoid each, as for several labels per image, so no {each} is a distribution "
            "over classes; return the logits, or say --output-is logits (output_is=) to take them for such"
        )
    return ""
