"""Names beside the points of a scatter plot, put where they cover neither points, curves nor each other."""

import math
from collections.abc import Iterator
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure as Drawing
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox, BboxBase

_NAME = "name of a point"
_STEPS = (4, 9, 15, 22)
_SIDES = (("center", "bottom", 0, 1), ("left", "center", 1, 0), ("right", "center", -1, 0), ("center", "top", 0, -1))
_POINT = 3.0
_EVERY = 5.0
_ABOVE = 4.0  # that a name may stand above the axes, below the title


def name_point(ax: Axes, text: str, place: tuple[float, float]) -> None:
    """Writes a name above a point; `place_names` moves it once the layout is settled.

    Args:
        ax: of the point.
        text: the name; nothing is written where it is empty.
        place: of the point, in data coordinates.
    """
    if text:
        ax.annotate(text, place, (0, 4), textcoords="offset points", ha="center", va="bottom", fontsize=6, gid=_NAME)


def place_names(drawing: Drawing) -> None:
    """Moves each name to the nearest place beside its point that is free: above, right, left, below, then further out.

    Where every place is taken it stays above its point.

    Args:
        drawing: whose layout is settled.
    """
    for ax in drawing.axes:
        names = [text for text in ax.texts if isinstance(text, Annotation) and text.get_gid() == _NAME]
        taken = [*_marks(ax, _POINT * drawing.dpi / 72), *_along(ax)] if names else []
        for name in sorted(names, key=lambda one: one.xy[1], reverse=True):
            _place(name, taken, within=ax.bbox, above=_ABOVE * drawing.dpi / 72)
            _lead_to(ax, name)


def _marks(ax: Axes, radius: float) -> Iterator[Bbox]:
    """Where the points and their whiskers are, in pixels."""
    for line in ax.lines:
        if line.get_marker() not in ("None", "", None):
            for x, y in ax.transData.transform(line.get_xydata()):
                yield Bbox.from_extents(x - radius, y - radius, x + radius, y + radius)
    for whiskers in ax.collections:
        if isinstance(whiskers, LineCollection):
            for stroke in whiskers.get_segments():
                (x0, y0), *_, (x1, y1) = ax.transData.transform(stroke)
                yield Bbox.from_extents(x0, min(y0, y1), x1, max(y0, y1))


def _along(ax: Axes) -> Iterator[Bbox]:
    """Where curves are, every few pixels."""
    for line in ax.lines:
        if line.get_marker() in ("None", "", None) and line.get_transform() == ax.transData:
            for (x0, y0), (x1, y1) in pairwise(ax.transData.transform(line.get_xydata())):
                if not all(map(math.isfinite, (x0, y0, x1, y1))):
                    continue
                steps = max(1, math.ceil(max(abs(x1 - x0), abs(y1 - y0)) / _EVERY))
                for step in range(steps + 1):
                    x, y = x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps
                    yield Bbox.from_extents(x - 1, y - 1, x + 1, y + 1)


def _place(name: Annotation, taken: list[Bbox], *, within: BboxBase, above: float) -> None:
    for across, up, horizontal, vertical in _offsets():
        name.set_position((across, up))
        name.set(ha=horizontal, va=vertical)
        box = name.get_window_extent()
        inside = within.x0 < box.x0 and box.x1 < within.x1 and within.y0 < box.y0 and box.y1 < within.y1 + above
        if inside and not box.count_overlaps(taken):
            break
    else:
        name.set_position((0, _STEPS[0]))
        name.set(ha="center", va="bottom")
    box = name.get_window_extent()
    taken.append(box.padded(box.height / 2, 0))  # two names side by side are not to read as one


def _lead_to(ax: Axes, name: Annotation) -> None:
    """A thin line from a name that is not close to its point."""
    if math.hypot(*name.get_position()) > _STEPS[1]:
        line = {"arrowstyle": "-", "linewidth": 0.5, "linestyle": ":", "color": "0.2", "shrinkA": 0, "shrinkB": 2}
        ax.annotate("", name.xy, name.get_position(), textcoords="offset points", arrowprops=line)


def _offsets() -> Iterator[tuple[float, float, str, str]]:
    for step in _STEPS:
        for horizontal, vertical, right, up in _SIDES:
            yield step * right, step * up, horizontal, vertical
    for step in _STEPS:
        for up in (1, -1):
            yield step, step * up, "left", "bottom" if up > 0 else "top"
            yield -step, step * up, "right", "bottom" if up > 0 else "top"
