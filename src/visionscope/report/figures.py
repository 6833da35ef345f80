"""Plain figure descriptions drawn with Plotly: one specification per panel, shared by the page and the notebook."""

import html
import itertools
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from visionscope.core.types import Figure, Heat, Line, Panel
from visionscope.report.arrange import (
    SHADED_KINDS,
    Limits,
    groups,
    kinds_drawn,
    limits,
    set_apart,
    stage_labels,
    stage_ticks,
)
from visionscope.report.paper import to_matplotlib
from visionscope.report.style import TOKEN, mark_of, model_token, number, palette, resolve, shade_token

__all__ = ["panel_spec", "to_matplotlib", "to_plotly"]

_ROW_HEIGHT = 360
_DIGITS = 5
_LABEL_WIDTH = 32
_LEAST_ACROSS = 0.06
_LEAST_LEVEL = 0.2


def to_plotly(figure: Figure) -> Any:
    """The figure as one Plotly figure, for notebooks: groups below one another, the panels of a group side by side.

    Args:
        figure: what a diagnostic's `figure(table)` returns.

    Returns:
        A `plotly.graph_objects.Figure`.
    """
    drawn = set_apart(figure, only_crowded=True)
    rows = groups(drawn)
    models = models_of([figure])
    data: list[Any] = []
    layout: dict[str, Any] = {
        "title": {"text": html.escape(figure.title), "x": 0, "xref": "paper"},
        "height": _ROW_HEIGHT * len(rows) + 90,
        "paper_bgcolor": TOKEN + "paper",
        "plot_bgcolor": TOKEN + "paper",
        "font": _font("ink", 12),
        "margin": {"l": 60, "r": 20, "t": 80, "b": 60},
        "annotations": [],
        "shapes": [],
        "legend": {"groupclick": "toggleitem"},
    }
    axis = 0
    for row, panels in enumerate(rows):
        common = limits(panels)
        for column, panel in enumerate(panels):
            axis += 1
            box = _box(row, len(rows), column, len(panels))
            _place(panel_spec(panel, models, common), axis, box, data, layout)
            layout["annotations"].append(_heading(panel.title, box))
    data.extend(_legend_entries(drawn))
    return go.Figure(resolve({"data": data, "layout": layout}, palette("light")))


def models_of(figures: Sequence[Figure]) -> tuple[str, ...]:
    """The labels of all models that figures show, in order of appearance.

    Args:
        figures: any figures.
    """
    panels = [panel for figure in figures for panel in figure.panels]
    names = ([panel.model] if panel.model else [line.name for line in panel.lines] for panel in panels)
    return tuple(dict.fromkeys(name for some in names for name in some))


def panel_spec(panel: Panel, models: Sequence[str], common: Limits) -> dict[str, Any]:
    """One panel as Plotly's JSON, with named colours (see `style.resolve`) and every text escaped.

    Each trace's `meta` holds the index of its model in `models`, or -1, by which the page shows and hides it.

    Args:
        panel: curves or a map.
        models: the labels of all models of the report.
        common: the axes of the panel's group.
    """
    layout: dict[str, Any] = {
        "paper_bgcolor": TOKEN + "paper",
        "plot_bgcolor": TOKEN + "paper",
        "font": _font("ink", 12),
        "margin": {"l": 58, "r": 14, "t": 10, "b": 46},
        "showlegend": False,
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
        "xaxis": _axis(panel.x_label, common.x),
        "yaxis": _axis(panel.y_label, common.y),
        "shapes": [_boundary(x) for x in panel.boundaries],
    }
    if panel.heat is not None:
        trace = _heat_trace(panel, panel.heat, models, common)
        _heat_axes(panel.heat, layout)
        return {"data": [trace], "layout": layout}
    if len(panel.lines) == 1 and panel.lines[0].kinds:
        layout["shapes"] = _kind_shading(panel.lines[0]) + layout["shapes"]
    data: list[dict[str, Any]] = []
    for line in panel.lines:
        label = panel.model or line.name
        index = models.index(label) if label in models else -1
        colour = model_token(max(index, 0)) if line.shade is None else shade_token(line.shade)
        if line.error is not None:
            data.append(_band_trace(line, colour, index))
        data.append(_line_trace(panel, line, colour, index))
    return {"data": data, "layout": layout}


