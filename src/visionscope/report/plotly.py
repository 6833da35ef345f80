"""Plain figure descriptions drawn with Plotly: one specification per panel, shared by the page and the notebook."""

import dataclasses
import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from visionscope.core.figure import Figure, Panel
from visionscope.report.arrange import Limits, axes_of, groups, kinds_drawn, kinds_shaded, set_apart, spans_zero
from visionscope.report.axes import axis, boundary, font, zero
from visionscope.report.curves import FAINT, curve_traces, kind_shading
from visionscope.report.lines import has_faint, in_legend, measured, series_of, title_of
from visionscope.report.maps import heat_axes, heat_trace
from visionscope.report.matplotlib import to_matplotlib
from visionscope.report.pictures import picture_source
from visionscope.report.style import SERIES_DASHES, TOKEN, mark_of, model_token, palette, resolve, series_mark
from visionscope.report.surfaces import contour_spec, turned_spec

__all__ = ["panel_spec", "to_matplotlib", "to_plotly"]

_ROW_HEIGHT = 360


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
        "font": font("ink", 12),
        "margin": {"l": 60, "r": 20, "t": 80, "b": 60},
        "annotations": [],
        "shapes": [],
        "legend": {"groupclick": "toggleitem"},
    }
    turned: list[_Turned] = []
    place = 0
    for row, panels in enumerate(rows):
        for column, (panel, common) in enumerate(zip(panels, axes_of(panels), strict=True)):
            place += 1
            box = _box(row, len(rows), column, len(panels))
            if panel.surface is not None:
                turned.append(_Turned(len(data), place, box, panel_spec(panel, models, common, turned=True)))
            if panel.pictures:
                _place_pictures(panel, box, layout)
                layout["annotations"].append(_heading(title_of(panel), box))
                continue
            spec = panel_spec(panel, models, common, series=series_of(panels))
            if panel.surface is not None and column:
                # The axes and the scale are those of the first and the last in the row.
                del spec["layout"]["yaxis"]["title"]
            if panel.surface is not None and column < len(panels) - 1:
                spec["data"][0]["showscale"] = False
            _place(spec, place, box, data, layout)
            layout["annotations"].append(_heading(title_of(panel), box))
    if turned:
        layout["updatemenus"] = [_switch(turned, data, layout["shapes"])]
        layout["legend"] = {"orientation": "h", "y": -0.06}
    data.extend(_legend_entries(drawn))
    return go.Figure(resolve({"data": data, "layout": layout}, palette("light")))


def models_of(figures: Sequence[Figure]) -> tuple[str, ...]:
    """The labels of all models that figures show, in order of appearance.

    Args:
        figures: any figures.
    """
    panels = [panel for figure in figures for panel in figure.panels]
    names = ([panel.model] if panel.model else [line.name for line in measured(panel)] for panel in panels)
    return tuple(dict.fromkeys(name for some in names for name in some))


