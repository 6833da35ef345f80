"""Tracing a model once, and streaming its feature maps to an observer in every pass after that."""

import dataclasses
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from visionscope.core.copying import copy_of
from visionscope.core.inputs import image_like
from visionscope.core.printable import message_of
from visionscope.core.subject import Point
from visionscope.core.turns import in_turn
from visionscope.errors import TraceError, nearest
from visionscope.tracing.additions import addition
from visionscope.tracing.axes import Arrangement
from visionscope.tracing.discover import Found, Residual, Site, Unwatched, discover
from visionscope.tracing.opaque import hidden
from visionscope.tracing.record import Record, module_calls, record_pass, tensors_in

TRACE_BATCH = 2
Callback = Callable[[Point, Tensor], None]

_GROUPS = re.compile(r"\([^)]*\)|\S+")  # the axes of an einops pattern
_NAMES = re.compile(r"[a-z]\d*")


@dataclasses.dataclass(frozen=True)
class Trace:
    """What one dry run found.

    Attributes:
        points: the default points: the residual stream as the next block receives it.
        all_points: those, the bare sums ahead of an activation, and every branch by itself.
        unwatched: what can't be watched, with the reason: sums and branches without a grid, and additions that are no
            residual sums.
        residuals: every residual sum in the order of the pass, with a grid or without.
        sites: where each point is found again, by name.
        device: `meta`, or the model's device where it does not run on meta.
        calls: how often a pass calls each module, by path.
    """

    points: tuple[Point, ...]
    all_points: tuple[Point, ...]
    unwatched: tuple[Unwatched, ...]
    residuals: tuple[Residual, ...]
    sites: dict[str, Site]
    device: str
    calls: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def sums(self) -> int:
        """How many residual sums were seen."""
        return len(self.residuals)

    def find(self, names: Sequence[str]) -> tuple[Point, ...]:
        """The points of these names.

        Args:
            names: from `all_points`.

        Raises:
            TraceError: for a name that no point has.
        """
        known = {point.name: point for point in self.all_points}
        for name in names:
            if name not in known:
                raise TraceError(f"points: the model has no point {name!r}.{nearest(name, known)}")
        return tuple(known[name] for name in names)


@in_turn
def trace(model: nn.Module, example: Tensor, *, points_needed: bool = True) -> Trace:
    """Finds the points of a model by a dry run, on the meta device where the model allows it, and checks it by another.

    Args:
        model: any network that takes images (batch, channel, height, width); it is left as it was found.
        example: images of the size to be used; only their shape matters, device and type are the network's.
        points_needed: whether a model without feature maps is refused; curvature can do without.

    Raises:
        TraceError: for compiled, quantised, exported, scripted or DataParallel models, for one that does not run on
            images of this size, that has no feature maps, or whose two dry runs differ.
    """
    refuse_wrapped(model)
    shape = example.shape[1:]
    images = torch.zeros(TRACE_BATCH, *shape).to(image_like(model, shape))
    with _undisturbed(model):
        records, device = _recorded(model, images)
    found = _agreed(model, records)
    if points_needed and not found.points:
        raise TraceError(_pointless(model, found))
    everything = [*found.points, *found.further]
    return Trace(
        points=tuple(point for point, _ in found.points),
        all_points=tuple(point for point, _ in everything),
        unwatched=tuple(found.unwatched),
        residuals=tuple(found.residuals),
        sites={point.name: site for point, site in everything},
        device=device,
        calls=Counter(frame.path for frame in records[0].frames),
    )


def _agreed(model: nn.Module, records: Sequence[Record]) -> Found:
    """What two dry runs have in common; places that differ between them can't be watched."""
    pairs = list(zip(*(record.nodes for record in records), strict=False))
    if all((one.name, one.shape) == (other.name, other.shape) for one, other in pairs):  # else the paths differ, below
        for pair in pairs:
            if len({tuple(axis.entries for axis in node.axes) for node in pair if node.axes}) > 1:
                for node in pair:
                    node.axes, node.lost = None, "its positions are in another order in every pass"
    found, again = (discover(record) for record in records)
    if found.points != again.points:
        raise TraceError(f"{type(model).__name__}: two dry runs saw different residual sums; its path is not fixed")
    return found


def _pointless(model: nn.Module, found: Found) -> str:
    name = type(model).__name__
    if found.unwatched:
        first = found.unwatched[0]
        return f"{name} has no feature maps that keep a grid; the first that was lost is {first.name}: {first.reason}"
    return f"{name} has no feature maps that keep a grid: no residual sum and no block gives one"


