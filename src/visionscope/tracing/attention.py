"""Finding the attention of a model: each one of every msa branch, and where its tokens lie."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from visionscope.core.inputs import image_like
from visionscope.core.subject import Kind, Point
from visionscope.tracing.axes import Axes, Axis, fresh
from visionscope.tracing.operations import is_alias
from visionscope.tracing.record import Frame, Node, Recorder, function_name
from visionscope.tracing.sums import Sum, find_sums
from visionscope.tracing.tokens import Tokens, UnplacedError, UnreadableError, tokens_of, unplaced
from visionscope.tracing.watch import TRACE_BATCH, Trace, _undisturbed, refuse_wrapped, shadow
from visionscope.tracing.written_out import MULTI_HEAD

FORMS = {"scaled_dot_product_attention": "fused", "multi_head_attention_forward": "multi_head", "softmax": "softmax"}
"""The functions that may be an attention, by name, and what each form is called."""

_MIXES_HEADS = ("linear", "conv 1x1")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Attention:
    """One attention of one branch: a branch may have several, such as one for each direction of stripes.

    Attributes:
        point: the residual sum that its output goes to.
        path: of the innermost module call that runs it.
        call: which call of that module within the pass.
        number: which candidate of its form within the call.
        form: `fused`, `multi_head` or `softmax`; empty where there is none to be read.
        pattern: the axes of the probabilities as the left side of an einops pattern.
        target: the right side: (batch, windows, heads, queries, keys).
        sizes: of the named parts.
        queries: where the queries lie; None where it can't be read.
        keys: where the keys lie; likewise.
        note: why it can't be read, or why there is no distance; empty where all can be told.
    """

    point: Point
    path: str = ""
    call: int = 0
    number: int = 0
    form: str = ""
    pattern: str = ""
    target: str = ""
    sizes: tuple[tuple[str, int], ...] = ()
    queries: Tokens | None = None
    keys: Tokens | None = None
    note: str = ""

    @property
    def is_readable(self) -> bool:
        """Whether its probabilities can be read, wherever its tokens lie."""
        return bool(self.pattern)

    @property
    def heads(self) -> int:
        """Number of heads; 0 where it can't be read."""
        return math.prod(size for name, size in self.sizes if name.startswith("n")) if self.pattern else 0


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class _Seen:
    """A call that may be an attention: its output, its place in the pass, the axes of its operands."""

    node: Node
    frame: Frame
    number: int
    form: str
    queries: Axes | None
    keys: Axes | None
    shapes: tuple[tuple[int, ...], ...]
    heads: int
    last: bool


class _AttentionRecorder(Recorder):
    """Counts candidates per module call, as the reader will."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        super().__init__(model, images)
        self.seen: list[_Seen] = []
        self._numbers: dict[tuple[Frame, str], int] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Notes a candidate beside what every recorder notes."""
        form = FORMS.get(function_name(func))
        if form is None or not self._stack:
            return super().__torch_function__(func, types, args, kwargs)
        frame, given = self._stack[-1], kwargs or {}
        number = self._numbers.get((frame, form), -1) + 1
        self._numbers[frame, form] = number
        tensors = _operands(args, given)
        operands = [self._axes(value) for value in tensors]
        shapes = tuple(tuple(value.shape) for value in tensors if isinstance(value, Tensor))
        result = super().__torch_function__(func, types, args, kwargs)
        for _, node in self._find(result)[:1]:
            last = form != "softmax" or _axis_of_softmax(args, given) in {-1, len(node.shape) - 1}
            heads = int(MULTI_HEAD.bind(*args, **given).arguments["num_heads"]) if form == "multi_head" else 0
            self.seen.append(_Seen(node, frame, number, form, operands[0], operands[1], shapes, heads, last))
        return result

    def _axes(self, value: Any) -> Axes | None:
        return next((node.axes for _, node in self._find(value)), None)


