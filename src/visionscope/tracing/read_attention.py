"""Reading the attention of a model: the probabilities of each attention in every pass, and the values they weigh."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from visionscope.errors import TraceError
from visionscope.tracing.attention import FORMS, Attention
from visionscope.tracing.record import function_name, module_calls
from visionscope.tracing.tokens import Tokens
from visionscope.tracing.watch import Trace, _Watcher, refuse_wrapped
from visionscope.tracing.written_out import fused, fused_values, multi_head, multi_head_values

_MULTIPLYING = ("matmul", "bmm")

Callback = Callable[[Attention, Tensor], None]


class _Reader(_Watcher):
    """Finds each attention again by its place in the pass and hands over its probabilities."""

    def __init__(
        self,
        model: nn.Module,
        found: Trace,
        attentions: Sequence[Attention],
        callback: Callback,
        values: Callback | None,
    ) -> None:
        super().__init__(model, found, (), lambda point, maps: None)
        self._hand_over_values = values
        self._attentions = {(one.path, one.call, one.form, one.number): one for one in attentions if one.is_readable}
        self._wanted = len(self._attentions)
        self._hand_over = callback

    def _reset(self) -> None:
        super()._reset()
        self._numbers: dict[tuple[str, int, str], int] = {}
        self._waiting: tuple[Attention, Tensor] | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function_name(func)
        form = FORMS.get(name)
        if form is None or not self._stack:
            if self._waiting is not None and name in _MULTIPLYING:
                self._take_multiplied(args, kwargs)
            return func(*args, **kwargs)
        call = self._stack[-1]
        number = self._numbers.get((call.path, call.number, form), -1) + 1
        self._numbers[call.path, call.number, form] = number
        attention = self._attentions.get((call.path, call.number, form, number))
        if attention is None:
            return func(*args, **kwargs)
        if form == "fused":
            result, probabilities = fused(*args, **kwargs)
        elif form == "multi_head":
            result, probabilities = multi_head(func, args, kwargs)
        else:
            result = probabilities = func(*args, **kwargs)
        self._delivered += 1
        self._hand_over(attention, _arranged(attention, probabilities))
        if self._hand_over_values is not None:
            self._waiting = (attention, probabilities) if form == "softmax" else None
            if form != "softmax":
                values = (fused_values if form == "fused" else multi_head_values)(*args, **kwargs)
                self._hand_over_values(attention, _arranged_values(attention, values))
        return result

    def _take_multiplied(self, args: Any, kwargs: Any) -> None:
        """Hands over what the waiting probabilities are multiplied with, where it has an entry for each key."""
        assert self._waiting is not None
        assert self._hand_over_values is not None
        attention, probabilities = self._waiting
        operands = [*args, *kwargs.values()]
        if len(operands) != 2 or not all(isinstance(one, Tensor) for one in operands):
            return
        left, values = operands
        # Dropout in eval mode and conversions to the same type may give another name to the memory that is held here.
        if left.data_ptr() == probabilities.data_ptr() and left.shape == probabilities.shape:
            self._waiting = None
            if values.shape[:-1] == (*left.shape[:-2], left.shape[-1]):
                self._hand_over_values(attention, _arranged_values(attention, values))


def _arranged_values(attention: Attention, values: Tensor) -> Tensor:
    """(batch, windows, heads, keys, channels), prefix tokens first."""
    assert attention.keys is not None
    left, right = (pattern.removesuffix(" q k") for pattern in (attention.pattern, attention.target))
    arranged: Tensor = rearrange(values, f"{left} k d -> {right} k d", **dict(attention.sizes))
    return _in_order(arranged, -2, attention.keys)


def _arranged(attention: Attention, probabilities: Tensor) -> Tensor:
    assert attention.queries is not None
    assert attention.keys is not None
    traced = (attention.queries.count, attention.keys.count)
    if tuple(probabilities.shape[-2:]) != traced:
        raise TraceError(
            f"{attention.point.name}: its attention is {tuple(probabilities.shape[-2:])} where the trace saw {traced}"
        )
    arranged: Tensor = rearrange(probabilities, f"{attention.pattern} -> {attention.target}", **dict(attention.sizes))
    return _in_order(_in_order(arranged, -2, attention.queries), -1, attention.keys)


def _in_order(tensor: Tensor, place: int, tokens: Tokens) -> Tensor:
    if tokens.order == tuple(range(tokens.count)):
        return tensor
    return tensor.index_select(place, torch.tensor(tokens.order, device=tensor.device))


@contextmanager
def read_attention(
    model: nn.Module,
    found: Trace,
    attentions: Sequence[Attention],
    callback: Callback,
    values: Callback | None = None,
) -> Iterator[None]:
    """A context in which every pass of the model hands the probabilities of each attention to the callback.

    Fused attention is written out inside, as softmax(q k^T scale + mask) v, so the model's output is the same within
    rounding; what a fused kernel would have computed is not run. No setting of the model or of a library is changed
    but the fast path of nn.MultiheadAttention, which is restored on leaving like the hooks, also after an error.

    Args:
        model: the network that was traced.
        found: its trace.
        attentions: of `find_attention`; those that can't be read are passed over.
        callback: called with an attention and its probabilities (batch, windows, heads, queries, keys), prefix tokens
            first, in model order; windows is 1 where all tokens see each other.
        values: called after it with the values (batch, windows, heads, keys, channels) that those probabilities weigh.
            A softmax whose result is not multiplied as it is, as with talking heads, has none to be told.

    Raises:
        TraceError: inside, where a pass does something else than its trace said.
    """
    refuse_wrapped(model)
    reader = _Reader(model, found, attentions, callback, values)
    with module_calls(reader._enter_module, reader._leave_module), reader:
        yield