def _recorded(model: nn.Module, images: Tensor) -> tuple[list[Record], str]:
    """Two passes in a row, on the meta device or else where the model is."""
    try:
        return _twice(shadow(model, "meta"), images.to("meta")), "meta"
    except Exception:
        # Data-dependent control flow, tensors kept outside parameters and buffers, operations without a meta kernel.
        try:
            return _twice(shadow(model), images), str(images.device)
        except Exception as error:
            size = "x".join(str(length) for length in images.shape[1:])
            reason = message_of(error).strip().partition("\n")[0] or type(error).__name__
            raise TraceError(f"{type(model).__name__} does not run on images of {size}: {reason}") from error


def _twice(model: nn.Module, images: Tensor) -> list[Record]:
    return [record_pass(model, images) for _ in range(2)]


def shadow(model: nn.Module, device: str | None = None) -> nn.Module:
    """A copy of the model's modules, so that what a dry run leaves in them stays there; weights are never duplicated.

    Args:
        model: the network.
        device: where the copy's weights are empty tensors; None shares the model's own.
    """
    memo: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        if device is None:
            memo[id(tensor)] = tensor
            continue
        empty = torch.empty_like(tensor, device=device)
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    return copy_of(model, memo)


def refuse_wrapped(model: nn.Module) -> None:
    """Refuses what hides its operations.

    Args:
        model: the network to be traced or watched.

    Raises:
        TraceError: for compiled, quantised, exported, scripted and DataParallel models.
    """
    found = hidden(model)
    if found is not None:
        raise TraceError(f"model: {found.reason}")


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode and no fused attention inside; training flags, RNG and the fused path as before afterwards."""
    flags = [(module, module.training) for module in model.modules()]
    fused = torch.backends.mha.get_fastpath_enabled()
    with torch.random.fork_rng():
        try:
            model.eval()
            torch.backends.mha.set_fastpath_enabled(False)
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
            for module, training in flags:
                module.training = training


def to_grid(tensor: Tensor, how: Arrangement) -> Tensor:
    """A view (where strides allow) of a point's tensor as (batch, channel, height, width), prefix tokens left out."""
    for axis, places in how.selected:
        first, last = places[0], places[-1]
        if places == tuple(range(first, last + 1)):
            tensor = tensor.narrow(axis, first, len(places))
        else:
            tensor = tensor.index_select(axis, torch.tensor(places, device=tensor.device))
    if how.pattern == how.target:
        return tensor
    return rearrange(tensor, f"{how.pattern} -> {how.target}", **dict(how.sizes))


def beside_grid(tensor: Tensor, how: Arrangement) -> Tensor | None:
    """The prefix tokens of a point's tensor as (batch, token, channel), in the order in which they stand.

    Args:
        tensor: of the point.
        how: its arrangement.

    Returns:
        None where there are none, or where each window has its own.
    """
    along = [axis for axis, places in how.selected if tensor.shape[axis] > len(places)]
    if len(along) != 1:
        return None
    axis = along[0]
    groups, target = (_GROUPS.findall(pattern) for pattern in (how.pattern, how.target))
    groups[axis] = "t"
    named = {name for group in groups for name in _NAMES.findall(group)} - {"t"}
    if named != {name for group in target[:2] for name in _NAMES.findall(group)}:
        return None
    inside = set(next(places for own, places in how.selected if own == axis))
    places = [place for place in range(tensor.shape[axis]) if place not in inside]
    chosen = tensor.index_select(axis, torch.tensor(places, device=tensor.device))
    sizes = {name: size for name, size in how.sizes if name in named}
    return rearrange(chosen, f"{' '.join(groups)} -> {target[0]} t {target[1]}", **sizes)


@dataclasses.dataclass(slots=True)
class _Call:
    path: str
    number: int
    additions: int = 0