def _font(colour: str, size: int) -> dict[str, Any]:
    return {"color": TOKEN + colour, "size": size}


def _axis(label: str, span: tuple[float, float] | None) -> dict[str, Any]:
    axis: dict[str, Any] = {
        "title": {"text": _wrapped(label), "font": _font("muted", 12), "standoff": 8},
        "tickfont": _font("muted", 11),
        "gridcolor": TOKEN + "grid",
        "linecolor": TOKEN + "axis",
        "showline": True,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": TOKEN + "axis",
        "automargin": True,
    }
    if span is not None:
        axis["range"] = list(span)
    return axis


def _wrapped(label: str) -> str:
    """Plotly cuts off an axis title that is longer than its axis."""
    return "<br>".join(html.escape(part) for part in textwrap.wrap(label, _LABEL_WIDTH))


def _boundary(x: float) -> dict[str, Any]:
    line = {"color": TOKEN + "boundary", "width": 1, "dash": "dot"}
    return {"type": "line", "xref": "x", "yref": "y domain", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line}


def _kind_shading(line: Line) -> list[dict[str, Any]]:
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
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": html.escape(line.name),
        "meta": model,
        "x": _plain(line.x),
        "y": _plain(line.y),
        "line": {"color": TOKEN + colour, "width": 1.8 if line.kinds else 1.4},
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
            outline_x.append(_round(x))
            outline_y.append(_round(y))
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


def _heat_trace(panel: Panel, heat: Heat, models: Sequence[str], common: Limits) -> dict[str, Any]:
    low, high = common.z or (0.0, 1.0)
    trace: dict[str, Any] = {
        "type": "heatmap",
        "meta": models.index(panel.model) if panel.model in models else -1,
        "z": [_plain(row) for row in heat.values],
        "x": _names(heat.names_x),
        "y": _names(heat.names_y),
        "colorscale": TOKEN + "heat",
        "zmin": low,
        "zmax": high,
        "hoverongaps": False,
        "hovertemplate": "<b>%{y}</b><br><b>%{x}</b><br>%{z:.3f}<extra></extra>",
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickfont": _font("muted", 11), "xpad": 6, "nticks": 6},
    }
    if heat.error is not None:
        trace["customdata"] = [_plain(row) for row in heat.error]
        trace["hovertemplate"] = "<b>%{y}</b><br><b>%{x}</b><br>%{z:.3f} ± %{customdata:.2g}<extra></extra>"
    return trace


def _names(names: Sequence[str]) -> list[str]:
    """Category names must differ; a repeated one gets invisible spaces."""
    seen: dict[str, int] = {}
    listed = []
    for name in names:
        count = seen.get(name, 0)
        seen[name] = count + 1
        listed.append(html.escape(name) + "\u200b" * count)
    return listed


def _heat_axes(heat: Heat, layout: dict[str, Any]) -> None:
    layout["plot_bgcolor"] = TOKEN + "hole"
    ticks = stage_ticks(heat)
    axes = (("xaxis", heat.names_x, _LEAST_ACROSS, ticks[0]), ("yaxis", heat.names_y, 0.05, ticks[1]))
    for key, names, least, begins in axes:
        labels = stage_labels(begins, len(names), least=least)
        layout[key].update(type="category", showgrid=False, range=[-0.5, len(names) - 0.5], tickangle=0, ticks="")
        layout[key].update(tickmode="array", tickvals=[position for position, _ in labels])
        if key == "xaxis" and any(share < _LEAST_LEVEL for share in _shares(begins, len(names))):
            # Labels of narrow stages would run into each other.
            layout[key]["tickangle"] = -60
        layout[key].update(ticktext=[html.escape(label) for _, label in labels])
        for position, _ in begins:
            if position > 0:
                layout["shapes"].append(_stage_line(key[0], position - 0.5))


