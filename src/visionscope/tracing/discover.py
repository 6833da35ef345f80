"""From a record to points: names, stages, depth, and where in a pass each point is found again."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from visionscope.core.subject import Kind, Point
from visionscope.tracing.axes import Arrangement, Axes, arrangement, is_map
from visionscope.tracing.blocks import Block, find_blocks
from visionscope.tracing.dominators import Dominators
from visionscope.tracing.record import Frame, Node, Record
from visionscope.tracing.sums import Sum, grid_area, kind_of, sort_sums, stream_back


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


@dataclasses.dataclass(frozen=True)
class Residual:
    """A residual sum, whether its tensor has a grid or not.

    Attributes:
        stream: the default point of the sum; of a sum that can't be watched, a point without a grid (0 x 0).
        branch: what is added, as a point.
        site: where in a pass the branch is found.
    """

    stream: Point
    branch: Point
    site: Site


@dataclasses.dataclass(repr=False)
class Found:
    """What discovery makes of one record: the default points with their sites, further ones, what can't be watched."""

    points: list[tuple[Point, Site]]
    further: list[tuple[Point, Site]]
    unwatched: list[Unwatched]
    residuals: list[Residual]


@dataclasses.dataclass(repr=False)
class _Draft:
    """A point to be; `given` are the tensors that its branch or module received."""

    name: str
    kind: Kind
    site: Site
    operations: tuple[str, ...]
    node: Node
    given: tuple[Node, ...]

    @property
    def order(self) -> int:
        return -1 if self.kind is Kind.STEM else self.node.index


_NOWHERE = Arrangement("", "", (), (), 0, (0, 0), 0)


def discover(record: Record) -> Found:
    """Finds the points of a recorded pass.

    Args:
        record: of `record_pass`.
    """
    dominators = Dominators(record)
    sums, rejected = sort_sums(record, dominators)
    gone = _left_torch(record)
    drafts: list[_Draft] = []
    further: list[_Draft] = []
    unwatched: list[Unwatched] = []
    names: dict[str, int] = {}
    residuals: list[tuple[_Draft, _Draft]] = []
    for found in sums:
        name = _unique(f"{_path(found.node.frame)}+{found.kind}", names)
        axes = _axes_of(found)
        if axes is None:
            unwatched.append(Unwatched(name, _reason(found)))
            residuals.append((_sum_draft(found, "sum", name, None), _sum_draft(found, "branch", name, None)))
            continue
        own, others = _sum_drafts(found, name, axes, names)
        drafts.append(own)
        residuals.append((own, _sum_draft(found, "branch", name, axes)))
        if found.branch.lost:
            unwatched.append(Unwatched(others[0].name, found.branch.lost))
            others = others[1:]
        further += others
    blocks = find_blocks(record)
    through = [block for block in blocks if dominators.is_gate(block.node)]
    if len(drafts) > 1 or (drafts and len(drafts) >= len(through)):
        drafts += _module_drafts(record, sums, dominators, names)
        drafts.sort(key=lambda draft: draft.order)
        stem = _stem_draft(record, sums[0])
        drafts = [stem, *drafts] if stem else drafts
    else:
        # Without residual sums, or with a single one (networks that concatenate): it would show nothing of the model.
        if len(blocks) < 2 and (sums or gone):
            blocks = []  # the patch embedding alone, of a network whose stream has no grid
        unwatched += _passed_over(record, drafts, bool(sums), bool(blocks))
        drafts = [_block_draft(block, names) for block in blocks]
    unwatched += [
        Unwatched(_unique(f"{_path(one.found.node.frame)}+{one.found.kind}", names), one.reason)
        for one in rejected
        if grid_area(one.found.node) > 1
    ]
    unwatched += gone
    points = _staged(drafts)
    return Found(points, _between(points, further), unwatched, _residuals(points, residuals))