class _Watcher(TorchFunctionMode):
    """Counts additions and hands the wanted ones over; module outputs come from hooks."""

    def __init__(
        self,
        model: nn.Module,
        found: Trace,
        points: Sequence[Point],
        callback: Callback,
        beside: Callback | None = None,
    ) -> None:
        super().__init__()
        self._model = model
        self._beside = beside
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._callback = callback
        self._sites: dict[tuple[str, int, int], list[tuple[Point, Site]]] = {}
        for point in points:
            site = found.sites[point.name]
            self._sites.setdefault((site.path, site.call, site.number), []).append((point, site))
        self._wanted = len(points)
        self._thread = threading.get_ident()
        self._reset()

    def _reset(self) -> None:
        self._delivered = 0
        self._calls: dict[str, int] = {}
        self._stack: list[_Call] = []
        self._batch = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        added = addition(func, args, kwargs) if self._stack else None
        if added is None:
            return func(*args, **kwargs) if kwargs else func(*args)
        call = self._stack[-1]
        wanted = self._sites.get((call.path, call.number, call.additions), ())
        call.additions += 1
        # The operands of an in-place addition are handed over before it overwrites one of them.
        for point, site in wanted:
            if site.role != "sum":
                operand = added.branch if site.role == "branch" else added.skip
                self._deliver(point, site, added.name, operand(site.place[0]))
        result = func(*args, **(kwargs or {}))
        for point, site in wanted:
            if site.role == "sum":
                self._deliver(point, site, added.name, result)
        return result

    def _deliver(self, point: Point, site: Site, function: str, tensor: Tensor) -> None:
        if function != site.function:
            raise TraceError(f"{point.name}: the pass ran {function!r} where the trace saw {site.function!r}")
        changed = [(now, then) for now, then in zip(tensor.shape, site.shape, strict=False) if now != then]
        # One axis may be longer, by as much as the batch is: the batch itself, or one into which it was folded.
        scaled = all(now * TRACE_BATCH == then * self._batch for now, then in changed)
        if tensor.dim() != len(site.shape) or len(changed) > 1 or not scaled:
            raise TraceError(
                f"{point.name}: its tensor is {tuple(tensor.shape)} for {self._batch} images"
                f" where the trace saw {site.shape} for {TRACE_BATCH}"
            )
        self._delivered += 1
        self._callback(point, to_grid(tensor, site.arrangement))
        if self._beside is not None:
            tokens = beside_grid(tensor, site.arrangement)
            if tokens is not None:
                self._beside(point, tokens)

    def _enter_module(self, module: nn.Module, args: Any) -> None:
        # Global hooks also see modules of other threads (image transforms, say) and those that run beside the model.
        if threading.get_ident() != self._thread or not (self._stack or module is self._model):
            return
        path = self._paths.get(id(module))
        if path is None:
            path = f"{self._stack[-1].path}.<{type(module).__name__}>"
        if not self._stack:
            self._reset()
            images = next((tensor for _, tensor in tensors_in(args)), None)
            if images is None:
                raise TraceError("images: call the model with them as its first positional argument")
            self._batch = images.shape[0]
        self._calls[path] = self._calls.get(path, -1) + 1
        self._stack.append(_Call(path, self._calls[path]))

    def _leave_module(self, module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() != self._thread or not self._stack:
            return
        call = self._stack.pop()
        if output is None:  # the call raised
            return
        wanted = self._sites.get((call.path, call.number, -1))
        for point, site in wanted or ():
            value = output
            for step in site.place:
                value = value[step]
            # In a hook the mode is on: it would count the additions of the callback as the model's.
            with torch._C.DisableTorchFunction():
                self._deliver(point, site, "", value)
        if not self._stack and self._delivered != self._wanted:
            raise TraceError(f"the pass reached {self._delivered} of the {self._wanted} points of its trace")


@contextmanager
def watch(
    model: nn.Module,
    found: Trace,
    callback: Callback,
    points: Sequence[Point] | None = None,
    beside: Callback | None = None,
) -> Iterator[None]:
    """A context in which every pass of the model hands each point's maps to the callback, in model order.

    The maps are views of the model's own tensors, which it may overwrite as soon as the callback returns: consume them
    at once. The fused path of nn.MultiheadAttention is off inside. Hooks, mode and flags are taken back on leaving,
    also after an error.

    Args:
        model: the network that was traced.
        found: its trace.
        callback: called with a point and its maps (batch, channel, height, width).
        points: which of `found.all_points`; by default `found.points`.
        beside: called after it with the point's prefix tokens (batch, token, channel), where it has some.

    Raises:
        TraceError: inside, where a pass does something else than its trace said.
    """
    refuse_wrapped(model)
    watcher = _Watcher(model, found, found.points if points is None else points, callback, beside)
    with module_calls(watcher._enter_module, watcher._leave_module), watcher:
        yield
