"""What the lines of a panel are: measurements or reference, one model's or several, with intervals or without."""

from collections.abc import Sequence

from visionscope.core.figure import Line, Panel

MOST_WHISKERS = 30
"""Up to this many intervals of a curve are drawn one by one; more become a band."""


def title_of(panel: Panel) -> str:
    """What stands above a panel: its title, with the model where that does not name it.

    Args:
        panel: any panel.
    """
    if not panel.model or panel.model in panel.title:
        return panel.title
    return f"{panel.model}: {panel.title}" if panel.title else panel.model


def measured(panel: Panel) -> tuple[Line, ...]:
    """The lines of a panel that show measurements: all but those of reference.

    Args:
        panel: any panel.
    """
    return tuple(line for line in panel.lines if line.role != "reference")


def is_scatter(panel: Panel) -> bool:
    """Whether a panel has a single mark per line: they are there to be compared, and say nothing apart.

    Args:
        panel: any panel.
    """
    lines = measured(panel)
    return bool(lines) and not panel.model and all(line.role == "points" and len(line.x) == 1 for line in lines)


def in_legend(panel: Panel) -> tuple[Line, ...]:
    """The lines of a panel that a legend has to name: those of several models, but for what the axis names already.

    Args:
        panel: any panel.
    """
    return () if panel.model else tuple(line for line in measured(panel) if line.name not in panel.x_names)


def has_whiskers(line: Line) -> bool:
    """Whether the intervals of a line are few enough to be drawn one by one.

    Args:
        line: any line.
    """
    return line.low is not None and line.high is not None and (line.role == "points" or len(line.x) <= MOST_WHISKERS)


def edges(line: Line) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Lower and upper end of a line's intervals or bands, NaN where there is none; None without any.

    Args:
        line: any line.
    """
    if line.low is not None and line.high is not None:
        return line.low, line.high
    if line.error is None:
        return None
    pairs = list(zip(line.y, line.error, strict=True))
    return tuple(y - error for y, error in pairs), tuple(y + error for y, error in pairs)


def series_of(panels: Sequence[Panel]) -> dict[str, int]:
    """What a model's panels show several curves of, with a number each, for dashes and marks; empty where it is one.

    Args:
        panels: one group.
    """
    lines = [line for panel in panels if panel.model and len(measured(panel)) > 1 for line in measured(panel)]
    plain = [line for line in lines if line.shade is None and not line.filled]
    return {name: place for place, name in enumerate(dict.fromkeys(line.name for line in plain))}


def has_faint(panels: Sequence[Panel]) -> bool:
    """Whether any point is drawn in grey.

    Args:
        panels: one group.
    """
    return any(any(line.faint) for panel in panels for line in panel.lines)
