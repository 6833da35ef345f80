"""Networks without residual sums: the outputs of their blocks as points."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

from visionscope.core.subject import Kind
from visionscope.tracing.axes import arrangement, is_map
from visionscope.tracing.record import Frame, Node, Record
from visionscope.tracing.sums import grid_area, kind_of

_NUMBERED = re.compile(r"(.*\.)?\d+(?=\.|$)")  # greedy: up to the last number of a module path


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Block:
    """A block of a network without residual sums.

    Attributes:
        frame: the call that ends it.
        place: of its map in that call's result.
        node: the map.
        kind: what the block does.
        operations: all seen in it.
        given: the tensors that it received.
    """

    frame: Frame
    place: tuple[Any, ...]
    node: Node
    kind: Kind
    operations: tuple[str, ...]
    given: tuple[Node, ...]


def find_blocks(record: Record) -> list[Block]:
    """The blocks of a pass: calls that hand a map on to the next one, found by opening every chain of calls.

    A call whose children pass the map from one to the next (a `Sequential`) is opened, and so is one that gives no map
    (a classifier, or a module around one): which calls stand around the network makes no difference. What can't be
    opened is a block. Single operations join up to one block that ends with its activation, or with the pooling that
    follows.

    Args:
        record: of `record_pass`.
    """
    children: dict[Frame | None, list[Frame]] = {}
    for frame in record.frames:
        if frame.inputs or frame.parent is None:  # what sees nothing of the images makes a weight (parametrizations)
            children.setdefault(frame.parent, []).append(frame)
    blocks = []
    waiting: list[Frame] = []
    for root in children.get(None, []):
        for frame in _opened(frame=root, children=children):
            output = _map_output(frame)
            if output is None or output[1].alias.index < frame.start:  # no map, or the same one in another form
                continue
            # Convolutions with nothing in between are blocks of their own, but for a depthwise one and what follows it.
            if _is_weighted(record, [frame]) and _is_weighted(record, waiting, besides="depthwise"):
                blocks += _block(record, waiting)
                waiting = []
            waiting.append(frame)
            if _ends_block(frame, record.nodes[frame.start : frame.stop], children):
                found = _block(record, waiting)
                blocks += found
                waiting = [] if found else waiting
    return [*blocks, *_block(record, waiting)]


def _block(record: Record, frames: Sequence[Frame]) -> list[Block]:
    """The block that some calls in a row make, if they make one."""
    if not frames:
        return []
    last = frames[-1]
    output = _map_output(last)
    assert output is not None
    place, node = output
    nodes = [node for frame in frames for node in record.nodes[frame.start : frame.stop]]
    kind = kind_of([other for other in nodes if grid_area(other) != 1], node)
    shrinks = grid_area(node) < max((grid_area(other) for other in last.inputs), default=0)
    if kind is None or (kind is Kind.POOL and not shrinks):
        return []  # norms, activations, gates or a pooling to the same grid: part of the block that follows
    kind = Kind.DOWN if kind is Kind.POOL else kind
    return [Block(last, place, node, kind, _words(nodes), frames[0].inputs)]


def _is_weighted(record: Record, frames: Sequence[Frame], besides: str = "/") -> bool:
    words = [node.operation for frame in frames for node in record.nodes[frame.start : frame.stop]]
    return any("conv" in word and besides not in word for word in words)


def _opened(frame: Frame, children: dict[Frame | None, list[Frame]]) -> Iterator[Frame]:
    inner = children.get(frame, [])
    maps = [child for child in inner if _map_output(child) is not None]
    if _map_output(frame) is None or (maps and _is_chain(frame, maps)):
        for child in inner:
            yield from _opened(child, children)
    else:
        yield frame


def _is_chain(frame: Frame, inner: list[Frame]) -> bool:
    given = {node.alias for node in frame.inputs}
    for child in inner:
        if not any(node.alias in given for node in child.inputs):
            return False
        given = {node.alias for _, node in child.outputs}
    return any(node.alias in given for _, node in frame.outputs)


def _map_output(frame: Frame) -> tuple[tuple[Any, ...], Node] | None:
    for place, node in frame.outputs:
        if (
            is_map(node.axes)
            and node.index >= frame.start
            and node.axes is not None
            and arrangement(node.axes).grid != (1, 1)
        ):
            return place, node
    return None


def _ends_block(frame: Frame, nodes: list[Node], children: dict[Frame | None, list[Frame]]) -> bool:
    words = [node.operation for node in nodes]
    if children.get(frame):
        return True
    return "activation" in words or "pool" in words


def _words(nodes: list[Node]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(node.operation for node in nodes if node.operation))


def block_path(path: str) -> str:
    """A module path up to its last number, which names the block that the module belongs to; "" without a number.

    Args:
        path: of any module.
    """
    numbered = _NUMBERED.match(path)
    return numbered[0] if numbered else ""
