"""The units of a model that can be taken out of its passes: residual branches, convolutions, whole blocks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionscope.core.subject import Kind, Point
from visionscope.tracing.blocks import block_path
from visionscope.tracing.watch import Trace


@dataclasses.dataclass(frozen=True)
class Addition:
    """A residual sum that gives its skip operand alone.

    Attributes:
        path: of the innermost module whose call runs it.
        call: which call of that module.
        number: which addition within that call.
        skip: which operand is the skip, 0 or 1.
        function: name of the addition's function.
    """

    path: str
    call: int
    number: int
    skip: int
    function: str


@dataclasses.dataclass(frozen=True)
class Edit:
    """What is taken out of a pass.

    Attributes:
        sums: residual sums that give their skip operand.
        modules: paths of convolutions that give their input, brought to the size of their result, in every call.
        calls: the same of single calls: path, and which call of that module.
    """

    sums: tuple[Addition, ...] = ()
    modules: tuple[str, ...] = ()
    calls: tuple[tuple[str, int], ...] = ()

    def __or__(self, other: Edit) -> Edit:
        """Both."""
        return Edit(
            tuple(dict.fromkeys((*self.sums, *other.sums))),
            tuple(dict.fromkeys((*self.modules, *other.modules))),
            tuple(dict.fromkeys((*self.calls, *other.calls))),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unit:
    """Something that can be taken out.

    Attributes:
        name: the branch's point, the convolution's or the block's module path.
        kind: what it does; `block` where its branches differ.
        stage: of its residual sum.
        depth: of its residual sum, 0 to 1; of a block the last one's.
        how: what stands in its place, in words for tables.
        edit: that takes it out.
        calls: of a module that a pass calls several times which call it is: `2 of 3` or `all 3`; else "".
    """

    name: str
    kind: Kind
    stage: int
    depth: float
    how: str
    edit: Edit
    calls: str = ""


def branch_units(found: Trace, *, together: bool = False) -> tuple[Unit, ...]:
    """The residual branches in the order of the pass, each left out by handing on the skip operand of its sum.

    LayerScale, DropPath and whatever else acts on the branch go with it, a projection on the skip stays. Sums without a
    grid (of class tokens alone, or of tokens that were merged) are among them: leaving them out needs none.

    Args:
        found: the model's trace.
        together: whether the sums that a module makes at one place in its several calls are one unit.
    """
    groups: dict[tuple[str, int, int], list[tuple[Point, Addition]]] = {}
    for point, addition in _sums(found):
        call = 0 if together else addition.call
        groups.setdefault((addition.path, addition.number, call), []).append((point, addition))
    return tuple(
        Unit(
            name=sums[0][0].name,
            kind=sums[0][0].kind,
            stage=sums[0][0].stage,
            depth=sums[0][0].depth,
            how="skip operand",
            edit=Edit(sums=tuple(addition for _, addition in sums)),
            calls=_called(call, found.calls.get(path, 1), together=together),
        )
        for (path, _, call), sums in groups.items()
    )


def block_units(found: Trace, *, together: bool = False) -> tuple[Unit, ...]:
    """The blocks in the order of the pass, each left out by handing on the skip operands of all its residual sums.

    A block is the module, numbered within a sequence, that encloses the sums: `blocks.3` for those of both
    `blocks.3` and `blocks.3.mlp`.

    Args:
        found: the model's trace.
        together: whether the several calls of a block are one unit.
    """
    blocks: dict[str, list[tuple[Point, Addition]]] = {}
    for point, addition in _sums(found):
        blocks.setdefault(block_path(addition.path) or addition.path or point.name, []).append((point, addition))
    groups: dict[tuple[str, int, int], list[tuple[Point, Addition]]] = {}
    for name, sums in blocks.items():
        calls = _calls_of(name, [addition for _, addition in sums], found)
        for point, addition in sums:
            # A module that each call of the block calls twice has two of its calls in each.
            call = 0 if together else addition.call * calls // max(found.calls.get(addition.path, 1), 1)
            groups.setdefault((name, call, calls), []).append((point, addition))
    units = []
    for (name, call, calls), sums in groups.items():
        kinds = {point.kind for point, _ in sums}
        last = sums[-1][0]
        # Calls that can't be shared out among those of their block are taken out all at once.
        shared = calls > 1 or found.calls.get(name) == 1
        most = 1 if shared else max(found.calls.get(addition.path, 1) for _, addition in sums)
        units.append(
            Unit(
                name=_numbered(name, call),
                kind=last.kind if len(kinds) == 1 else Kind.BLOCK,
                stage=last.stage,
                depth=last.depth,
                how="skip operand" if len(sums) == 1 else f"skip operands of {len(sums)} sums",
                edit=Edit(sums=tuple(addition for _, addition in sums)),
                calls=_called(call, calls, together=together) or _called(0, most, together=True),
            )
        )
    return tuple(units)


def convolution_units(model: nn.Module, found: Trace, *, together: bool = False) -> tuple[Unit, ...]:
    """The k x k convolutions, k > 1, inside blocks, each replaced by its input.

    A block is what `block_units` calls so. A model without residual sums has points where its blocks end: there every
    convolution up to the last point counts. A strided convolution is replaced by every stride-th row and column, one
    without padding by the middle of its input; new channels are zeros, split evenly around the old ones as in option A
    of He et al. 2016, and channels too many are cut off from both ends alike.

    Args:
        model: the network.
        found: its trace.
        together: whether the several calls of a convolution are one unit.
    """
    sums = [(point, addition.path) for point, addition in _sums(found)]
    order = [path for path, _ in model.named_modules()]
    ends = [(point, found.sites[point.name].path) for point in found.points]
    units = []
    for path, module in model.named_modules():
        if not isinstance(module, nn.Conv2d) or max(module.kernel_size) == 1:
            continue
        points = _around(path, sums) if sums else _ahead(order.index(path), ends, order)
        calls = found.calls.get(path, 0)  # one that no call reaches is no unit
        for call in range(min(1, calls) if together else calls) if points else ():
            point = points[call * len(points) // calls]
            units.append(
                Unit(
                    name=_numbered(path, call),
                    kind=Kind.CONV,
                    stage=point.stage,
                    depth=point.depth,
                    how=_replacement(module),
                    edit=Edit(modules=(path,)) if together or calls == 1 else Edit(calls=((path, call),)),
                    calls=_called(call, calls, together=together),
                )
            )
    return tuple(units)


def _numbered(name: str, call: int) -> str:
    return f"{name}#{call + 1}" if call else name


def _called(call: int, calls: int, *, together: bool) -> str:
    if calls <= 1:
        return ""
    return f"all {calls}" if together else f"{call + 1} of {calls}"


def _calls_of(name: str, additions: Sequence[Addition], found: Trace) -> int:
    """How often a pass goes through a block: the block's own calls, or what the modules of its sums have in common."""
    own = found.calls.get(name, 0)
    return math.gcd(own, *(found.calls.get(addition.path, 1) for addition in additions))