def _left_torch(record: Record) -> list[Unwatched]:
    """Where the network's result could not be followed from the images."""
    ends = [node for frame in record.frames if frame.parent is None for _, node in frame.outputs]
    if not any(node.name == "opaque" for node in ends):
        return []
    path, function = record.left[0] if record.left else ("", "")
    how = f"{function} takes values out of torch" if function else "a part of it runs outside torch's functions"
    return [Unwatched(path or "network", f"{how}; what comes after can't be followed")]


def _passed_over(record: Record, drafts: Sequence[_Draft], sums: bool, blocks: bool) -> list[Unwatched]:
    """Sums that give no point because the outputs of blocks do; sums without a grid are listed as such."""
    instead = "so the points are the outputs of blocks" if blocks else "and no block keeps a grid"
    if drafts:
        return [Unwatched(draft.name, f"the only residual sum of the network, {instead}") for draft in drafts]
    if sums:
        return []
    # In a frequency domain, say, what is added has no grid, and is a stream all the same.
    added = [node for node in record.nodes if node.addends and all(len(one.shape) > 2 for one in node.addends)]
    if not added:
        return []
    first, more = f"{_path(added[0].frame)}+", f", like {len(added) - 1} more" if len(added) > 1 else ""
    return [Unwatched(first, f"adds two tensors, but is no residual sum{more}, {instead}")]


def _path(frame: Frame | None) -> str:
    return frame.path if frame else ""


def _call(node: Node) -> int:
    return node.frame.call if node.frame else 0


def _unique(name: str, names: dict[str, int]) -> str:
    names[name] = names.get(name, 0) + 1
    return name if names[name] == 1 else f"{name}#{names[name]}"


def _axes_of(found: Sum) -> Axes | None:
    """Where the stream lies: where its skip does, else what the sum says; a branch may be in any order."""
    node = found.node
    if found.skip.lost or node.lost:
        return None
    known = (found.skip.axes, node.axes, None if found.branch.lost else found.branch.axes)
    axes = next((axes for axes in known if is_map(axes)), None)
    return axes if axes is not None and [axis.size for axis in axes] == list(node.shape) else None


def _reason(found: Sum) -> str:
    node = found.node
    shape = "x".join(str(size) for size in node.shape)
    if found.skip.lost or node.lost:
        return found.skip.lost or node.lost
    if node.axes is not None and any(axis.entries is not None and axis.order is None for axis in node.axes):
        return f"its tensor {shape} holds some of the map's positions, not each of them once"
    if node.axes is None or any("?" in axis.roles for axis in node.axes):
        return f"its tensor {shape} could not be followed back to a grid"
    return f"its tensor {shape} has no grid: class tokens or pooled features alone"


def _sum_draft(found: Sum, role: str, name: str, axes: Axes | None) -> _Draft:
    node, addends = found.node, found.node.addends or ()
    place = {"sum": (), "branch": (addends.index(found.branch),), "skip": (addends.index(found.skip),)}[role]
    arranged = _NOWHERE if axes is None else arrangement(axes)
    site = Site(role, _path(node.frame), _call(node), node.ordinal, place, node.name, node.shape, arranged)
    own = name.replace("+", ".", 1).lstrip(".") if role == "branch" else name
    return _Draft(own, found.kind, site, found.operations, node, (found.received,))


def _sum_drafts(found: Sum, name: str, axes: Axes, names: dict[str, int]) -> tuple[_Draft, list[_Draft]]:
    stream, branch = (_sum_draft(found, role, name, axes) for role in ("sum", "branch"))
    activated = _activated_output(found)
    if activated is None:
        return stream, [branch]
    frame, place, output = activated
    site = _output_site(frame, place, output)
    own = _Draft(_unique(frame.path, names), found.kind, site, found.operations, output, (found.received,))
    return own, [branch, stream]


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


def _block_draft(block: Block, names: dict[str, int]) -> _Draft:
    site = _output_site(block.frame, block.place, block.node)
    return _Draft(_unique(block.frame.path, names), block.kind, site, block.operations, block.node, block.given)


