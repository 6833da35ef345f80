"""Networks without residual sums: the outputs of their blocks as points."""

from collections.abc import Iterator
from typing import Any

from visionscope.core.types import Kind
from visionscope.tracing.axes import arrangement, is_map
from visionscope.tracing.record import Frame, Node, Record
from visionscope.tracing.sums import grid_area, kind_of

Block = tuple[Frame, tuple[Any, ...], Node, Kind, tuple[str, ...]]


def block_frames(record: Record) -> list[Block]:
    """The blocks of a pass: calls that hand a map on to the next one, found by opening every chain of calls.

    A call whose children pass the map from one to the next (a `Sequential`, the model itself) is opened; what can't be
    opened is a block. Single operations join up to one block that ends with its activation, or with the pooling that
    follows.

    Args:
        record: of `record_pass`.
    """
    children: dict[Frame | None, list[Frame]] = {}
    for frame in record.frames:
        if frame.inputs or frame.parent is None:  # what sees nothing of the images makes a weight (parametrizations)
            children.setdefault(frame.parent, []).append(frame)
    blocks: list[Block] = []
    waiting: list[Node] = []
    for root in children.get(None, []):
        for frame in _opened(root, children, True):
            output = _map_output(frame)
            nodes = record.nodes[frame.start : frame.stop]
            if output is None:
                continue
            place, node = output
            waiting += nodes
            if not _ends_block(frame, nodes, children):
                continue
            kind = kind_of([other for other in waiting if grid_area(other) != 1], node)
            shrinks = grid_area(node) < max((grid_area(given) for given in frame.inputs), default=0)
            if kind is None or (kind is Kind.POOL and not shrinks):
                continue  # norms, activations, gates or a pooling to the same grid: part of the block that follows
            kind = Kind.DOWN if kind is Kind.POOL else kind
            blocks.append((frame, place, node, kind, _words(waiting)))
            waiting = []
    return blocks


def _opened(frame: Frame, children: dict[Frame | None, list[Frame]], root: bool) -> Iterator[Frame]:
    inner = [child for child in children.get(frame, []) if _map_output(child) is not None]
    if inner and (root or _is_chain(frame, inner)):
        for child in inner:
            yield from _opened(child, children, False)
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
