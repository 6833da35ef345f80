"""Networks that hide their operations, so that predictions alone can be asked: quantised, exported, scripted, ..."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.quantization import FakeQuantizeBase, ObserverBase
from torch.fx import GraphModule
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from visionscope.core.inputs import image_like
from visionscope.core.modes import evaluation_mode
from visionscope.errors import TraceError

_SMALL = (torch.int8, torch.uint8, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)
_QUANTISERS = ("bitsandbytes", "torchao", "optimum.quanto", "hqq", "auto_gptq", "gptqmodel", "awq")
_QUANTISED_OPERATIONS = ("quantized", "quantized_decomposed", "torchao", "bitsandbytes", "quanto")
_PACKED = ("weight", "w_q", "wq")  # in names of integers that a quantiser packs several weights into
_FIXED_BATCH = "; it may take batches of one size alone: make it with a dynamic batch axis"
_IN_SCRIPT = "The following operation failed in the TorchScript interpreter"


@dataclasses.dataclass(frozen=True)
class Hidden:
    """Why a network can't be looked into.

    Attributes:
        what: what it is, with the module that shows it.
        instead: what to pass for more than predictions.
        gradients: whether the gradient to its images is the network's own.
        fixed: whether it stays on the device and in the type that it was made for.
    """

    what: str
    instead: str
    gradients: bool = True
    fixed: bool = False

    @property
    def reason(self) -> str:
        """One line for a message."""
        hides = "hides its operations" if self.gradients else "hides its operations and has no gradients"
        return f"a model that is {self.what} {hides}; {self.instead}"


def hidden(model: nn.Module) -> Hidden | None:
    """What hides the operations of a network, or None where they are seen as it runs.

    Seen are plain modules, `torch.fx` graphs of modules and functions, and weights that the network itself keeps in
    8 bits and converts where it uses them.

    Args:
        model: any network.
    """
    named = list(model.named_modules())
    # What has no gradients says the most; so it is looked for first.
    for find in (_quantised, _exported, _wrapped):
        for path, module in named:
            found = find(f"module {path!r}" if path else "the model itself", module)
            if found is not None:
                return found
    return None


def check_ready(model: nn.Module) -> None:
    """Refuses a network of which not even predictions can be right.

    Args:
        model: any network.

    Raises:
        TraceError: for weights on the meta device or without a shape, observers that record every pass, and graphs that
            were made in training mode.
    """
    name = type(model).__name__
    for path, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise TraceError(f"{name}: {path!r} has no shape yet; show the network some images once, model(images)")
        if tensor.is_meta:
            raise TraceError(
                f"{name}: weights are on the meta device, such as {path!r}; load them first "
                "(model.to_empty(device='cpu'), then load_state_dict)"
            )
    for path, module in model.named_modules():
        for observer, remedy in _observers(module):
            where = f"{path}.{observer}" if path else observer
            raise TraceError(f"{name}: the observer {where!r} records every pass for quantisation; {remedy}")
        for operation in _trains(module):
            raise TraceError(
                f"{name}: its graph was made in training mode ({operation} is on); call eval() on the network and "
                "export, trace or script it again"
            )


def check_runs(model: nn.Module, images: Tensor) -> None:
    """Passes two images and one.

    Args:
        model: any network.
        images: two.

    Raises:
        TraceError: when it fails.
    """
    with evaluation_mode(model), torch.no_grad(), torch.random.fork_rng():
        taken = images.to(image_like(model, images.shape[1:]))
        for some in (taken, taken[:1]):
            try:
                model(some)
            except Exception as error:
                size = "x".join(str(length) for length in images.shape[1:])
                lines = str(error).strip().splitlines() or [type(error).__name__]
                reason = lines[-1 if lines[0].startswith(_IN_SCRIPT) else 0]
                graphs = (
                    _is_exported(module) or isinstance(module, torch.jit.ScriptModule) for module in model.modules()
                )
                hint = _FIXED_BATCH if any(graphs) else ""
                raise TraceError(f"{type(model).__name__} does not run on images of {size}: {reason}{hint}") from error


def rounded_weights(model: nn.Module) -> str:
    """The name of the first quantised weights, or "": numbers in few bits have no neighbours and no derivatives.

    That is a matrix of 8-bit numbers, or of integers whose name says weight, kept as parameter, buffer or attribute.

    Args:
        model: any network.
    """
    for path, module in model.named_modules():
        for name, tensor in _tensors(module):
            packed = not tensor.is_floating_point() and not tensor.is_complex() and tensor.dtype != torch.bool
            named = packed and any(part in name.lower() for part in _PACKED)
            small = tensor.dtype in _SMALL and tensor.dtype != torch.uint8
            if tensor.ndim > 1 and (small or named or _holds_few_bits(tensor)):
                return f"{path}.{name}" if path else name
    return ""


def straight_through(model: nn.Module) -> str:
    """The path of the first module that rounds as quantised weights are and hands gradients straight through, or "".

    Args:
        model: any network.
    """
    for path, module in model.named_modules():
        if isinstance(module, FakeQuantizeBase) and bool(torch.as_tensor(module.fake_quant_enabled).any()):
            return str(path)
    return ""


def _quantised(where: str, module: nn.Module) -> Hidden | None:
    kind = type(module)
    torch_own = kind.__module__.startswith("torch.") and ".quantized" in kind.__module__
    shown = torch_own or kind.__module__.startswith(_QUANTISERS)
    shown = shown or any(tensor.is_quantized or _holds_few_bits(tensor) for _, tensor in _tensors(module))
    shown = shown or any(isinstance(value, torch.ScriptObject) for value in _attributes(module).values())
    shown = shown or any(name.partition(".")[0] in _QUANTISED_OPERATIONS for name in _operations(module))
    if not shown:
        return None
    return Hidden(
        f"quantised ({where}, {kind.__name__})",
        "pass the model from before quantisation",
        gradients=False,
        fixed=True,
    )


def _exported(where: str, module: nn.Module) -> Hidden | None:
    if not _is_exported(module):
        return None
    what = "exported" if where == "the model itself" else f"exported ({where})"
    return Hidden(what, "pass the nn.Module that was exported", fixed=True)


def _wrapped(where: str, module: nn.Module) -> Hidden | None:
    compiled = getattr(module, "_compiled_call_impl", None) is not None or type(module).__name__ == "OptimizedModule"
    if compiled:
        return Hidden("compiled", "pass the model from before torch.compile")
    if isinstance(module, torch.jit.ScriptModule):
        quantised = any("quantized::" in str(graph) for graph in _graph(module))
        return Hidden("scripted", "pass the nn.Module that was scripted", gradients=not quantised)
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return Hidden(f"wrapped in {type(module).__name__}", "pass its `.module`")
    return None


def _is_exported(module: nn.Module) -> bool:
    """Whether it runs a graph of torch's own operators; one of modules and functions, by `torch.fx`, is none."""
    if type(module).__module__.startswith("torch.export"):
        return True
    if not isinstance(module, GraphModule):
        return False
    called = [node for node in module.graph.nodes if node.op == "call_function"]
    operators = [node for node in called if isinstance(node.target, torch._ops.OpOverload)]
    return bool(operators) and all(node in operators or _is_plain(node.target) for node in called)


