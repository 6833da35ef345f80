"""One pass over a model, written down: every operation on something computed from the images, every module call."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from visionscope.tracing.axes import Axes, image_axes
from visionscope.tracing.operations import ADDITIONS, category, is_alias, moved_axes, split_axes


@dataclasses.dataclass(eq=False)
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

    def __post_init__(self) -> None:
        """A node without an alias is its own."""
        if self.alias is None:
            self.alias = self


@dataclasses.dataclass(eq=False)
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


@dataclasses.dataclass
class Record:
    """A pass: its nodes in order, its module calls in order of entry."""

    nodes: list[Node]
    frames: list[Frame]


def function_name(func: Any) -> str:
    """The bare name of a torch function: `add` for `torch.add` and `Tensor.__add__`, `mT` for the property."""
    name = str(getattr(func, "__name__", func))
    if name == "__get__":
        name = str(getattr(func.__self__, "__name__", ""))
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
        self._batch = images.shape[0]
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
        self.record.nodes.append(node)
        return node

    def _keep(self, tensor: Tensor, node: Node) -> None:
        self._nodes[tensor] = node

    def _find(self, value: Any) -> list[tuple[Tensor, Node]]:
        return [(tensor, self._nodes[tensor]) for _, tensor in tensors_in(value) if tensor in self._nodes]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs one function and notes what it made of which nodes."""
        kwargs = kwargs or {}
        found = self._find((args, kwargs))
        ordinal = -1
        name = function_name(func)
        if self._stack and is_addition(name, args):
            ordinal = self._stack[-1].additions
            self._stack[-1].additions += 1
        result = func(*args, **kwargs)
        if found:
            self._note(name, func, args, kwargs, found, ordinal, result)
        return result

    def _note(
        self, name: str, func: Any, args: Any, kwargs: Any, found: list[tuple[Tensor, Node]], ordinal: int, result: Any
    ) -> None:
        outputs = [tensor for _, tensor in tensors_in(result)]
        if not outputs:
            return
        parents = tuple(node for _, node in found)
        sources = [(tensor, node.axes) for tensor, node in found]
        operation = category(name, args, kwargs, len(found), parents[0].axes, tuple(outputs[0].shape))
        same = is_alias(name)
        pieces = split_axes(parents[0].axes, outputs) if name in {"split", "chunk", "tensor_split"} else None
        for index, output in enumerate(outputs):
            if any(output is tensor for tensor, _ in found) and not name.endswith("_") and same:
                continue
            axes = pieces[index] if pieces else moved_axes(name, func, args, kwargs, sources, output, self._batch)
            if axes is not None and [axis.size for axis in axes] != list(output.shape):
                axes = None
            node = self._make(name, operation, parents, output, axes)
            node.ordinal = ordinal
            if same:
                node.alias = parents[0].alias
            self._keep(output, node)

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
                axes = first.axes if first.shape == tuple(tensor.shape) else None
                self._keep(tensor, self._make("opaque", "opaque", frame.inputs, tensor, axes))
            if tensor in self._nodes:
                outputs.append((place, self._nodes[tensor]))
        frame.outputs = tuple(outputs)
        frame.stop = len(self.record.nodes)


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


def is_addition(name: str, args: Any) -> bool:
    """Whether a call adds two tensors of equal rank; the same in a trace and in a watched pass, at any batch size."""
    return (
        name in ADDITIONS
        and len(args) > 1
        and isinstance(args[0], Tensor)
        and isinstance(args[1], Tensor)
        and args[0].dim() == args[1].dim() > 1
    )


def record_pass(model: nn.Module, images: Tensor) -> Record:
    """Runs the model once without gradients and returns the record."""
    recorder = Recorder(model, images)
    with torch.no_grad(), recorder:
        model(images)
    return recorder.record
