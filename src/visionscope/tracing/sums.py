"""Which additions of a record are residual sums, and what their branches did."""

import dataclasses
from collections.abc import Container, Iterator

from visionscope.core.subject import Kind
from visionscope.tracing.axes import arrangement, is_map
from visionscope.tracing.dominators import Dominators
from visionscope.tracing.exceptions import EXCEPTIONS
from visionscope.tracing.record import Frame, Node, Record

# Linear up to a fixed gain: what a projection shortcut may hold.
_PROJECTION = ("conv", "depthwise conv", "linear", "norm", "pool", "reduction", "scale", "resize", "")
_WEIGHTED = ("attention", "product", "conv", "depthwise conv", "linear", "token linear", "recurrent", "fft")


@dataclasses.dataclass(eq=False, repr=False)
class Sum:
    """A residual sum.

    Attributes:
        node: the stream after the addition.
        skip: the operand that is the stream (or its projection) before it.
        branch: the operand that was added.
        root: the stream before the branch, ahead of any projection shortcut or gain on the skip.
        received: what the branch was computed from: the root, or the stream after a gain.
        kind: what the branch did.
        operations: all operations seen in the branch, in order of first use.
    """

    node: Node
    skip: Node
    branch: Node
    root: Node
    received: Node
    kind: Kind
    operations: tuple[str, ...]


@dataclasses.dataclass
class _Path:
    reached: bool
    nodes: list[Node]

    def is_weighted(self) -> bool:
        return any(_word(node.operation) in _WEIGHTED for node in self.nodes)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Rejected:
    """A sum with a branch that is no residual sum of the network's stream.

    Attributes:
        found: the sum.
        reason: why not, in words.
    """

    found: Sum
    reason: str


def find_sums(record: Record) -> list[Sum]:
    """The residual sums of a pass, in execution order; `sort_sums` has the rule.

    Args:
        record: of `record_pass`.
    """
    return sort_sums(record, Dominators(record))[0]


def sort_sums(record: Record, dominators: Dominators) -> tuple[list[Sum], list[Rejected]]:
    """The residual sums of a pass, in execution order, and those that looked like one.

    An addition of two tensors of one shape is a residual sum when one operand is the running stream - the input of an
    enclosing module call, or an earlier sum - and the other went through learned or spatial mixing. It is one as well
    when one operand is an earlier result from which the other was computed, or a projection shortcut of an enclosing
    call's input, as long as all that the network answers goes through the sum, or the enclosing call hands it on or
    gives no map. Which module calls stand around the network makes no difference.

    Args:
        record: of `record_pass`.
        dominators: of that record.
    """
    rejected: dict[Node, Rejected] = {}
    while True:
        sums, tentative = _one_round(record, rejected, dominators)
        dropped = [found for found, frame in tentative if not _handed_on(found, frame, sums)]
        if not dropped:
            beside = _beside(list(sums.values()))
            for node in beside:
                rejected[node] = Rejected(sums[node], "adds to a coarser map beside the stream, inside a branch")
            found = [one for one in sums.values() if one.node not in beside]
            return found, sorted(rejected.values(), key=lambda one: one.found.node.index)
        # What was no sum must not end the branches of others: look again without it.
        for one in dropped:
            rejected[one.node] = Rejected(
                one, "a side path: neither what its module returns nor what all that follows goes through"
            )


def _beside(sums: list[Sum]) -> set[Node]:
    """The sums of a stream of its own on a coarser map inside another sum's branch, such as a block that gates it."""
    beside: set[Node] = set()
    for outer in sums:
        path = _walk(outer.branch, outer.root, outer.node, {})
        inside = set(path.nodes)
        for inner in sums:
            if inner.node in inside and inner.root in inside and grid_area(inner.node) < grid_area(outer.node):
                beside.add(inner.node)
    return beside


def grid_area(node: Node) -> int:
    """Number of positions of a node's grid; 0 where it has none."""
    if not is_map(node.axes):
        return 0
    height, width = arrangement(node.axes).grid
    return height * width