def _is_plain(target: Any) -> bool:
    return getattr(target, "__module__", "") in ("_operator", "builtins", "torch.sym", "torch")


def _operations(module: nn.Module) -> Iterator[str]:
    """The operators of a graph, as `namespace.name`."""
    if isinstance(module, GraphModule):
        for node in module.graph.nodes:
            if node.op == "call_function":
                yield str(node.target)


def _attributes(module: nn.Module) -> Mapping[str, Any]:
    return {} if isinstance(module, torch.jit.ScriptModule) else vars(module)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """A module's own tensors: parameters, buffers and attributes."""
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)
    for name, value in _attributes(module).items():
        if isinstance(value, Tensor):
            yield name, value


def _holds_few_bits(tensor: Tensor) -> bool:
    """Whether a subclass of Tensor that says it is a float keeps its numbers in 8 bits."""
    if not is_traceable_wrapper_subclass(tensor):
        return False
    names, _ = tensor.__tensor_flatten__()
    inner = [getattr(tensor, name) for name in names]
    return any(one.dtype in _SMALL or _holds_few_bits(one) for one in inner if isinstance(one, Tensor))


def _observers(module: nn.Module) -> Iterator[tuple[str, str]]:
    """The observers that a module runs, with what to do about them; those inside a FakeQuantize run as that says."""
    for name, child in module.named_children():
        if isinstance(child, FakeQuantizeBase) and bool(torch.as_tensor(child.observer_enabled).any()):
            yield name, "turn observers off: model.apply(torch.ao.quantization.disable_observer)"
        if isinstance(child, ObserverBase) and not isinstance(module, FakeQuantizeBase):
            yield name, "convert the model first"


def _trains(module: nn.Module) -> Iterator[str]:
    """The operations of a graph that have training mode written into them."""
    if isinstance(module, GraphModule) and _is_exported(module):
        for node in module.graph.nodes:
            if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
                names = [argument.name for argument in node.target._schema.arguments]
                given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
                if given.get("train") is True or given.get("training") is True:
                    yield node.target._schema.name.removeprefix("aten::")
    elif isinstance(module, torch.jit.ScriptModule):
        yield from _trains_in_script(module)


def _trains_in_script(module: torch.jit.ScriptModule) -> Iterator[str]:
    for graph in _graph(module):
        for name, place in (("dropout", 2), ("dropout_", 2), ("feature_dropout", 2), ("batch_norm", 5)):
            for node in graph.findAllNodes(f"aten::{name}"):
                value = list(node.inputs())[place].node()
                # A mode that is asked for as it runs is no constant.
                if value.kind() == "prim::Constant" and value.output().toIValue() is True:
                    yield name


def _graph(module: torch.jit.ScriptModule) -> list[Any]:
    """The graph of its forward, calls of other modules written out; none where it has no forward."""
    try:
        return [module.inlined_graph]
    except (RuntimeError, AttributeError):
        return []