def _operands(args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
    """Queries and keys of a fused or multi-head attention."""
    return [args[place] if len(args) > place else kwargs.get(name) for place, name in enumerate(("query", "key"))]


def _axis_of_softmax(args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    return kwargs["dim"] if "dim" in kwargs else args[1] if len(args) > 1 else None


def find_attention(model: nn.Module, found: Trace, example: Tensor) -> tuple[Attention, ...]:
    """The attentions of a model's msa points, in model order, by one more dry run.

    Where tokens lie is followed through the views and permutations between the image and the queries, so windows,
    shifted ones, dilated grids of tokens, and keys on a coarser grid are placed without knowing the architecture.

    Args:
        model: the network that was traced.
        found: its trace.
        example: images of the size to be used; only their shape matters, device and type are the network's.

    Returns:
        At least one per msa sum, with a grid or without; `note` says what can't be read or placed.
    """
    refuse_wrapped(model)
    device = "meta" if found.device == "meta" else None
    shape = example.shape[1:]
    images = torch.zeros(TRACE_BATCH, *shape).to(image_like(model, shape)).to(device)
    with _undisturbed(model):
        copy = shadow(model, device)
        recorder = _AttentionRecorder(copy, images)
        with torch.no_grad(), recorder:
            copy(images)
    sums = find_sums(recorder.record)
    stops, image = {one.node for one in sums}, (example.shape[-2], example.shape[-1])
    streams = {
        (one.site.path, one.site.call, one.site.number): one.stream
        for one in found.residuals
        if one.stream.kind is Kind.MSA
    }
    by_point: dict[str, list[Attention]] = {point.name: [] for point in streams.values()}
    for one in sums:
        point = _point_of(one, streams)
        if point is None:
            continue
        inside = _inside(one, stops)
        for seen in recorder.seen:
            if seen.node in inside and (seen.form != "softmax" or _is_of_product(seen.node, inside)):
                attention = _placed(seen, point, image)
                if _is_changed(seen, inside):
                    changed = "its probabilities are changed after the softmax"
                    attention = dataclasses.replace(attention, note=changed, pattern="", queries=None, keys=None)
                by_point[point.name].append(attention)
    missing = "it has no softmax over the product of queries and keys"
    return tuple(
        attention
        for point in streams.values()
        for attention in by_point[point.name] or [Attention(point, note=missing)]
    )


def _point_of(one: Sum, streams: Mapping[tuple[str, int, int], Point]) -> Point | None:
    """The point of a residual sum, where an attention is what it adds."""
    frame = one.node.frame
    return streams.get((frame.path if frame else "", frame.call if frame else 0, one.node.ordinal))


def _inside(one: Sum, stops: set[Node]) -> set[Node]:
    """The nodes of a branch, back to the stream that it starts from or another residual sum."""
    inside: set[Node] = set()
    waiting = [one.branch]
    while waiting:
        current = waiting.pop()
        if current in inside or current.alias is one.root or current.alias in stops:
            continue
        inside.add(current)
        waiting.extend(current.parents)
    return inside


def _is_of_product(node: Node, inside: set[Node]) -> bool:
    """Whether a softmax is over the product of two activations of the same branch, with its shape and its size."""
    seen: set[Node] = set()
    waiting = list(node.parents)
    while waiting:
        current = waiting.pop()
        if current in seen or current not in inside:
            continue
        if current.operation == "product":
            return current.shape[-1] == node.shape[-1] and math.prod(current.shape) == math.prod(node.shape)
        seen.add(current)
        waiting.extend(current.parents)
    return False


def _is_changed(seen: _Seen, inside: set[Node]) -> bool:
    """Whether anything but a mixing of heads happens between a softmax and the product with the values."""
    if seen.form != "softmax":
        return False
    carried = {seen.node}
    for node in sorted(inside, key=lambda node: node.index):
        if node.operation == "product" or not carried.intersection(node.parents):
            continue
        if not is_alias(node.name) and node.operation not in _MIXES_HEADS:
            return True
        carried.add(node)
    return False


def _placed(seen: _Seen, point: Point, image: tuple[int, int]) -> Attention:
    attention = Attention(point, seen.frame.path, seen.frame.call, seen.number, seen.form)
    try:
        leading, queries, keys, before_keys = _axes_of(seen)
        pattern, target, sizes = _patterns(leading)
        try:
            placed = tokens_of(queries, leading, point.grid, image), tokens_of(keys, before_keys, point.grid, image)
            note = ""
        except UnplacedError as error:
            windows = math.prod(size for name, size in sizes if name.startswith("w"))
            placed = unplaced(queries.size, windows), unplaced(keys.size, windows)
            note = f"no distance: {error}"
    except UnreadableError as error:
        return dataclasses.replace(attention, note=str(error))
    return dataclasses.replace(
        attention, pattern=pattern, target=target, sizes=sizes, queries=placed[0], keys=placed[1], note=note
    )


def _axes_of(seen: _Seen) -> tuple[Axes, Axis, Axis, Axes]:
    """Of the probabilities: the axes in front, of the queries and of the keys, and those in front of the keys."""
    if not seen.last:
        raise UnreadableError("its softmax is not over the last axis")
    if seen.form == "softmax":
        axes = seen.node.axes or _by_definition(seen.node.shape)
        if len(axes) < 3:
            raise UnreadableError("which images and heads its probabilities belong to could not be followed")
        return axes[:-2], axes[-2], axes[-1], axes[:-2]
    queries = seen.queries or _by_definition(seen.shapes[0], seen.form)
    keys = seen.keys or _by_definition(seen.shapes[1], seen.form)
    if len(queries) < 3:
        raise UnreadableError("which images and heads its probabilities belong to could not be followed")
    if seen.form == "multi_head":  # (tokens, batch, channels), whatever the module takes
        leading = (queries[1], fresh("c", seen.heads))
        return leading, queries[0], keys[0], (keys[1],)
    return queries[:-2], queries[-2], keys[-2], keys[:-2]


def _by_definition(shape: Sequence[int], form: str = "") -> Axes:
    """The axes that attention has where the way from the image was lost: (images, heads, tokens, ...)."""
    places = (1, 0) if form == "multi_head" else (0, 1)
    if len(shape) < 3 or shape[places[0]] != TRACE_BATCH:
        raise UnreadableError("which images and heads its probabilities belong to could not be followed")
    axes = [fresh("?", size) for size in shape]
    axes[places[0]] = fresh("b", TRACE_BATCH)
    if len(shape) == 4:
        axes[1] = fresh("c", shape[1])
    return tuple(axes)


def _patterns(leading: Axes) -> tuple[str, str, tuple[tuple[str, int], ...]]:
    """How probabilities (..., queries, keys) become (batch, windows, heads, queries, keys)."""
    names: dict[str, list[str]] = {"b": [], "w": [], "n": []}
    sizes: dict[str, int] = {}
    groups = []
    for axis in leading:
        group = []
        for digit in axis.digits:
            role = {"b": "b", "h": "w", "w": "w", "c": "n"}.get(digit.role)
            whole = role != "b" or (not names["b"] and digit.size == TRACE_BATCH)
            if role is None or not whole or not axis.is_plain:
                raise UnreadableError("which images and heads its probabilities belong to could not be followed")
            name = "b" if role == "b" else f"{role}{len(names[role])}"
            names[role].append(name)
            sizes[name] = digit.size
            group.append(name)
        groups.append(f"({' '.join(group)})" if group else "1")
    if not names["b"]:
        raise UnreadableError("which images its probabilities belong to could not be followed")
    sizes.pop("b")
    target = f"b ({' '.join(names['w'])}) ({' '.join(names['n'])}) q k"
    return f"{' '.join(groups)} q k", target, tuple(sorted(sizes.items()))