def _one_round(
    record: Record, rejected: Container[Node], dominators: Dominators
) -> tuple[dict[Node, Sum], list[tuple[Sum, Frame]]]:
    sums: dict[Node, Sum] = {}
    tentative: list[tuple[Sum, Frame]] = []
    for node in record.nodes:
        if node.addends is None or node.addends[0].shape != node.addends[1].shape or node in rejected:
            continue
        found = _direct(node, sums)
        if found is None:
            local = _local(node, sums)
            candidate = local or _projected(node)
            if candidate is None:
                continue
            found = candidate[0]
            # A stream that begins inside a call may be a side path: what comes after tells, when all sums are known.
            if local is None or not (dominators.is_gate(node) or _ends_in_head(node)):
                tentative.append(candidate)
        sums[node] = found
    return sums, tentative


def _ends_in_head(node: Node) -> bool:
    """Whether a map lies in a call that gives none: a stream in it can only end in the classifier."""
    gives = node.frame.outputs if node.frame is not None else ()
    return grid_area(node) > 1 and not any(grid_area(output) > 1 for _, output in gives)


def _orders(node: Node) -> list[tuple[Node, Node]]:
    """Which operand may be the stream and which the branch: what is subtracted is no stream."""
    if node.addends is None:
        return []
    first, second = node.addends
    return [(first, second)] if node.name.startswith("sub") else [(first, second), (second, first)]


def _direct(node: Node, sums: dict[Node, Sum]) -> Sum | None:
    orders = [(skip, branch) for skip, branch in _orders(node) if _is_stream(skip, node, sums)]
    if node.name.startswith("sub"):  # x - f(x), and no difference between two streams
        orders = [(skip, branch) for skip, branch in orders if _walk(branch, _unscaled(skip), node, sums).reached]
    # Where both are streams the branch is what was computed from the other; of two that were not, the older goes on.
    if len(orders) == 2:
        first, second = orders[0]
        if _walk(second, _unscaled(first), node, sums).reached:
            return _make(node, first, second, sums)
        if _walk(first, _unscaled(second), node, sums).reached:
            return _make(node, second, first, sums)
        if _projected(node) is not None:
            return None
        skip, branch = sorted((first, second), key=lambda stream: stream.alias.index)
        return _make(node, skip, branch, sums)
    return _make(node, *orders[0], sums) if orders else None


def _make(node: Node, skip: Node, branch: Node, sums: dict[Node, Sum]) -> Sum | None:
    root = _unscaled(skip)
    path = _walk(branch, root, node, sums)
    kind = kind_of(path.nodes, node)
    # Where earlier sums end the branch before anything was mixed, look through them.
    if kind is None:
        path = _walk(branch, root, node, {})
        kind = kind_of(path.nodes, node)
    if kind is None:
        return None
    scaled = skip.alias is not root and _walk(branch, skip.alias, node, sums).reached
    return Sum(node, skip, branch, root, skip.alias if scaled else root, kind, _listed(path.nodes))


def _unscaled(node: Node) -> Node:
    """The tensor ahead of a learned gain on the skip (ResScale)."""
    current = node.alias
    while current.operation == "scale" and current.parents:
        current = current.parents[0].alias
    return current


def _is_stream(operand: Node, node: Node, sums: dict[Node, Sum]) -> bool:
    source = _unscaled(operand)
    if source in sums:
        return True
    if node.frame is None:
        return False
    return any(source is given.alias for frame in node.frame.chain() for given in frame.inputs)


def _local(node: Node, sums: dict[Node, Sum]) -> tuple[Sum, Frame] | None:
    """A stream that starts anew inside a call: x = f(given), then x + g(x)."""
    if node.frame is None:
        return None
    for skip, branch in _orders(node):
        begins = skip.alias.index >= node.frame.start and is_map(skip.axes)
        if begins and any(_walk(branch, root, node, sums).reached for root in (skip.alias, _unscaled(skip))):
            found = _make(node, skip, branch, sums)
            return None if found is None else (found, node.frame)
    return None


