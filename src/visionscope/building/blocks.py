"""The stages of a convolutional network and their blocks, found by running it once on empty images."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from visionscope.core.inputs import image_like
from visionscope.core.subject import Kind
from visionscope.errors import ConfigError, TraceError
from visionscope.models.surgery import ACTIVATION_ARGUMENTS, ACTIVATIONS
from visionscope.tracing.axes import arrangement, is_map
from visionscope.tracing.record import Frame, Node, Record, record_pass
from visionscope.tracing.sums import Sum, find_sums
from visionscope.tracing.watch import TRACE_BATCH, refuse_wrapped, shadow

__all__ = ["Block", "find_stages", "run_empty"]

# One group suits any number of channels; timm's 32 don't.
_NORMS = {"layer_norm": "layernorm2d", "group_norm": "groupnorm1", "rms_norm": "rmsnorm2d"}
_PLAIN = "b c h w"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """A module that hands the stream of feature maps on.

    Attributes:
        path: its module path.
        kind: what the branches of its residual sums do; conv where it has none.
        in_chs: channels that it is given.
        out_chs: channels that it hands on.
        stride: grid that it is given / grid that it hands on.
        grid: that it hands on, height and width in positions.
        mid_chs: channels of its last spatial convolution, at most `out_chs`; None without one.
        norm: its first normalisation, as timm calls it (of group normalisations the one with one group); batchnorm2d
            where it has none.
        norm_values: its eps and, of batch normalisation, momentum.
        activation: that it ends with, as timm calls it, or None.
        activation_values: of its arguments, where a module does it; a function's are not known.
        obstacle: why it can't be replaced, or "".
    """

    path: str
    kind: Kind
    in_chs: int
    out_chs: int
    stride: int
    grid: tuple[int, int]
    mid_chs: int | None
    norm: str
    norm_values: Mapping[str, float | None]
    activation: str | None
    activation_values: Mapping[str, float]
    obstacle: str


def run_empty(model: nn.Module, size: tuple[int, int]) -> Record:
    """A pass over empty images, written down, in eval mode; the model is left as it was found.

    On the meta device, which computes shapes alone, or else where the model is.

    Args:
        model: the network.
        size: height and width in pixels.

    Raises:
        TraceError: when the network does not run on images of this size, or hides its operations.
    """
    refuse_wrapped(model)
    convolution = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    shape = (convolution.in_channels if convolution else 3, *size)
    images = torch.zeros(TRACE_BATCH, *shape).to(image_like(model, shape))
    with torch.random.fork_rng():
        try:
            return record_pass(shadow(model, "meta").eval(), images.to("meta"))
        except Exception:  # as in tracing: some code runs on real tensors only
            try:
                return record_pass(shadow(model).eval(), images)
            except Exception as error:
                reason = str(error).strip().partition("\n")[0] or type(error).__name__
                raise TraceError(f"{type(model).__name__} does not run on images of {_by(size)}: {reason}") from error


def find_stages(model: nn.Module, size: tuple[int, int]) -> tuple[tuple[Block, ...], ...]:
    """The blocks of each stage, in the order in which they run; a stage ends where the grid shrinks.

    A block is the innermost module with one map in that runs a residual sum, or a module of the same class without one,
    such as the strided blocks of an EfficientNet, as long as it lies on a grid on which others have one.

    Args:
        model: the network.
        size: height and width of its images in pixels.

    Raises:
        ConfigError: when there are no residual sums, or the grid grows again.
        TraceError: when the network can't be traced.
    """
    name = type(model).__name__
    record = run_empty(model, size)
    sums = find_sums(record)
    found = _residual_frames(sums)
    if not found:
        raise ConfigError(
            f"{name} can't be harmonized: no module of it runs a residual sum, and an attention block needs one to "
            "take its place in; networks with blocks of the form x + f(x) have them, such as resnet50"
        )
    kinds = {type(model.get_submodule(frame.path)) for frame in found}
    calls = Counter(frame.path for frame in record.frames)
    blocks: list[Block] = []
    for frame in record.frames:
        around = any(other in found for other in itertools.islice(frame.chain(), 1, None))
        if around or frame.call or "<" in frame.path or not frame.path:
            continue
        if frame in found or type(model.get_submodule(frame.path)) in kinds:
            inside = [one for one in sums if frame.start <= one.node.index < frame.stop]
            blocks.append(_block(model, frame, record, inside, calls[frame.path]))
    residual = {frame.path for frame in found}
    grids = {block.grid for block in blocks if block.path in residual}
    blocks = [block for block in blocks if block.grid in grids]
    for before, after in itertools.pairwise(blocks):
        if after.grid[0] > before.grid[0] or after.grid[1] > before.grid[1]:
            raise ConfigError(
                f"{name} can't be harmonized: the grid grows from {_by(before.grid)} at {before.path} to "
                f"{_by(after.grid)} at {after.path}; stages need one way from fine to coarse maps, as in resnet50"
            )
    return tuple(tuple(stage) for _, stage in itertools.groupby(blocks, key=lambda block: block.grid))


def _residual_frames(sums: Sequence[Sum]) -> set[Frame]:
    """The innermost call with one map in around each sum, unless it holds several others; the model's own isn't one."""
    frames = set()
    for found in sums:
        chain = found.node.frame.chain() if found.node.frame else ()
        frame = next((one for one in chain if len([node for node in one.inputs if is_map(node.axes)]) == 1), None)
        if frame is not None and frame.parent is not None and "<" not in frame.path:
            frames.add(frame)
    inner: Counter[Frame] = Counter()
    for frame in frames:
        inner.update(other for other in itertools.islice(frame.chain(), 1, None) if other in frames)
    outer = {frame for frame in frames if inner[frame] < 2}
    return {frame for frame in outer if not any(other in outer for other in itertools.islice(frame.chain(), 1, None))}


def _block(model: nn.Module, frame: Frame, record: Record, sums: Sequence[Sum], calls: int) -> Block:
    nodes = record.nodes[frame.start : frame.stop]
    given = next((node for node in frame.inputs if is_map(node.axes)), None)
    result = next((node for _, node in frame.outputs if is_map(node.axes)), None)
    if given is None or result is None:
        return _unknown(frame, f"its shapes are unknown: {'output' if given else 'input'} without a grid")
    before, after = arrangement(given.axes), arrangement(result.axes)
    stride = max(1, round(before.grid[0] / max(1, after.grid[0])))
    spatial = [
        one
        for one in model.get_submodule(frame.path).modules()
        if isinstance(one, nn.Conv2d) and max(one.kernel_size) > 1
    ]
    norm, norm_values = _norm(nodes, model)
    activation, activation_values = _last_activation(result, model)
    kind = next((found.kind for found in sums if found.kind is not Kind.CONV), Kind.CONV)
    obstacle = ""
    if calls > 1:
        obstacle = f"it is called {calls} times in a pass"
    elif len(frame.inputs) != 1 or [place for place, _ in frame.outputs] != [()]:
        obstacle = f"it takes {len(frame.inputs)} tensors and returns {len(frame.outputs)}, not one map for another"
    elif kind is not Kind.CONV:
        obstacle = f"its branch is {kind.value}, not conv"
    elif before.pattern != _PLAIN or after.pattern != _PLAIN:
        obstacle = f"its maps are laid out as {after.pattern}, not as {_PLAIN}"
    elif tuple(-(-edge // stride) for edge in before.grid) != after.grid:
        obstacle = f"its grid goes from {_by(before.grid)} to {_by(after.grid)}, which no stride does"
    elif activation is not None and activation not in ACTIVATIONS:
        obstacle = f"it ends with {activation}, for which there is no layer"
    return Block(
        path=frame.path,
        kind=kind,
        in_chs=before.channels,
        out_chs=after.channels,
        stride=stride,
        grid=after.grid,
        mid_chs=min(spatial[-1].out_channels, after.channels) if spatial else None,
        norm=norm,
        norm_values=norm_values,
        activation=activation,
        activation_values=activation_values,
        obstacle=obstacle,
    )


def _norm(nodes: Sequence[Node], model: nn.Module) -> tuple[str, dict[str, float | None]]:
    first = next((node for node in nodes if node.operation == "norm"), None)
    if first is None:
        return "batchnorm2d", {}
    module: Any = _module_of(first, model)
    values = {"eps": module.eps} if isinstance(getattr(module, "eps", None), float) else {}
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        values["momentum"] = module.momentum
    return _NORMS.get(first.name, "batchnorm2d"), values


def _module_of(node: Node, model: nn.Module) -> nn.Module | None:
    """The module that runs an operation; None where it has no path."""
    try:
        return model.get_submodule(node.frame.path) if node.frame else None
    except AttributeError:
        return None


def _unknown(frame: Frame, obstacle: str) -> Block:
    nothing: dict[str, Any] = {
        "mid_chs": None,
        "norm": "",
        "norm_values": {},
        "activation": None,
        "activation_values": {},
    }
    return Block(
        path=frame.path, kind=Kind.BLOCK, in_chs=0, out_chs=0, stride=1, grid=(0, 0), obstacle=obstacle, **nothing
    )


def _last_activation(result: Node, model: nn.Module) -> tuple[str | None, dict[str, float]]:
    node = result.alias
    if node.operation != "activation":
        return None, {}
    name, module = node.name.rstrip("_"), _module_of(node, model)
    if isinstance(module, nn.ReLU6):  # runs hardtanh
        return "relu6", {}
    if getattr(module, "approximate", "") == "tanh" or type(module).__name__ == "GELUTanh":  # torch's, timm's
        return "gelu_tanh", {}
    argument = ACTIVATION_ARGUMENTS.get(name, "")
    known = isinstance(module, (nn.LeakyReLU, nn.ELU, nn.CELU))
    return name, {argument: float(getattr(module, argument))} if known else {}


def _by(grid: tuple[int, int]) -> str:
    return f"{grid[0]}x{grid[1]}"
