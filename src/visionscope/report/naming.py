"""Names beside the points of a scatter plot, put where they cover neither points nor each other."""

from collections.abc import Iterator

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox, BboxBase

_NAME = "name of a point"
_STEPS = (4, 9, 15, 22)
_SIDES = (("center", "bottom", 0, 1), ("left", "center", 1, 0), ("right", "center", -1, 0), ("center", "top", 0, -1))
_POINT = 3.0


def name_point(ax: Axes, text: str, place: tuple[float, float]) -> None:
    """Writes a name above a point; `place_names` moves it once the layout is settled.

    Args:
        ax: of the point.
        text: the name.
        place: of the point, in data coordinates.
    """
    ax.annotate(text, place, (0, 4), textcoords="offset points", ha="center", va="bottom", fontsize=6, gid=_NAME)


def place_names(drawing: Drawing) -> None:
    """Moves each name to the nearest place beside its point that is free: above, right, left, below, then further out.

    Where every place is taken it stays above its point.

    Args:
        drawing: whose layout is settled.
    """
    for ax in drawing.axes:
        names = [text for text in ax.texts if isinstance(text, Annotation) and text.get_gid() == _NAME]
        points = [ax.transData.transform(name.xy) for name in names]
        radius = _POINT * drawing.dpi / 72
        taken = [Bbox.from_extents(x - radius, y - radius, x + radius, y + radius) for x, y in points]
        for name in sorted(names, key=lambda one: one.xy[1], reverse=True):
            _place(name, taken, within=ax.bbox)
            _lead_to(ax, name)


def _place(name: Annotation, taken: list[Bbox], *, within: BboxBase) -> None:
    for across, up, horizontal, vertical in _offsets():
        name.set_position((across, up))
        name.set(ha=horizontal, va=vertical)
        box = name.get_window_extent()
        inside = within.x0 < box.x0 and box.x1 < within.x1 and within.y0 < box.y0
        if inside and not box.count_overlaps(taken):
            break
    else:
        name.set_position((0, _STEPS[0]))
        name.set(ha="center", va="bottom")
    taken.append(name.get_window_extent())


def _lead_to(ax: Axes, name: Annotation) -> None:
    """A thin line from a name that is not close to its point."""
    if max(map(abs, name.get_position())) > _STEPS[1]:
        line = {"arrowstyle": "-", "linewidth": 0.4, "color": "0.5", "shrinkA": 0, "shrinkB": 2}
        ax.annotate("", name.xy, name.get_position(), textcoords="offset points", arrowprops=line)


def _offsets() -> Iterator[tuple[float, float, str, str]]:
    for step in _STEPS:
        for horizontal, vertical, right, up in _SIDES:
            yield step * right, step * up, horizontal, vertical
    for step in _STEPS:
        for up in (1, -1):
            yield step, step * up, "left", "bottom" if up > 0 else "top"
            yield -step, step * up, "right", "bottom" if up > 0 else "top"
