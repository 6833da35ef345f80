"""One pass of a model that hands out results it already has, and leaves out what is to be removed."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from visionscope.errors import TraceError
from visionscope.tracing.additions import addition
from visionscope.tracing.edit import Addition, Edit, pixels_of
from visionscope.tracing.record import module_calls, tensors_in

_NUMBERS = (bool, int, float, str, type(None))


@dataclasses.dataclass(slots=True)
class Call:
    """One call of one module; times are counted in entries, ends and additions of the pass.

    Attributes:
        place: in order of entry.
        path: of the module.
        number: which call of that module.
        began: time of its entry.
        ended: time of its end.
        after: place of the first call after those inside it.
        additions: times of the additions that it made by itself.
        skippable: whether handing out its result is all that is needed instead of it.
        shape: of its result for one image, where that is a tensor.
        dtype: of that tensor.
    """

    place: int
    path: str
    number: int
    began: int
    ended: int = 0
    after: int = 0
    additions: list[int] = dataclasses.field(default_factory=list)
    skippable: bool = False
    shape: tuple[int, ...] = ()
    dtype: torch.dtype = torch.float32


@dataclasses.dataclass(frozen=True)
class Kept:
    """A result by reference, with the versions that its tensors had."""

    result: Any
    versions: tuple[int, ...]

    def is_intact(self) -> bool:
        """Whether none of them has been overwritten since."""
        tensors = [tensor for _, tensor in tensors_in(self.result)]
        return all(tensor._version == then for tensor, then in zip(tensors, self.versions, strict=True))


_Given = tuple[tuple[Tensor, int], ...]


@dataclasses.dataclass(slots=True)
class _Open:
    """A call under way: its additions so far, and the tensors that it was given with their versions."""

    call: Call
    given: _Given
    additions: int = 0


class DivergedError(Exception):
    """A pass made other calls than the one that was learned from."""


class Learned:
    """What is known of a model whose passes are made again and again.

    Attributes:
        model: the network.
        modules: by path.
        paths: by `id` of the module.
        calls: of a pass, in order of entry; empty before the first.
        overwritten: places of the calls whose results change after they were handed on.
    """

    def __init__(self, model: nn.Module) -> None:
        """Lists the modules; nothing is known of the calls yet.

        Args:
            model: the network.
        """
        self.model = model
        self.modules = dict(model.named_modules())
        self.paths = {id(module): path for path, module in self.modules.items()}
        self.calls: list[Call] = []
        self.overwritten: set[int] = set()

    def result_of(self, path: str, number: int) -> Call:
        """The call of that number of a module.

        Args:
            path: of the module.
            number: from 0.
        """
        return next(call for call in self.calls if (call.path, call.number) == (path, number))


class Pass(TorchFunctionMode):
    """One pass: counts calls and additions, hands out kept results, leaves out what is to be removed."""

    def __init__(
        self,
        learned: Learned,
        edit: Edit,
        *,
        handed: Mapping[int, Kept] | None = None,
        keep: Iterable[int] | None = (),
        learning: bool = False,
    ) -> None:
        """Prepares it.

        Args:
            learned: the model and what is known of its passes.
            edit: what is taken out.
            handed: results that are handed out, by place of their calls.
            keep: places of the calls whose results are kept; None for all.
            learning: whether it need not be the pass that was learned from.
        """
        super().__init__()
        self.calls: list[Call] = []
        self.kept: dict[int, Kept] = {}
        self.reached: set[Addition | str | tuple[str, int]] = set()
        self._learned, self._known = learned, [] if learning else learned.calls
        self._handed = handed or {}
        self._keep = None if keep is None else frozenset(keep)
        self._sums = {(one.path, one.call, one.number): one for one in edit.sums}
        self._taken = frozenset(edit.modules)
        self._taken_calls = frozenset(edit.calls)
        self._thread = threading.get_ident()
        self._open: list[_Open] = []
        self._numbers: dict[str, int] = {}
        self._clock = self._next = 0

    def run(self, images: Tensor) -> Any:
        """Passes the images.

        Args:
            images: for the model.
        """
        with module_calls(self._enter, self._leave), self._stubbed(), self:
            return self._learned.model(images)

    def spoiled(self) -> set[int]:
        """The results that were handed out and have been overwritten since."""
        return {place for place, kept in self._handed.items() if not kept.is_intact()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        added = addition(func, args, kwargs) if self._open else None
        if added is None:
            return func(*args, **kwargs) if kwargs else func(*args)
        now = self._open[-1]
        self._clock += 1
        if not self._known:
            now.call.additions.append(self._clock)
        edited = self._sums.get((now.call.path, now.call.number, now.additions))
        now.additions += 1
        if edited is None:
            return func(*args, **(kwargs or {}))
        if added.name != edited.function:
            raise TraceError(f"{edited.path}: the pass ran {added.name!r} where the trace saw {edited.function!r}")
        self.reached.add(edited)
        return added.without(edited.skip, func, args)

    def _enter(self, module: nn.Module, args: Any) -> None:
        # Global hooks also see modules of other threads and those that run beside the model.
        if threading.get_ident() != self._thread or not (self._open or module is self._learned.model):
            return
        path = self._learned.paths.get(id(module))
        if path is None:
            path = f"{self._open[-1].call.path}.<{type(module).__name__}>"
        self._clock += 1
        if self._known:
            if self._next >= len(self._known) or self._known[self._next].path != path:
                raise DivergedError
            call = self._known[self._next]
            given: _Given = ()
        else:
            number = self._numbers[path] = self._numbers.get(path, -1) + 1
            call = Call(self._next, path, number, self._clock)
            self.calls.append(call)
            given = tuple((tensor, tensor._version) for _, tensor in tensors_in(args))
        self._next += 1
        self._open.append(_Open(call, given))

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() != self._thread or not self._open:
            return
        now = self._open.pop()
        call, place = now.call, now.call.place
        self._clock += 1
        if place in self._handed:
            self._next = call.after
        if not self._known:
            call.ended, call.after = self._clock, self._next
            unchanged = all(tensor._version == then for tensor, then in now.given)
            call.skippable = unchanged and _is_plain(output) and id(module) in self._learned.paths
            if isinstance(output, Tensor):
                call.shape, call.dtype = tuple(output.shape[1:]), output.dtype
        if self._keep is None or place in self._keep:
            if place in self._handed:
                self.kept[place] = self._handed[place]
            elif call.skippable:
                self.kept[place] = _keep(output, copied=place in self._learned.overwritten)

    @contextmanager
    def _stubbed(self) -> Iterator[None]:
        """Inside, the modules of calls that are handed out or left out look up what to do first."""
        found: list[tuple[nn.Module, Any]] = []
        try:
            handed = {self._known[place].path for place in self._handed}
            for path in handed | self._taken | {path for path, _ in self._taken_calls}:
                module = self._learned.modules[path]
                found.append((module, module.__dict__.get("forward")))
                module.__dict__["forward"] = self._stub(path, module)
            yield
        finally:
            for module, own in reversed(found):
                if own is None:
                    module.__dict__.pop("forward", None)
                else:
                    module.__dict__["forward"] = own

    def _stub(self, path: str, module: nn.Module) -> Callable[..., Any]:
        forward = module.forward

        def instead(*args: Any, **kwargs: Any) -> Any:
            call = self._open[-1].call if self._open else None
            if call is not None and call.path == path:
                if call.place in self._handed:
                    copied = call.place in self._learned.overwritten
                    return _mapped(self._handed[call.place].result, torch.clone if copied else _itself)
                one = (path, call.number)
                if (path in self._taken or one in self._taken_calls) and isinstance(module, nn.Conv2d):
                    self.reached |= {path, one}
                    result = self._learned.result_of(path, call.number)
                    return pixels_of(args[0], result.shape, module.stride).to(result.dtype)
            return forward(*args, **kwargs)

        return instead


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def _is_plain(result: Any) -> bool:
    """Whether a result is made of tensors, numbers and plain containers, with a tensor among them."""
    if type(result) in (tuple, list):
        return any(map(_is_plain, result)) and all(_is_plain(item) or type(item) in _NUMBERS for item in result)
    if type(result) is dict:
        return _is_plain(tuple(result.values()))
    return type(result) in (Tensor, nn.Parameter)


def _mapped(result: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The same containers anew, so that a model that adds to a list adds to its own."""
    if isinstance(result, Tensor):
        return function(result)
    if isinstance(result, (tuple, list)):
        return type(result)(_mapped(item, function) for item in result)
    if isinstance(result, dict):
        return {key: _mapped(value, function) for key, value in result.items()}
    return result


def _keep(result: Any, *, copied: bool) -> Kept:
    own = _mapped(result, torch.clone if copied else _itself)
    return Kept(own, tuple(tensor._version for _, tensor in tensors_in(own)))
