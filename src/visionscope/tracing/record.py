"""One pass over a model, written down: every operation on something computed from the images, every module call."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from visionscope.tracing.additions import Addends, addition
from visionscope.tracing.axes import Axes, image_axes, is_map, is_placed, layout
from visionscope.tracing.functions import is_declared, is_elementwise, is_split, reason_lost
from visionscope.tracing.indexing import indexed
from visionscope.tracing.movement import moved_axes, split_axes
from visionscope.tracing.operations import category, is_alias


@dataclasses.dataclass(eq=False, repr=False)
class Node:
    """A tensor computed from the images.

    Attributes:
        index: order of creation.
        name: of the function that made it.
        operation: its category (see `operations.category`).
        parents: the nodes that it was computed from.
        shape: of the tensor.
        axes: symbolic axes, or None where they were lost.
        frame: the innermost module call in which it was made.
        alias: the first node with the same values (itself, unless made by a view, a cast, a dropout in eval mode).
        ordinal: for an addition of two tensors of equal rank, its number within its module call; else -1.
        addends: of such an addition, what it adds, where both were computed from the images.
        lost: what took its place in the image from it, in words; empty where nothing is known to have.
    """

    index: int
    name: str
    operation: str
    parents: tuple["Node", ...]
    shape: tuple[int, ...]
    axes: Axes | None
    frame: "Frame | None"
    alias: "Node" = dataclasses.field(default=None)  # type: ignore[assignment]
    ordinal: int = -1
    addends: tuple["Node", "Node"] | None = None
    lost: str = ""

    def __post_init__(self) -> None:
        """A node without an alias is its own."""
        if self.alias is None:
            self.alias = self


@dataclasses.dataclass(eq=False, repr=False)
class Frame:
    """One call of one module.

    Attributes:
        path: the module's name in `named_modules`.
        call: which call of that module it is, from 0.
        class_name: of the module.
        parent: the enclosing call.
        inputs: nodes among its arguments.
        outputs: nodes in its result, each with its place in a nested result.
        start: number of nodes made before it.
        stop: number of nodes made before its end.
        additions: how many additions of two tensors of equal rank it made by itself.
    """

    path: str
    call: int
    class_name: str
    parent: "Frame | None"
    inputs: tuple[Node, ...]
    outputs: tuple[tuple[tuple[Any, ...], Node], ...] = ()
    start: int = 0
    stop: int = 0
    additions: int = 0

    def chain(self) -> Iterator["Frame"]:
        """This call and the calls around it, innermost first."""
        frame: Frame | None = self
        while frame is not None:
            yield frame
            frame = frame.parent


@dataclasses.dataclass(repr=False)
class Record:
    """A pass: its nodes in order, its module calls in order of entry.

    Attributes:
        nodes: in order.
        frames: in order of entry.
        left: path and function of the calls through which values left torch, so that what came back is not followed.
    """

    nodes: list[Node]
    frames: list[Frame]
    left: list[tuple[str, str]] = dataclasses.field(default_factory=list)


def function_name(func: Any) -> str:
    """The bare name of a torch function: `add` for `torch.add` and `Tensor.__add__`, `mT` for the property."""
    name = str(getattr(func, "__name__", func))
    if name == "__get__":
        name = str(getattr(func.__self__, "__name__", ""))
    name = name.partition(".")[0]  # torch.ops.aten.add.Tensor
    return name.strip("_") + ("_" if name.endswith("_") and not name.endswith("__") else "")


def tensors_in(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Tensor]]:
    """The tensors in a nested result of tuples, lists, mappings and dataclass outputs, with their places."""
    if isinstance(value, Tensor):
        yield place, value
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            yield from tensors_in(item, (*place, index))
    elif hasattr(value, "items"):
        for key, item in value.items():
            yield from tensors_in(item, (*place, key))


class Recorder(TorchFunctionMode):
    """The mode that writes the record while a model runs inside it."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.record = Record([], [])
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._calls: dict[str, int] = {}
        self._stack: list[Frame] = []
        # Weakly, and by identity: a tensor that is gone must not lend its node to another that lies at its address.
        self._nodes: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._keep(images, self._make("images", "", (), images, image_axes(images.shape)))

    def __enter__(self) -> "Recorder":
        """Starts recording; the module hooks are global ones, so the model itself stays untouched."""
        self._handles = [
            register_module_forward_pre_hook(self._enter_module),
            register_module_forward_hook(self._leave_module, always_call=True),
        ]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *details: Any) -> None:
        """Stops recording and takes the module hooks away."""
        for handle in self._handles:
            handle.remove()
        super().__exit__(*details)  # type: ignore[no-untyped-call]

    def _make(self, name: str, operation: str, parents: tuple[Node, ...], tensor: Tensor, axes: Axes | None) -> Node:
        node = Node(
            len(self.record.nodes),
            name,
            operation,
            parents,
            tuple(tensor.shape),
            axes,
            self._stack[-1] if self._stack else None,
        )
        if axes is None:
            node.lost = next((parent.lost for parent in parents if parent.lost), "")
        self.record.nodes.append(node)
        return node

    def _keep(self, tensor: Tensor, node: Node) -> None:
        self._nodes[tensor] = node

    def _find(self, value: Any) -> list[tuple[Tensor, Node]]:
        return [(tensor, self._nodes[tensor]) for _, tensor in tensors_in(value) if tensor in self._nodes]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs one function and notes what it made of which nodes."""
        kwargs = kwargs or {}
        name = function_name(func)
        bound, named = _main_operand_first(args, kwargs)
        found = self._find(_operands_of(name, bound, named))
        added = addition(func, args, kwargs)
        ordinal = -1
        if added is not None and self._stack:
            ordinal = self._stack[-1].additions
            self._stack[-1].additions += 1
        result = func(*args, **kwargs)
        if found and name in _LEAVING:
            self.record.left.append((self._stack[-1].path if self._stack else "", name))
        if found and name == "setitem":
            self._note_assignment(args, found)
        elif found and added is not None and added.is_product and added.values[0] in self._nodes:
            self._note_product(added, result)
        elif found:
            addends = [node for value in added.values[:2] for _, node in self._find(value)] if added else []
            self._note(name, func, bound, named, found, result)
            if added is not None and len(addends) == 2:
                self._nodes[result].addends = (addends[0], addends[1])
        if added is not None and result in self._nodes:
            self._nodes[result].ordinal = ordinal
        return result

    def _note(
        self, name: str, func: Any, args: Any, kwargs: Any, found: list[tuple[Tensor, Node]], result: Any
    ) -> None:
        outputs = [tensor for _, tensor in tensors_in(result)]
        if not outputs:
            return
        parents = tuple(node for _, node in found)
        sources = [(tensor, node.axes) for tensor, node in found]
        operation = category(name, args, kwargs, len(found), parents[0].axes, tuple(outputs[0].shape), found[0][0])
        same = is_alias(name) or _changes_nothing(name, args)
        pieces = split_axes(parents[0].axes, outputs) if is_split(name) else None
        for index, output in enumerate(outputs):
            if any(output is tensor for tensor, _ in found) and not name.endswith("_") and same:
                continue
            axes = pieces[index] if pieces else moved_axes(name, func, args, kwargs, sources, output)
            if axes is not None and [axis.size for axis in axes] != list(output.shape):
                axes = None
            lost = ""
            if axes is not None and is_elementwise(name, func) and not _agree(found, output):
                axes = _of_the_stream(parents) if name.removesuffix("_") in {"add", "sub", "subtract"} else None
                lost = "" if axes else "its operands have their positions in different orders"
            node = self._make(name, operation, parents, output, axes)
            node.lost = node.lost or lost
            if axes is None and not node.lost and any(map(is_placed, parents[0].axes or ())):
                node.lost = reason_lost(name, func)
            if same:
                node.alias = parents[0].alias
            self._keep(output, node)

    def _note_product(self, added: Addends, result: Tensor) -> None:
        """`x + a * b` in one call: the product is a node of its own, as if it had been written out."""
        func, factors = added.form.product, added.values[1:3]
        found = self._find(factors)
        if not found:
            self._note("add", torch.add, (added.values[0],), {}, self._find(added.values[0]), result)
            return
        made = func(*(torch.empty_like(factor, device="meta") for factor in factors))
        name, skip = function_name(func), self._nodes[added.values[0]]
        axes = moved_axes(name, func, factors, {}, [(tensor, node.axes) for tensor, node in found], made)
        parents = tuple(node for _, node in found)
        operation = category(name, factors, {}, len(found), parents[0].axes, tuple(made.shape), found[0][0])
        node = self._make(name, operation, parents, made, axes)
        branch = torch.empty_like(result, device="meta")
        axes = moved_axes("add", torch.add, (), {}, [(added.values[0], skip.axes), (branch, node.axes)], result)
        total = self._make(added.name, "", (skip, node), result, axes)
        total.addends = (skip, node)
        self._keep(result, total)

    def _note_assignment(self, args: Sequence[Any], found: list[tuple[Tensor, Node]]) -> None:
        """`target[index] = value`: the target goes on with what was written into it."""
        target, index, value = args
        known = next((node for _, node in self._find(target)), None)
        axes = known.axes if known is not None else None
        own = next((node for _, node in self._find(value)), None) if isinstance(value, Tensor) else None
        items = index if isinstance(index, tuple) else (index,)
        plain = all(item is None or item is Ellipsis or isinstance(item, (int, slice)) for item in items)
        if own is not None and tuple(value.shape) == tuple(target.shape):
            axes = own.axes
        elif own is not None and plain and axes is not None:
            part = indexed((target, index), {}, axes, target[index])
            same = part is not None and own.axes is not None and layout(part[-value.dim() :]) == layout(own.axes)
            axes = axes if same or not any(map(is_placed, own.axes or part or ())) else None
        node = self._make("setitem", "", tuple(node for _, node in found), target, axes if plain else None)
        if node.axes is None and not node.lost:
            node.lost = reason_lost("setitem", None)
        self._keep(target, node)

    def _enter_module(self, module: nn.Module, args: Any) -> None:
        path = self._paths.get(id(module))
        if path is None:
            path = f"{self._stack[-1].path}.<{type(module).__name__}>" if self._stack else "<unnamed>"
        call = self._calls.get(path, 0)
        self._calls[path] = call + 1
        parent = self._stack[-1] if self._stack else None
        inputs = tuple(node for _, node in self._find(args))
        frame = Frame(path, call, type(module).__name__, parent, inputs, start=len(self.record.nodes))
        self.record.frames.append(frame)
        self._stack.append(frame)

    def _leave_module(self, module: nn.Module, args: Any, output: Any) -> None:
        frame = self._stack.pop()
        if not frame.inputs:
            # Global hooks do not see keyword arguments: what was used inside but made before was given to the call.
            inside = self.record.nodes[frame.start :]
            given = {parent for node in inside for parent in node.parents if parent.index < frame.start}
            frame.inputs = tuple(sorted(given, key=lambda node: node.index))
        outputs = []
        for place, tensor in tensors_in(output):
            if tensor not in self._nodes and frame.inputs:
                first = frame.inputs[0]
                kept = is_declared(type(module)) and first.shape == tuple(tensor.shape)
                node = self._make("opaque", "opaque", frame.inputs, tensor, first.axes if kept else None)
                node.lost = node.lost or ("" if kept else reason_lost(type(module).__name__, type(module)))
                self._keep(tensor, node)
            elif tensor in self._nodes and is_declared(type(module)) and frame.inputs:
                self._declare(frame.inputs[0], tensor)
            if tensor in self._nodes:
                outputs.append((place, self._nodes[tensor]))
        frame.outputs = tuple(outputs)
        frame.stop = len(self.record.nodes)

    def _declare(self, given: Node, output: Tensor) -> None:
        """What a declared module returns lies where its input lay, whatever it did inside."""
        node = self._nodes[output]
        if given.shape == node.shape:
            node.axes, node.lost = given.axes, given.lost


# Of a second tensor they take the shape or the type alone, and of the first one, too, what makes new tensors.
_LIKE = frozenset({"expand_as", "view_as", "reshape_as", "type_as"})
_NEUTRAL = {"add": 0, "sub": 0, "mul": 1, "div": 1}
_LEAVING = frozenset({"numpy", "array", "dlpack", "tolist", "data_ptr", "untyped_storage"})
_NEW = re.compile(r"\w+_like|new_\w+")


def _operands_of(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The arguments whose values a function's result depends on."""
    if _NEW.fullmatch(name):
        return ()
    return args[:1] if name in _LIKE else (args, kwargs)


