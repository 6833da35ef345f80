"""Curves, bands, whiskers and densities as Plotly traces."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.core.figure import Line, Panel
from visionscope.core.finding import number
from visionscope.report.arrange import FEW_LINES, OVERLAY_LIMIT, shaded_steps
from visionscope.report.axes import font, plain, rounded
from visionscope.report.lines import edges, has_whiskers, is_scatter, measured
from visionscope.report.style import SERIES_DASHES, TOKEN, KindMark, mark_of, model_token, series_mark, shade_token

FAINT = "no significant change"
"""What grey points are."""


def curve_traces(panel: Panel, models: Sequence[str], series: Mapping[str, int] | None = None) -> list[dict[str, Any]]:
    """Each curve of a panel, after its band or its whiskers; lines of reference come first.

    Args:
        panel: with curves.
        models: the labels of all models of the report.
        series: numbers of a model's curves, see `arrange.series_of`.
    """
    data = [_reference_trace(line) for line in panel.lines if line.role == "reference"]
    for line in measured(panel):
        label = panel.model or line.name
        index = models.index(label) if label in models else -1
        colour = model_token(max(index, 0)) if line.shade is None else shade_token(line.shade)
        if has_whiskers(line):
            data.extend(_whisker_traces(line, colour, index))
        elif edges(line) is not None:
            data.append(_band_trace(line, colour, index))
        data.append(_line_trace(panel, line, colour, index, (series or {}).get(line.name, 0)))
    return data


def kind_shading(line: Line) -> list[dict[str, Any]]:
    """Backgrounds of the steps of attention and downsampling, as in the paper's figure 8."""
    shapes = []
    for start, x, kind in shaded_steps(line):
        box = {"type": "rect", "xref": "x", "yref": "y domain", "x0": start, "x1": x, "y0": 0, "y1": 1}
        shapes.append({**box, "fillcolor": f"{TOKEN}kind:{kind}", "line": {"width": 0}, "layer": "below"})
    return shapes


def marks_of(line: Line, series: int) -> list[KindMark]:
    """The mark of each point of a line, of those that get one.

    Args:
        line: any line.
        series: its number among its model's curves in the panel.
    """
    kinds = line.kinds or (line.kind,) * len(line.x)
    return [mark_of(kind) if kind else series_mark(series) for kind in kinds]


def marked_places(line: Line) -> list[int]:
    """Which points of a line get a mark.

    A curve of one point carries its mark at its end alone: 25 curves with marks all along can't be read.

    Args:
        line: any line.
    """
    finite = [index for index, y in enumerate(line.y) if math.isfinite(y)]
    if line.kinds or line.faint or line.role == "points" or has_whiskers(line):
        return finite
    return finite[-1:] if line.kind else []


def is_faint(line: Line, index: int) -> bool:
    """Whether a point of a line is drawn in grey.

    Args:
        line: any line.
        index: of the point.
    """
    return bool(line.faint) and line.faint[index]


def _line_trace(panel: Panel, line: Line, colour: str, model: int, series: int) -> dict[str, Any]:
    marks, places = marks_of(line, series), set(marked_places(line))
    # Beyond that many models, colours repeat.
    named = is_scatter(panel) and len(measured(panel)) > OVERLAY_LIMIT
    own = [TOKEN + ("faint" if is_faint(line, index) else colour) for index in range(len(line.x))]
    filled = [mark.filled and not is_faint(line, index) for index, mark in enumerate(marks)]
    size = 8 if line.kinds or line.role == "points" else 7
    if series and line.role == "points":
        size = 5
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "name": html.escape(line.name),
        "meta": model,
        "x": plain(line.x),
        "y": plain(line.y),
        "line": {
            "color": TOKEN + colour,
            "width": 1.8 if line.kinds or not line.kind else 1.4,
            "dash": SERIES_DASHES[series % len(SERIES_DASHES)][0],
        },
        "customdata": _hover(panel, line),
        "hovertemplate": "%{customdata}<extra></extra>",
        "connectgaps": False,
        "showlegend": False,
    }
    if line.points:
        # For the page alone, see `plotly.panel_spec`.
        trace["points"] = list(line.points)
    if places:
        trace["mode"] = "markers" if line.role == "points" else "lines+markers"
        trace["marker"] = {
            "symbol": [mark.symbol for mark in marks],
            "size": [size * (index in places) for index in range(len(line.x))],
            "opacity": 1,
            "color": [one if full else TOKEN + "paper" for one, full in zip(own, filled, strict=True)],
            "line": {"color": own if line.faint else TOKEN + colour, "width": 1.5},
        }
    if named:
        look = {
            "text": [html.escape(line.name)],
            "textposition": f"top {_label_side(panel, line.x[0])}",
            "textfont": font("ink", 11),
        }
        trace.update(mode="markers+text", cliponaxis=False, **look)
    if line.filled and len(panel.lines) <= FEW_LINES:
        trace.update(fill="tozeroy", fillcolor=f"{TOKEN}{colour}:band")
    return trace