def _shares(begins: Sequence[tuple[int, str]], count: int) -> list[float]:
    return [(end - start) / count for start, end in itertools.pairwise([*(position for position, _ in begins), count])]


def _stage_line(axis: str, at: float) -> dict[str, Any]:
    other = "y" if axis == "x" else "x"
    ends = {f"{axis}0": at, f"{axis}1": at, f"{other}0": 0, f"{other}1": 1}
    references = {f"{axis}ref": axis, f"{other}ref": f"{other} domain"}
    return {"type": "line", **references, **ends, "line": {"color": "rgba(255, 255, 255, 0.55)", "width": 1}}


def _plain(values: Sequence[float]) -> list[float | None]:
    return [_round(value) for value in values]


def _round(value: float) -> float | None:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _box(row: int, rows: int, column: int, columns: int) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a panel, in shares of the figure."""
    gap_x, gap_y = min(0.08, 0.3 / columns), min(0.16, 0.4 / rows)
    width = (1 - gap_x * (columns - 1)) / columns
    height = (1 - gap_y * (rows - 1)) / rows
    left, top = column * (width + gap_x), 1 - row * (height + gap_y)
    return left, min(left + width, 1.0), max(top - height, 0.0), top


def _place(
    spec: dict[str, Any], axis: int, box: tuple[float, float, float, float], data: list[Any], layout: dict[str, Any]
) -> None:
    """Moves a panel's traces, axes and shapes to a place of its own in a larger figure."""
    number_of = "" if axis == 1 else str(axis)
    left, right, bottom, top = box
    layout[f"xaxis{number_of}"] = {**spec["layout"]["xaxis"], "domain": [left, right], "anchor": f"y{number_of}"}
    layout[f"yaxis{number_of}"] = {**spec["layout"]["yaxis"], "domain": [bottom, top], "anchor": f"x{number_of}"}
    for trace in spec["data"]:
        placed = {**trace, "xaxis": f"x{number_of}", "yaxis": f"y{number_of}"}
        if trace["type"] == "heatmap":
            bar = {"x": right, "xanchor": "left", "y": bottom, "yanchor": "bottom", "len": top - bottom}
            placed["colorbar"] = {**trace["colorbar"], **bar}
        data.append(placed)
    for shape in spec["layout"]["shapes"]:
        renamed = {key: shape[key].replace(key[0], f"{key[0]}{number_of}", 1) for key in ("xref", "yref")}
        layout["shapes"].append({**shape, **renamed})


def _heading(title: str, box: tuple[float, float, float, float]) -> dict[str, Any]:
    place = {"xref": "paper", "yref": "paper", "x": box[0], "y": box[3], "xanchor": "left", "yanchor": "bottom"}
    return {**place, "text": f"<b>{html.escape(title)}</b>", "showarrow": False, "font": _font("ink", 13)}


def _legend_entries(figure: Figure) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    lines = [line for panel in figure.panels if not panel.model for line in panel.lines]
    for index, name in enumerate(dict.fromkeys(line.name for line in lines)):
        entries.append(
            _legend_entry(html.escape(name), {"mode": "lines", "line": {"color": TOKEN + model_token(index)}})
        )
    for kind in kinds_drawn(figure.panels):
        mark = mark_of(kind)
        fill = TOKEN + ("muted" if mark.filled else "paper")
        marker = {"symbol": mark.symbol, "size": 8, "color": fill, "line": {"color": TOKEN + "muted", "width": 1.5}}
        entries.append(_legend_entry(mark.words, {"mode": "markers", "marker": marker}))
    return entries


def _legend_entry(name: str, look: dict[str, Any]) -> dict[str, Any]:
    return {"type": "scatter", "x": [None], "y": [None], "name": name, "hoverinfo": "skip", **look}