def _agree(found: Sequence[tuple[Tensor, Node]], output: Tensor) -> bool:
    """Whether operands of the output's shape that lie on the image lie there alike."""
    operands = [node for tensor, node in found if tensor.shape == output.shape]
    layouts = {layout(node.axes) for node in operands if node.axes is not None and is_map(node.axes)}
    return len(layouts) < 2 and not (layouts and any(node.lost for node in operands))


def _of_the_stream(operands: Sequence[Node]) -> Axes | None:
    """Of two addends that lie differently, the axes of the stream: that from which the other was computed."""
    if len(operands) != 2:
        return None
    for stream, branch in (operands, operands[::-1]):
        waiting, seen = [branch], set()
        while waiting:
            current = waiting.pop()
            same = current.alias is stream.alias and stream.axes is not None and current.axes is not None
            if current is stream or (same and layout(current.axes or ()) == layout(stream.axes or ())):
                return stream.axes
            if current not in seen and current.index > stream.alias.index:
                seen.add(current)
                waiting.extend(current.parents)
    return None


def _changes_nothing(name: str, args: Sequence[Any]) -> bool:
    """Whether a number is added or multiplied that leaves all as it is: `sum` of a list begins with 0 + x."""
    number = args[1] if len(args) == 2 else None
    return isinstance(number, (int, float)) and _NEUTRAL.get(name) == number


def _main_operand_first(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
    """The arguments with the one that is worked on in front, however it was given; a place for the result is none."""
    named = {key: value for key, value in kwargs.items() if key != "out"}
    first = next((key for key in ("input", "self", "tensors", "query") if key in named), None)
    return (args, named) if args or first is None else ((named.pop(first),), named)


@contextmanager
def module_calls(enter: Callable[..., None], leave: Callable[..., None]) -> Iterator[None]:
    """A context in which every call of a module is told, and nn.MultiheadAttention takes no fused path.

    Hooks and path are as before on leaving, also after an error.

    Args:
        enter: called with the module and its arguments before each call.
        leave: called with the module, its arguments and its result after each, None where the call raised.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for handle in handles:
            handle.remove()


def record_pass(model: nn.Module, images: Tensor) -> Record:
    """Runs the model once without gradients and returns the record."""
    recorder = Recorder(model, images)
    with torch.no_grad(), recorder:
        model(images)
    return recorder.record
