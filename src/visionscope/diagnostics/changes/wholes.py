"""Which points maps of which size say something of, and whether stored rows are those of a whole part."""

from collections.abc import Sequence
from typing import Protocol

from visionscope.core.spans import span_of
from visionscope.core.subject import Point


class PointState(Protocol):
    """What the stored rows of a point have in common."""

    @property
    def point(self) -> str:
        """Name of the point."""
        ...

    @property
    def start(self) -> int:
        """Position of the first image."""
        ...

    @property
    def images(self) -> int:
        """How many there are."""
        ...


def is_too_small(point: Point) -> bool:
    """Whether a point's maps have a single position, which varies over no space and is like or above no other."""
    return point.grid[0] * point.grid[1] < 2


def has_every_point(part: str, rows: Sequence[PointState], points: Sequence[Point]) -> bool:
    """Whether rows are those of a part: one for each point that is not too small, over the part's images.

    Args:
        part: its name.
        rows: as they were stored.
        points: of the model.
    """
    start, stop = span_of(part)
    expected = [(point.name, start, stop - start) for point in points if not is_too_small(point)]
    return sorted((row.point, row.start, row.images) for row in rows) == sorted(expected)
