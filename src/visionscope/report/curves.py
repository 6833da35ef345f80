"""Curves, bands and densities as Plotly traces."""

import html
import math
from collections.abc import Sequence
from typing import Any

from visionscope.core.types import Line, Panel
from visionscope.report.arrange import FEW_LINES, SHADED_KINDS
from visionscope.report.axes import plain, rounded
from visionscope.report.style import TOKEN, mark_of, model_token, number, shade_token


def curve_traces(panel: Panel, models: Sequence[str]) -> list[dict[str, Any]]:
    """Each curve of a panel, after its band.

    Args:
        panel: with curves.
        models: the labels of all models of the report.
    """
    data: list[dict[str, Any]] = []
    for line in panel.lines:
        label = panel.model or line.name
        index = models.index(label) if label in models else -1
        colour = model_token(max(index, 0)) if line.shade is None else shade_token(line.shade)
        if line.error is not None:
            data.append(_band_trace(line, colour, index))
        data.append(_line_trace(panel, line, colour, index))
    return data


def kind_shading(line: Line) -> list[dict[str, Any]]:
    """Backgrounds from the point before to the point itself, as in the paper's figure 8: attention and downsampling."""
    shapes = []
    for before, x, kind in zip(line.x, line.x[1:], line.kinds[1:], strict=False):
        if kind in SHADED_KINDS:
            box = {"type": "rect", "xref": "x", "yref": "y domain", "x0": before, "x1": x, "y0": 0, "y1": 1}
            shapes.append({**box, "fillcolor": f"{TOKEN}kind:{kind}", "line": {"width": 0}, "layer": "below"})
    return shapes


def _line_trace(panel: Panel, line: Line, colour: str, model: int) -> dict[str, Any]:
    kinds = line.kinds or (line.kind,) * len(line.x)
    marks = [mark_of(kind) for kind in kinds]
    # A curve of one point carries its mark at its end alone: 25 curves with marks all along can't be read.
    last = max((i for i, y in enumerate(line.y) if math.isfinite(y)), default=-1)
    sizes = [8 if line.kinds else 7 * (index == last) for index in range(len(line.x))]
    marked = bool(line.kinds or line.kind)
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines+markers" if marked else "lines",
        "name": html.escape(line.name),
        "meta": model,
        "x": plain(line.x),
        "y": plain(line.y),
        "line": {"color": TOKEN + colour, "width": 1.8 if line.kinds or not line.kind else 1.4},
        "marker": {
            "symbol": [mark.symbol for mark in marks],
            "size": sizes,
            "opacity": 1,
            "color": [TOKEN + (colour if mark.filled else "paper") for mark in marks],
            "line": {"color": TOKEN + colour, "width": 1.5},
        },
        "customdata": _hover(panel, line),
        "hovertemplate": "%{customdata}<extra></extra>",
        "connectgaps": False,
        "showlegend": False,
    }
    if not marked:
        del trace["marker"]
    if line.filled and len(panel.lines) <= FEW_LINES:
        trace.update(fill="tozeroy", fillcolor=f"{TOKEN}{colour}:band")
    return trace


def _hover(panel: Panel, line: Line) -> list[str]:
    texts = []
    for index, (x, y) in enumerate(zip(line.x, line.y, strict=True)):
        head = line.hover[index] if line.hover else f"{line.name}\n{panel.x_label}: {number(x)}"
        error = "" if line.error is None else f" ± {number(line.error[index], 2)}"
        own = [panel.model or line.name] if line.hover else []
        first, *rest = [*html.escape(head).split("\n"), f"{html.escape(panel.y_label)}: {number(y)}{error}"]
        texts.append("<br>".join([f"<b>{first}</b>", *(html.escape(name) for name in own), *rest]))
    return texts


def _band_trace(line: Line, colour: str, model: int) -> dict[str, Any]:
    """The band as closed polygons, one per stretch without gaps."""
    errors = line.error or ()
    outline_x: list[float | None] = []
    outline_y: list[float | None] = []
    for stretch in _stretches(line, errors):
        if outline_x:
            outline_x.append(None)
            outline_y.append(None)
        upper = [(line.x[i], line.y[i] + errors[i]) for i in stretch]
        lower = [(line.x[i], line.y[i] - errors[i]) for i in reversed(stretch)]
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


def _stretches(line: Line, errors: Sequence[float]) -> list[list[int]]:
    found: list[list[int]] = [[]]
    for index, (y, error) in enumerate(zip(line.y, errors, strict=True)):
        if math.isfinite(y) and math.isfinite(error):
            found[-1].append(index)
        elif found[-1]:
            found.append([])
    return [stretch for stretch in found if stretch]