def _stem_draft(record: Record, first: Sum) -> _Draft | None:
    for frame in record.frames:
        for place, output in frame.outputs:
            if output.alias is first.root.alias and is_map(output.axes):
                return _Draft("stem", Kind.STEM, _output_site(frame, place, output), (), output, ())
    if first.skip.alias is first.root and is_map(first.skip.axes):
        draft = _sum_draft(first, "skip", "stem", first.skip.axes)
        return dataclasses.replace(draft, kind=Kind.STEM, operations=(), node=first.skip, given=())
    return None


def _module_drafts(record: Record, sums: Sequence[Sum], dominators: Dominators, names: dict[str, int]) -> list[_Draft]:
    """Calls without a sum inside that change the stream between two sums: the outermost ones.

    Where the grid shrinks the kind is `down`. Where it stays and the whole stream goes through the call it is `block`:
    a change of its own must not be taken for the next branch's.
    """
    at = sorted(found.node.index for found in sums)
    main = _main_nodes(sums)
    whole = {gate.alias for found in sums[1:] for gate in dominators.of(found.root)}
    taken: list[Frame] = []
    drafted = []
    for frame in record.frames:
        if frame.start < at[0] or frame.start > at[-1] or any(frame.start <= index < frame.stop for index in at):
            continue
        if any(around in taken for around in frame.chain()):
            continue
        nodes = record.nodes[frame.start : frame.stop]
        before = max((grid_area(node) for node in frame.inputs), default=0)
        for place, output in frame.outputs:
            if output.alias not in main or not is_map(output.axes):
                continue
            shrinks = 0 < grid_area(output) < before
            changed = output.index >= frame.start and output.alias in whole and kind_of(nodes, output) is not None
            if not shrinks and not changed:
                continue
            taken.append(frame)
            inside = tuple(dict.fromkeys(n.operation for n in nodes if n.operation))
            site = _output_site(frame, place, output)
            kind = Kind.DOWN if shrinks else Kind.BLOCK
            drafted.append(_Draft(_unique(frame.path, names), kind, site, inside, output, frame.inputs))
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
        points.append((_point(draft, stage, depth, _followed(draft, drafts[:index])), draft.site))
    return points


def _followed(draft: _Draft, before: Sequence[_Draft]) -> str:
    """The last point that holds the very tensor that a branch or a module was given."""
    given = {node.alias for node in draft.given}
    return next((other.name for other in reversed(before) if other.node.alias in given), "")


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
        prefix_tokens=how.placeless,
        operations=draft.operations,
        follows=follows,
    )


def _between(points: Sequence[tuple[Point, Site]], further: Sequence[_Draft]) -> list[tuple[Point, Site]]:
    """Further points take stage and depth from the default point of the same sum; a branch follows no stream."""
    known = {(site.path, site.call, site.number): point for point, site in points if site.role == "sum"}
    by_call = {(site.path, site.call): point for point, site in points if site.role == "output"}
    result = []
    for draft in further:
        site = draft.site
        near = known.get((site.path, site.call, site.number)) or by_call.get((site.path, site.call))
        if near is not None:
            follows = near.follows if draft.site.role == "sum" else ""
            result.append((_point(draft, near.stage, near.depth, follows), draft.site))
    return result


def _residuals(points: Sequence[tuple[Point, Site]], drafts: Sequence[tuple[_Draft, _Draft]]) -> list[Residual]:
    """Every sum with its point; one without takes stage and depth from the last point before it."""
    known = {point.name: point for point, _ in points}
    near: tuple[int, float] = (1, 0.0)
    result = []
    for stream, branch in drafts:
        point = known.get(stream.name)
        near = (point.stage, point.depth) if point is not None else near
        stream_point = point or _point(stream, *near, "")
        result.append(Residual(stream_point, _point(branch, *near, ""), branch.site))
    return result