def panel_spec(
    panel: Panel,
    models: Sequence[str],
    common: Limits,
    *,
    turned: bool = False,
    series: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """One panel as Plotly's JSON, with named colours (see `style.resolve`) and every text escaped.

    Each trace's `meta` holds the index of its model in `models`, or -1, by which the page shows and hides it. Beside
    `data` and `layout`, `points` has for each trace of curves the names of the network's points that it shows, or None.

    Args:
        panel: curves, a map or a surface.
        models: the labels of all models of the report.
        common: the panel's axes, see `arrange.axes_of`.
        turned: draws a surface in three dimensions.
        series: numbers of a model's curves, see `arrange.series_of`.
    """
    layout: dict[str, Any] = {
        "paper_bgcolor": TOKEN + "paper",
        "plot_bgcolor": TOKEN + "paper",
        "font": font("ink", 12),
        "margin": {"l": 58, "r": 14, "t": 10, "b": 46},
        "showlegend": False,
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
        "xaxis": axis(panel.x_label, common.x, names=panel.x_names),
        "yaxis": axis(panel.y_label, common.y, along="y"),
        "shapes": [boundary(x) for x in panel.boundaries],
    }
    if panel.heat is not None:
        trace = heat_trace(panel, panel.heat, models, common)
        heat_axes(panel.heat, layout)
        return {"data": [trace], "layout": layout}
    if panel.surface is not None:
        if turned:
            del layout["xaxis"], layout["yaxis"], layout["shapes"]
        data, own = (turned_spec if turned else contour_spec)(panel, panel.surface, models, common)
        for key, value in own.items():
            layout[key] = {**layout[key], **value} if key.endswith("axis") else value
        return {"data": data, "layout": layout}
    if kinds_shaded([panel]):
        layout["shapes"] = kind_shading(panel.lines[0]) + layout["shapes"]
    if spans_zero(panel, common):
        layout["shapes"] = [*layout["shapes"], zero()]
    data = curve_traces(panel, models, series)
    return {"points": [trace.pop("points", None) for trace in data], "data": data, "layout": layout}


def _box(row: int, rows: int, column: int, columns: int) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a panel, in shares of the figure."""
    gap_x, gap_y = min(0.08, 0.3 / columns), min(0.16, 0.4 / rows)
    width = (1 - gap_x * (columns - 1)) / columns
    height = (1 - gap_y * (rows - 1)) / rows
    left, top = column * (width + gap_x), 1 - row * (height + gap_y)
    return left, min(left + width, 1.0), max(top - height, 0.0), top


@dataclasses.dataclass(frozen=True)
class _Turned:
    """A surface's specification in three dimensions, where its contours stand in a larger figure.

    Attributes:
        first: place of the first of its traces among all.
        place: number of its axes.
        box: left, right, bottom and top.
        spec: from `panel_spec`.
    """

    first: int
    place: int
    box: tuple[float, float, float, float]
    spec: dict[str, Any]


def _switch(turned: Sequence[_Turned], data: Sequence[dict[str, Any]], shapes: list[dict[str, Any]]) -> dict[str, Any]:
    """Two buttons for all surfaces of a figure; the traces change their type, so that empty axes never show."""
    flat: list[dict[str, Any]] = []
    deep: list[dict[str, Any]] = []
    places: list[int] = []
    scenes: dict[str, Any] = {}
    for one in turned:
        name = f"scene{one.place}"
        left, right, bottom, top = one.box
        scenes[name] = {**one.spec["layout"]["scene"], "domain": {"x": [left, right], "y": [bottom, top]}}
        for offset, trace in enumerate(one.spec["data"]):
            places.append(one.first + offset)
            flat.append(data[one.first + offset])
            deep.append({**trace, "scene": name})
    looks = {}
    for name, traces in (("contour", flat), ("3-D", deep)):
        keys = ("type", "contours", "scene", "marker", "z")
        looks[name] = {key: [trace.get(key) for trace in traces] for key in keys}
    colours = {key: [trace.get(key) for trace in deep] for key in ("cmin", "cmax")}
    looks["3-D"].update(colours)
    axes = [f"{axis}axis{_number(one.place)}.visible" for one in turned for axis in "xy"]
    hidden = [shape for shape in shapes if shape.get("fillcolor") == TOKEN + "hole"]
    rest = [shape for shape in shapes if shape not in hidden]
    layouts = {
        "contour": {**dict.fromkeys(axes, True), "shapes": shapes},
        "3-D": {**scenes, **dict.fromkeys(axes, False), "shapes": rest},
    }
    buttons = [{"label": name, "method": "update", "args": [looks[name], layouts[name], places]} for name in looks]
    # Left of Plotly's own buttons.
    place = {"x": 0.6, "xanchor": "right", "y": 1, "yanchor": "bottom", "pad": {"b": 34}}
    return {"type": "buttons", "direction": "right", "buttons": buttons, "showactive": True, **place}


def _place(
    spec: dict[str, Any], axis: int, box: tuple[float, float, float, float], data: list[Any], layout: dict[str, Any]
) -> None:
    """Moves a panel's traces, axes and shapes to a place of its own in a larger figure."""
    number_of = _number(axis)
    left, right, bottom, top = box
    layout[f"xaxis{number_of}"] = {**spec["layout"]["xaxis"], "domain": [left, right], "anchor": f"y{number_of}"}
    layout[f"yaxis{number_of}"] = {**spec["layout"]["yaxis"], "domain": [bottom, top], "anchor": f"x{number_of}"}
    if "scaleanchor" in spec["layout"]["yaxis"]:
        layout[f"yaxis{number_of}"]["scaleanchor"] = f"x{number_of}"
        ground = {"x0": 0, "x1": 1, "y0": 0, "y1": 1, "line": {"width": 0}, "layer": "below"}
        domain = {"xref": f"x{number_of} domain", "yref": f"y{number_of} domain"}
        layout["shapes"].append({"type": "rect", **domain, **ground, "fillcolor": TOKEN + "hole"})
    for trace in spec["data"]:
        placed = {**trace, "xaxis": f"x{number_of}", "yaxis": f"y{number_of}"}
        if "colorbar" in trace:
            bar = {"x": right, "xanchor": "left", "y": bottom, "yanchor": "bottom", "len": top - bottom}
            placed["colorbar"] = {**trace["colorbar"], **bar}
        data.append(placed)
    for shape in spec["layout"]["shapes"]:
        renamed = {key: shape[key].replace(key[0], f"{key[0]}{number_of}", 1) for key in ("xref", "yref")}
        layout["shapes"].append({**shape, **renamed})


def _place_pictures(panel: Panel, box: tuple[float, float, float, float], layout: dict[str, Any]) -> None:
    """A contact sheet in a place of a larger figure: images with their titles below."""
    left, right, bottom, top = box
    columns, rows = max(map(len, panel.pictures)), len(panel.pictures)
    width, height = (right - left) / columns, (top - bottom) / rows
    for row, pictures in enumerate(panel.pictures):
        for column, picture in enumerate(pictures):
            x, y = left + column * width, top - row * height
            paper = {"xref": "paper", "yref": "paper", "x": x}
            size = {"y": y, "sizex": 0.94 * width, "sizey": 0.8 * height, "source": picture_source(picture)}
            layout.setdefault("images", []).append({**paper, **size})
            below = {"y": y - 0.8 * height, "xanchor": "left", "yanchor": "top", "showarrow": False}
            text = {"text": html.escape(picture.title), "font": font("muted", 9)}
            layout["annotations"].append({**paper, **below, **text})


def _number(axis: int) -> str:
    return "" if axis == 1 else str(axis)


def _heading(title: str, box: tuple[float, float, float, float]) -> dict[str, Any]:
    place = {"xref": "paper", "yref": "paper", "x": box[0], "y": box[3], "xanchor": "left", "yanchor": "bottom"}
    return {**place, "text": f"<b>{html.escape(title)}</b>", "showarrow": False, "font": font("ink", 13)}


def _legend_entries(figure: Figure) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    models = models_of([figure])
    for name in dict.fromkeys(line.name for panel in figure.panels for line in in_legend(panel)):
        look = {"color": TOKEN + model_token(models.index(name))}
        entries.append(_legend_entry(html.escape(name), {"mode": "lines", "line": look}))
    for name, place in series_of(figure.panels).items():
        dash = {"color": TOKEN + "muted", "dash": SERIES_DASHES[place % len(SERIES_DASHES)][0]}
        marker = {"symbol": series_mark(place).symbol, "size": 7, "color": TOKEN + "muted"}
        entries.append(_legend_entry(html.escape(name), {"mode": "lines+markers", "line": dash, "marker": marker}))
    if has_faint(figure.panels):
        marker = {"symbol": "circle-open", "size": 7, "color": TOKEN + "faint"}
        entries.append(_legend_entry(f"grey: {FAINT}", {"mode": "markers", "marker": marker}))
    for kind in kinds_drawn(figure.panels):
        mark = mark_of(kind)
        fill = TOKEN + ("muted" if mark.filled else "paper")
        marker = {"symbol": mark.symbol, "size": 8, "color": fill, "line": {"color": TOKEN + "muted", "width": 1.5}}
        entries.append(_legend_entry(mark.words, {"mode": "markers", "marker": marker}))
    return entries


def _legend_entry(name: str, look: dict[str, Any]) -> dict[str, Any]:
    return {"type": "scatter", "x": [None], "y": [None], "name": name, "hoverinfo": "skip", **look}
