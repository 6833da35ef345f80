"""What everything goes through: the dominators of a recorded pass."""

from visionscope.tracing.record import Node, Record


class Dominators:
    """For each node of a pass, the nodes that every way from the images to it goes through.

    Module calls play no part in it, so it is the same whatever modules stand around a network.
    """

    def __init__(self, record: Record) -> None:
        """Finds the last such node ahead of each, in the order of the pass (Cooper, Harvey & Kennedy 2001).

        Args:
            record: of `record_pass`.
        """
        self._above: dict[Node, Node | None] = {}
        self._depth: dict[Node, int] = {}
        for node in record.nodes:
            above = node.parents[0] if node.parents else None
            for other in node.parents[1:]:
                above = self._common(above, other)
            self._above[node] = above
            self._depth[node] = 0 if above is None else self._depth[above] + 1
        self._ends = {node for frame in record.frames if frame.parent is None for _, node in frame.outputs}
        self._gates = {gate for end in self._ends for gate in self.of(end)}

    def of(self, node: Node) -> set[Node]:
        """The node and all that every way to it goes through.

        Args:
            node: of the record.
        """
        found = set()
        current: Node | None = node
        while current is not None:
            found.add(current)
            current = self._above[current]
        return found

    def is_gate(self, node: Node) -> bool:
        """Whether one of the network's outputs depends on the images through this node alone.

        Args:
            node: of the record.
        """
        return node in self._gates

    def _common(self, one: Node | None, other: Node | None) -> Node | None:
        while one is not other:
            if one is None or other is None:
                return None
            if self._depth[one] >= self._depth[other]:
                one = self._above[one]
            else:
                other = self._above[other]
        return one