def _sums(found: Trace) -> list[tuple[Point, Addition]]:
    sums = []
    for one in found.residuals:
        site = one.site
        sums.append((one.branch, Addition(site.path, site.call, site.number, 1 - site.place[0], site.function)))
    return sums


def _around(path: str, sums: Sequence[tuple[Point, str]]) -> list[Point]:
    """Of the sums in the same block as a module, those in the innermost module around it, else the block's."""
    closest = 0
    best: list[Point] = []
    for point, own in sums:
        if not own or not _encloses(block_path(own) or own, path):
            continue
        common = len(own) if _encloses(own, path) else 0
        if common > closest:
            closest, best = common, []
        if common == closest:
            best.append(point)
    return best


def _ahead(place: int, ends: Sequence[tuple[Point, str]], order: Sequence[str]) -> list[Point]:
    """The points of the first module that is around a module or comes after it."""
    for _, end in ends:
        if end in order and (_encloses(end, order[place]) or order.index(end) >= place):
            return [point for point, other in ends if other == end]
    return []


def _encloses(outer: str, path: str) -> bool:
    return path == outer or path.startswith(f"{outer}.")


def _replacement(module: nn.Conv2d) -> str:
    steps = tuple(module.stride)
    how = "identity" if max(steps) == 1 else f"subsampled {steps[0]}x{steps[1]}"
    given, made = module.in_channels, module.out_channels
    if given == made:
        return how
    return f"{how}, {given} channels {'zero-padded' if made > given else 'cut'} to {made}"


def pixels_of(x: Tensor, shape: Sequence[int], stride: Sequence[int]) -> Tensor:
    """A map in the size of another: every stride-th row and column around the middle, channels filled up or cut.

    Args:
        x: (batch, channel, height, width).
        shape: (channel, height, width) of the result.
        stride: steps along height and width.
    """
    for axis, wanted, step in ((2, shape[1], stride[0]), (3, shape[2], stride[1])):
        there = x.shape[axis]
        first = (there - (wanted - 1) * step - 1) // 2
        places = (torch.arange(wanted, device=x.device) * step + first).clamp(0, there - 1)
        x = x.index_select(axis, places)
    missing = shape[0] - x.shape[1]
    before = int(missing / 2)
    return F.pad(x, (0, 0, 0, 0, before, missing - before))
