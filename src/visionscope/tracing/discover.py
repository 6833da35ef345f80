"""From a record to points: names, stages, depth, and where in a pass each point is found again."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from visionscope.core.types import Kind, Point
from visionscope.tracing.axes import Arrangement, Axes, arrangement, is_map
from visionscope.tracing.blocks import block_frames
from visionscope.tracing.record import Frame, Node, Record
from visionscope.tracing.sums import Sum, find_sums, grid_area, stream_back


@dataclasses.dataclass(frozen=True)
class Site:
    """Where in a pass a point's tensor is found.

    Attributes:
        role: `sum` (result of an addition), `branch` (its added operand), `skip` (its other operand), or `output` (of
            a call).
        path: the module path: of the call whose output it is, or of the innermost call that runs the addition.
        call: which call of that module within the pass.
        number: of the addition within the call; -1 for an output.
        place: of the tensor in a call's nested result; of the operand in an addition.
        function: name of the addition's function; "" for an output.
        shape: as traced, with the traced batch size.
        arrangement: how it becomes (batch, channel, height, width).
    """

    role: str
    path: str
    call: int
    number: int
    place: tuple[Any, ...]
    function: str
    shape: tuple[int, ...]
    arrangement: Arrangement


@dataclasses.dataclass(frozen=True)
class Unwatched:
    """A residual sum that was seen but can't be watched.

    Attributes:
        name: as it would be called.
        reason: what its tensor lacks.
    """

    name: str
    reason: str


@dataclasses.dataclass
class Found:
    """What discovery makes of one record: the default points with their sites, further ones, what can't be watched."""

    points: list[tuple[Point, Site]]
    further: list[tuple[Point, Site]]
    unwatched: list[Unwatched]
    sums: int


@dataclasses.dataclass
class _Draft:
    name: str
    kind: Kind
    site: Site
    operations: tuple[str, ...]
    order: int


def discover(record: Record) -> Found:
    """Finds the points of a recorded pass.

    Args:
        record: of `record_pass`.
    """
    sums = find_sums(record)
    drafts: list[_Draft] = []
    further: list[_Draft] = []
    unwatched: list[Unwatched] = []
    names: dict[str, int] = {}
    for found in sums:
        name = _unique(f"{_path(found.node.frame)}+{found.kind}", names)
        axes = found.node.axes if is_map(found.node.axes) else _first_map(found)
        if axes is None or [axis.size for axis in axes] != list(found.node.shape):
            unwatched.append(Unwatched(name, _reason(found.node)))
            continue
        own, others = _sum_drafts(found, name, axes)
        drafts.append(own)
        further += others
    blocks = block_frames(record)
    if len(drafts) > 1 or (drafts and len(drafts) >= len(blocks)):
        drafts += _down_drafts(record, sums, drafts)
        drafts.sort(key=lambda draft: draft.order)
        stem = _stem_draft(record, sums[0])
        drafts = [stem, *drafts] if stem else drafts
    else:
        # Without residual sums, or with a single one (networks that concatenate): it would show nothing of the model.
        drafts = [
            _Draft(frame.path, kind, _output_site(frame, place, node), operations, node.index)
            for frame, place, node, kind, operations in blocks
        ]
    points = _staged(drafts)
    return Found(points, _between(points, further), unwatched, len(sums))


def _path(frame: Frame | None) -> str:
    return frame.path if frame else ""


def _call(node: Node) -> int:
    return node.frame.call if node.frame else 0


def _unique(name: str, names: dict[str, int]) -> str:
    names[name] = names.get(name, 0) + 1
    return name if names[name] == 1 else f"{name}#{names[name]}"


def _first_map(found: Sum) -> Axes | None:
    return next((node.axes for node in (found.skip, found.branch) if is_map(node.axes)), None)


def _reason(node: Node) -> str:
    shape = "x".join(str(size) for size in node.shape)
    if node.axes is None or any("?" in axis.roles for axis in node.axes):
        return f"its tensor {shape} could not be followed back to a grid"
    return f"its tensor {shape} has no grid: class tokens or pooled features alone"


def _sum_drafts(found: Sum, name: str, axes: Axes) -> tuple[_Draft, list[_Draft]]:
    node = found.node
    path = _path(node.frame)
    places = {
        "sum": (),
        "branch": (0 if found.branch is node.parents[0] else 1,),
        "skip": (0 if found.skip is node.parents[0] else 1,),
    }
    sites = {
        role: Site(role, path, _call(node), node.ordinal, place, node.name, node.shape, arrangement(axes))
        for role, place in places.items()
    }
    stream = _Draft(name, found.kind, sites["sum"], found.operations, node.index)
    branch = _Draft(name.replace("+", ".", 1), found.kind, sites["branch"], found.operations, node.index)
    activated = _activated_output(found)
    if activated is None:
        return stream, [branch]
    frame, place, output = activated
    own = _Draft(frame.path, found.kind, _output_site(frame, place, output), found.operations, node.index)
    return own, [stream, branch]


