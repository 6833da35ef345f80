"""Which parameters belong to the whole model, to each stage, each block and each kind of branch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from visionscope.core.subject import Kind, Point, Scope
from visionscope.tracing.blocks import block_path
from visionscope.tracing.record import tensors_in
from visionscope.tracing.watch import Trace, shadow, watch

HEAD = "head"


def find_scopes(model: nn.Module, traced: Trace, images: Tensor) -> tuple[Scope, ...]:
    """The parameters of the model, its stages, blocks and kinds, told by one dry pass.

    A parameter belongs to the first point that the pass reaches after the parameter's first use: the norm, qkv,
    projection and LayerScale in front of a residual sum to that sum. What is used before the first residual block is
    the stem (stage 0), what is used after the last point is the head. Scopes of one level never overlap; a parameter
    that no operation used is in the scope `model` alone. A plain module between blocks (kind `block`) has no scope of
    its kind.

    Args:
        model: any network; it is left as it was found.
        traced: its trace.
        images: two, of the size that it was traced with; their values don't matter.

    Returns:
        Level by level (`model`, `stage`, `block`, `kind`), each in the order of the pass; the model alone where it has
        no points.
    """
    # Types without a gradient, such as quantized weights, have no curvature.
    names = [name for name, value in model.named_parameters() if value.is_floating_point()]
    scopes = [Scope(level="model", name="model", parameters=tuple(names))]
    if not traced.points:
        return tuple(scopes)
    owners = _owners(model, traced, images)
    for level, name_of in (("stage", _stage), ("block", _block), ("kind", _kind)):
        # A plain module between blocks is no kind of block.
        named = [point for point in (*traced.points, None) if level != "kind" or point is None or _has_kind(point)]
        groups: dict[str, list[str]] = {name_of(point): [] for point in named}
        for name in names:
            if name in owners and owners[name] in named:
                groups[name_of(owners[name])].append(name)
        scopes += [Scope(level=level, name=name, parameters=tuple(own)) for name, own in groups.items() if own]
    return tuple(scopes)


def _stage(point: Point | None) -> str:
    return HEAD if point is None else f"stage {point.stage}"


def _kind(point: Point | None) -> str:
    return HEAD if point is None else str(point.kind)


def _has_kind(point: Point) -> bool:
    return point.kind is not Kind.BLOCK


def _block(point: Point | None) -> str:
    """A point's module path up to its last number: `layer.3` for both `layer.3+msa` and `layer.3.out+mlp`."""
    if point is None:
        return HEAD
    path = point.name.partition("+")[0].partition("#")[0]  # `blocks.0#2` is another call of `blocks.0`
    return (block_path(path) if point.kind is not Kind.DOWN else "") or path or point.name


class _FirstUse(TorchFunctionMode):
    """Notes which point was still ahead when an operation first took each parameter."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.reached = 0
        self.seen: dict[str, int] = {}
        self._names = names

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # A question such as `weight.dtype` is no use.
        if next(tensors_in(result), None) is not None:
            for _, tensor in tensors_in((args, kwargs or {})):
                if id(tensor) in self._names:
                    self.seen.setdefault(self._names[id(tensor)], self.reached)
        return result


def _owners(model: nn.Module, traced: Trace, images: Tensor) -> dict[str, Point | None]:
    """The point that each used parameter belongs to; None for the head."""
    meta = traced.device == "meta"
    dry = shadow(model, "meta" if meta else None).eval()
    uses = _FirstUse({id(value): name for name, value in dry.named_parameters()})

    def passed(point: Point, maps: Tensor) -> None:
        uses.reached += 1

    with torch.no_grad(), torch.random.fork_rng(), watch(dry, traced, passed), uses:
        dry(images.to("meta") if meta else images)
    order: Sequence[Point | None] = (*traced.points, None)
    owners = {name: order[reached] for name, reached in uses.seen.items()}
    return owners | _late_stem(traced, owners)


def _late_stem(traced: Trace, owners: dict[str, Point | None]) -> dict[str, Point | None]:
    """Corrections where the stem is no module's output but an operand of the first sum, so that it is seen too late.

    Then what is used up to there is told apart by whether it belongs to the module in which the sum stands.
    """
    first = traced.points[0]
    site = traced.sites[first.name]
    if first.kind is not Kind.STEM or site.role != "skip" or not site.path or len(traced.points) < 2:
        return {}
    inside = [name for name, owner in owners.items() if owner is first and name.startswith(f"{site.path}.")]
    return dict.fromkeys(inside, traced.points[1])
