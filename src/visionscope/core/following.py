"""Which point's map a change is measured from: that of the stream which the branch received, or none."""

import dataclasses
from collections.abc import Sequence

from visionscope.core.subject import Point


@dataclasses.dataclass(frozen=True)
class Before:
    """What a point's change is measured from.

    Attributes:
        index: of the point that it follows; None where the change is refused.
        note: why it is refused, else "".
    """

    index: int | None
    note: str


def before(points: Sequence[Point]) -> tuple[Before, ...]:
    """For each point the one that its change is measured from, in every diagnostic.

    That is the point named by `follows`, which holds the stream that the branch received, whatever stands between the
    two in the list. There is no change where that point is not known or not looked at, and none across a change of grid
    or channels: there the branch can't be separated from the projection or resampling on its skip.

    Args:
        points: those looked at.
    """
    index = {point.name: place for place, point in enumerate(points)}
    return tuple(_before(points, index, point) for point in points)


def _before(points: Sequence[Point], index: dict[str, int], point: Point) -> Before:
    place = index.get(point.follows)
    if not point.follows:
        return Before(None, "no point holds what it received")
    if place is None:
        return Before(None, f"not looked at: {point.follows}, which it follows")
    other = points[place]
    if other.grid != point.grid:
        return Before(None, f"another grid than {other.name}: {_text(point.grid)}, not {_text(other.grid)}")
    if other.channels != point.channels:
        return Before(None, f"other channels than {other.name}: {point.channels}, not {other.channels}")
    return Before(place, "")


def _text(grid: tuple[int, int]) -> str:
    return f"{grid[0]}x{grid[1]}"