def _projected(node: Node) -> tuple[Sum, Frame] | None:
    if node.frame is None:
        return None
    for frame in node.frame.chain():
        for given in frame.inputs:
            operands = node.addends or ()
            paths = [_walk(operand, given.alias, node, {}) for operand in operands]
            if not all(path.reached for path in paths):
                continue
            # What both operands went through does not tell the shortcut from the branch.
            shared = set(paths[0].nodes) & set(paths[1].nodes)
            plain = [
                all(_word(other.operation) in _PROJECTION for other in path.nodes if other not in shared)
                for path in paths
            ]
            if plain[0] == plain[1]:
                return None
            place = plain.index(True)
            skip, branch = operands[place], operands[1 - place]
            if (skip, branch) not in _orders(node):
                return None
            kind = kind_of(paths[1 - place].nodes, node)
            if kind is None or not paths[1 - place].is_weighted():
                return None
            operations = _listed(paths[1 - place].nodes)
            return Sum(node, skip, branch, given.alias, given.alias, kind, operations), frame
    return None


def _walk(start: Node, goal: Node, node: Node, sums: dict[Node, Sum]) -> _Path:
    """All nodes from `start` back to `goal`, stopping at earlier sums and at the inputs of the calls around `node`."""
    stops = {given.alias for frame in node.frame.chain() for given in frame.inputs} if node.frame else set()
    path = _Path(False, [])
    seen: set[Node] = set()
    waiting = [start]
    while waiting:
        current = waiting.pop()
        if current.alias is goal:
            path.reached = True
            continue
        if current in seen or (current.alias in sums) or (current.alias in stops and current is not start):
            continue
        seen.add(current)
        path.nodes.append(current)
        waiting.extend(current.parents)
    path.nodes.sort(key=lambda other: other.index)
    return path


def _handed_on(candidate: Sum, frame: Frame, sums: dict[Node, Sum]) -> bool:
    """Whether the call's result is the sum, up to activations, norms and later residual sums."""
    for _, output in frame.outputs:
        for current in stream_back(output, sums):
            if current.alias is candidate.node:
                return True
    return False


def stream_back(node: Node, sums: dict[Node, Sum]) -> Iterator[Node]:
    """Follows the stream backwards: through sums by their skip operand, activations and norms by their input."""
    current = node
    while True:
        yield current
        if current.alias in sums:
            following = sums[current.alias].skip
        elif current.alias is not current:
            following = current.alias
        elif current.operation in {"activation", "norm", "scale"} and current.parents:
            following = current.parents[0]
        else:
            return
        current = following


def kind_of(nodes: list[Node], node: Node) -> Kind | None:
    """What the operations of some nodes amount to; None where nothing was mixed.

    Args:
        nodes: of a branch or a block.
        node: what they lead to; the exceptions' class names count inside its call.
    """
    for other in nodes:
        for frame in other.frame.chain() if other.frame else ():
            if frame.class_name in EXCEPTIONS:
                return EXCEPTIONS[frame.class_name].kind
            if node.frame is not None and frame is node.frame:
                break
    words = [_word(other.operation) for other in nodes]
    kinds = (
        (Kind.MSA, "attention" in words or words.count("product") > 1 or ("product" in words and "softmax" in words)),
        (Kind.FOURIER, "fft" in words),
        (Kind.CONV, "conv" in words and _wide(nodes)),
        (Kind.POOL, "pool" in words),
        (Kind.TOKEN_MLP, "token linear" in words or "recurrent" in words),
        (Kind.MLP, "linear" in words or "conv" in words),
    )
    return next((kind for kind, holds in kinds if holds), None)


def _wide(nodes: list[Node]) -> bool:
    return any("conv" in other.operation and other.operation != "conv 1x1" for other in nodes)


def _word(operation: str) -> str:
    return "conv" if "conv" in operation else operation


def _listed(nodes: list[Node]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(other.operation for other in nodes if other.operation))