def _label_side(panel: Panel, x: float) -> str:
    """Where the name of a mark goes: inwards near either end of the axis, lest a narrow panel cuts it off."""
    places = [one for line in measured(panel) for one in line.x]
    low, high = min(places), max(places)
    if x < low + (high - low) / 4:
        return "right"
    return "left" if x > high - (high - low) / 4 else "center"


def _reference_trace(line: Line) -> dict[str, Any]:
    """A thin grey line that goes with no model."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": html.escape(line.name),
        "meta": -1,
        "x": plain(line.x),
        "y": plain(line.y),
        "line": {"color": TOKEN + "boundary", "width": 1},
        "hovertemplate": f"{html.escape(line.name)}<extra></extra>",
        "showlegend": False,
    }


def _whisker_traces(line: Line, colour: str, model: int) -> list[dict[str, Any]]:
    """The intervals as upright strokes, those of faint points in grey."""
    low, high = edges(line) or ((), ())
    found = []
    for faint in (True, False):
        places = [index for index in range(len(line.x)) if is_faint(line, index) == faint]
        places = [index for index in places if math.isfinite(low[index]) and math.isfinite(high[index])]
        strokes = [(rounded(line.x[i]), rounded(low[i]), rounded(high[i])) for i in places]
        if strokes:
            look = {"color": TOKEN + ("faint" if faint else colour), "width": 1.2}
            found.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "meta": model,
                    "x": [value for x, _, _ in strokes for value in (x, x, None)],
                    "y": [value for _, one, other in strokes for value in (one, other, None)],
                    "line": look,
                    "hoverinfo": "skip",
                    "showlegend": False,
                }
            )
    return found


def _hover(panel: Panel, line: Line) -> list[str]:
    texts = []
    for index, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
        head = line.hover[index] if line.hover else f"{line.name}\n{panel.x_label}: {number(x)}"
        error = _uncertainty(line, index)
        own = [panel.model or line.name] if line.hover else []
        first, *rest = [*html.escape(head).split("\n"), f"{html.escape(panel.y_label)}: {number(y)}{error}"]
        texts.append("<br>".join([f"<b>{first}</b>", *(html.escape(name) for name in own), *rest]))
    return texts


def _uncertainty(line: Line, index: int) -> str:
    if line.low is None or line.high is None:
        return "" if line.error is None else f" ± {number(line.error[index], 2)}"
    said = f" (95 % interval {number(line.low[index])} to {number(line.high[index])})"
    return f"{said}<br>{FAINT}" if is_faint(line, index) else said


def _band_trace(line: Line, colour: str, model: int) -> dict[str, Any]:
    """The band as closed polygons, one per stretch without gaps."""
    low, high = edges(line) or ((), ())
    outline_x: list[float | None] = []
    outline_y: list[float | None] = []
    for stretch in _stretches(line, low, high):
        if outline_x:
            outline_x.append(None)
            outline_y.append(None)
        upper = [(line.x[i], high[i]) for i in stretch]
        lower = [(line.x[i], low[i]) for i in reversed(stretch)]
        for x, y in [*upper, *lower, upper[0]]:
            outline_x.append(rounded(x))
            outline_y.append(rounded(y))
    return {
        "type": "scatter",
        "mode": "lines",
        "meta": model,
        "x": outline_x,
        "y": outline_y,
        "fill": "toself",
        "fillcolor": f"{TOKEN}{colour}:band",
        "line": {"width": 0, "color": f"{TOKEN}{colour}:band"},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _stretches(line: Line, low: Sequence[float], high: Sequence[float]) -> list[list[int]]:
    found: list[list[int]] = [[]]
    for index, values in enumerate(zip(line.y, low, high, strict=True)):
        if all(map(math.isfinite, values)):
            found[-1].append(index)
        elif found[-1]:
            found.append([])
    return [stretch for stretch in found if stretch]