def _activated_output(found: Sum) -> tuple[Frame, tuple[Any, ...], Node] | None:
    """The result of the call that ran the addition, where activations alone follow the sum."""
    frame = found.node.frame
    if frame is None:
        return None
    for place, output in frame.outputs:
        steps: list[str] = []
        for current in stream_back(output, {}):
            if current.alias is found.node:
                if "activation" in steps and set(steps) <= {"activation", ""} and is_map(output.axes):
                    return frame, place, output
                break
            steps.append(current.operation)
    return None


def _output_site(frame: Frame, place: tuple[Any, ...], node: Node) -> Site:
    return Site("output", frame.path, frame.call, -1, place, "", node.shape, arrangement(node.axes))


def _stem_draft(record: Record, first: Sum) -> _Draft | None:
    for frame in record.frames:
        for place, output in frame.outputs:
            if output.alias is first.root.alias and is_map(output.axes):
                return _Draft("stem", Kind.STEM, _output_site(frame, place, output), (), -1)
    node = first.node
    if first.skip.alias is first.root and is_map(first.skip.axes):
        path = _path(node.frame)
        place_of_skip = (0 if first.skip is node.parents[0] else 1,)
        site = Site(
            "skip", path, _call(node), node.ordinal, place_of_skip, node.name, node.shape, arrangement(first.skip.axes)
        )
        return _Draft("stem", Kind.STEM, site, (), -1)
    return None


def _down_drafts(record: Record, sums: Sequence[Sum], drafts: Iterable[_Draft]) -> list[_Draft]:
    """Calls without a sum inside, on the stream between two sums, across which the grid shrinks: the outermost ones."""
    at = sorted(found.node.index for found in sums)
    main = _main_nodes(sums)
    taken: list[Frame] = []
    drafted = []
    for frame in record.frames:
        if frame.start < at[0] or frame.start > at[-1] or any(frame.start <= index < frame.stop for index in at):
            continue
        if any(around in taken for around in frame.chain()):
            continue
        before = max((grid_area(node) for node in frame.inputs), default=0)
        for place, output in frame.outputs:
            if output.alias in main and is_map(output.axes) and 0 < grid_area(output) < before:
                taken.append(frame)
                inside = tuple(
                    dict.fromkeys(n.operation for n in record.nodes[frame.start : frame.stop] if n.operation)
                )
                site = _output_site(frame, place, output)
                drafted.append(_Draft(frame.path, Kind.DOWN, site, inside, output.index))
                break
    return drafted


def _main_nodes(sums: Sequence[Sum]) -> set[Node]:
    """The nodes on the stream between one sum and the next one's root."""
    stops = {found.node for found in sums}
    main: set[Node] = set()
    for found in sums[1:]:
        waiting = [found.root]
        while waiting:
            current = waiting.pop()
            if current in main or current.alias in stops:
                continue
            main.add(current)
            main.add(current.alias)
            waiting.extend(current.parents)
    return main


def _staged(drafts: Sequence[_Draft]) -> list[tuple[Point, Site]]:
    points = []
    stage, area = 0, 0
    for index, draft in enumerate(drafts):
        height, width = draft.site.arrangement.grid
        if draft.kind is not Kind.STEM and (stage == 0 or height * width < area):
            stage += 1
            area = height * width
        depth = index / max(len(drafts) - 1, 1)
        follows = drafts[index - 1].name if index else ""
        points.append((_point(draft, stage, depth, follows), draft.site))
    return points


def _point(draft: _Draft, stage: int, depth: float, follows: str) -> Point:
    how = draft.site.arrangement
    return Point(
        name=draft.name,
        kind=draft.kind,
        stage=stage,
        depth=depth,
        grid=how.grid,
        channels=how.channels,
        layout=how.pattern,
        prefix_tokens=how.prefix,
        operations=draft.operations,
        follows=follows,
    )


def _between(points: Sequence[tuple[Point, Site]], further: Sequence[_Draft]) -> list[tuple[Point, Site]]:
    """Further points take stage and depth from the default point of the same sum; a branch follows no stream."""
    known = {(site.path, site.call, site.number): point for point, site in points if site.role == "sum"}
    by_path = {point.name: point for point, _ in points}
    result = []
    for draft in further:
        near = known.get((draft.site.path, draft.site.call, draft.site.number)) or by_path.get(draft.site.path)
        if near is not None:
            follows = near.follows if draft.site.role == "sum" else ""
            result.append((_point(draft, near.stage, near.depth, follows), draft.site))
    return result
