"""Surfaces as Plotly specifications: contours, and the same turned into three dimensions."""

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from visionscope.core.figure import Panel, Surface
from visionscope.report.arrange import Limits
from visionscope.report.axes import font, plain
from visionscope.report.style import TOKEN

_CAMERA = {"eye": {"x": 1.45, "y": -1.7, "z": 1.0}, "center": {"x": 0, "y": 0, "z": -0.12}}
_HEIGHT = 0.75  # of a 3-D box, in shares of its longer side


def contour_spec(panel: Panel, surface: Surface, models: Sequence[str], common: Limits) -> tuple[Any, Any]:
    """Traces and changes of the layout of filled contours; holes show the ground.

    Args:
        panel: to which the surface belongs.
        surface: what to draw.
        models: the labels of all models of the report.
        common: the axes of its group.
    """
    low, high = common.z or (0.0, 1.0)
    levels = common.levels or (low, high)
    trace = {
        "type": "contour",
        **_values(panel, surface, models, common),
        "zmin": low,
        "zmax": high,
        "autocontour": False,
        "contours": {"start": low, "end": high, "size": levels[1] - levels[0], "coloring": "fill"},
        "line": {"color": TOKEN + "contour", "width": 0.7, "smoothing": 0.6},
        "connectgaps": False,
        "hoverongaps": False,
    }
    marks = _marks(surface)
    marks.update(type="scatter", mode="markers+text", textposition="top center")
    marks["marker"] = {"symbol": "circle", "size": 8, "color": "#ffffff", "line": {"color": "#000000", "width": 1.5}}
    marks["textfont"] = {**font("ink", 12), "shadow": "auto"}
    own = {axis: list(span) for axis, span in (("xaxis", common.x), ("yaxis", common.y)) if span is not None}
    square = {"showgrid": False, "constrain": "domain"}
    layout = {
        "plot_bgcolor": TOKEN + "hole",
        "xaxis": {**square, **({"range": own["xaxis"]} if own else {})},
        "yaxis": {**square, "scaleanchor": "x", "scaleratio": 1, **({"range": own["yaxis"]} if own else {})},
    }
    return [trace, marks] if surface.marks else [trace], layout


def turned_spec(panel: Panel, surface: Surface, models: Sequence[str], common: Limits) -> tuple[Any, Any]:
    """Traces and changes of the layout of the surface in three dimensions; what is above the scale is cut off.

    Args:
        panel: to which the surface belongs.
        surface: what to draw.
        models: the labels of all models of the report.
        common: the axes of its group.
    """
    low, high = common.z or (0.0, 1.0)
    step = common.levels[1] - common.levels[0] if common.levels else 1.0
    lines = {"show": True, "start": low, "end": high, "size": step, "color": TOKEN + "contour", "width": 1}
    trace = {
        "type": "surface",
        **_values(panel, surface, models, common),
        "cmin": low,
        "cmax": high,
        "contours": {"z": lines, "x": {"highlight": False}, "y": {"highlight": False}},
        "lighting": {"ambient": 0.75, "diffuse": 0.5, "specular": 0.05, "roughness": 0.9},
        "connectgaps": False,
    }
    marks = _marks(surface)
    marks.update(type="scatter3d", mode="markers+text", textfont=font("ink", 12))
    marks["z"] = plain([height(surface, x, y) for x, y, _ in surface.marks])
    marks["marker"] = {"symbol": "circle", "size": 5, "color": "#ffffff", "line": {"color": "#000000", "width": 2}}
    spans = [span or (-1.0, 1.0) for span in (common.x, common.y)]
    widths = [max(span[1] - span[0], 1e-12) for span in spans]
    shares = [width / max(widths) for width in widths]
    axis = {
        "tickfont": font("muted", 11),
        "gridcolor": TOKEN + "grid",
        "linecolor": TOKEN + "axis",
        "zeroline": False,
        "showbackground": False,
        "showspikes": False,
        "nticks": 6,
    }
    titles = (panel.x_label, panel.y_label, surface.z_label)
    scene: dict[str, Any] = {
        f"{name}axis": {**axis, "title": {"text": _short(title), "font": font("muted", 11)}, "range": list(span)}
        for name, title, span in zip("xyz", titles, (*spans, (low, high)), strict=True)
    }
    scene["bgcolor"] = TOKEN + "paper"
    scene["camera"] = _CAMERA
    scene["aspectmode"] = "manual"
    scene["aspectratio"] = {"x": shares[0], "y": shares[1], "z": _HEIGHT}
    # Turning stays when the theme changes.
    scene["uirevision"] = "stay"
    layout = {"scene": scene, "margin": {"l": 0, "r": 0, "t": 0, "b": 0}}
    return [trace, marks] if surface.marks else [trace], layout


def aspect(common: Limits) -> float:
    """Height of a contour panel in shares of its width.

    Args:
        common: its axes.
    """
    spans = [span[1] - span[0] if span is not None else 1.0 for span in (common.x, common.y)]
    return spans[1] / spans[0] if min(spans) > 0 else 1.0


def holes(surface: Surface) -> int:
    """How many values are not finite.

    Args:
        surface: any.
    """
    return sum(not math.isfinite(value) for row in surface.values for value in row)


def remarks(panels: Sequence[Panel], limits: Sequence[Limits]) -> list[str]:
    """What must be said of a group of surfaces: where their scale ends, and what is no number.

    Args:
        panels: one group, of surfaces or not.
        limits: the axes of each.
    """
    shown = [(panel.surface, common) for panel, common in zip(panels, limits, strict=True) if panel.surface is not None]
    said = []
    if any(common.clipped for _, common in shown):
        top = next(common.levels[-1] for _, common in shown if common.clipped)
        said.append(f"The scale ends at {_tick(top)}: higher places have its last colour, and are cut off in 3-D.")
    counts = [(panel.title, holes(panel.surface)) for panel in panels if panel.surface is not None]
    listed = ", ".join(f"{count} of {title}" for title, count in counts if count)
    return [*said, f"Grey holes are places without a finite value: {listed}."] if listed else said


def height(surface: Surface, x: float, y: float) -> float:
    """The value at any place, bilinear between the four around it; NaN where one of them is a hole or none is.

    Args:
        surface: any.
        x: abscissa.
        y: ordinate.
    """
    rows = [float(np.interp(x, surface.x, row, left=math.nan, right=math.nan)) for row in np.array(surface.values)]
    return float(np.interp(y, surface.y, rows, left=math.nan, right=math.nan))


def _values(panel: Panel, surface: Surface, models: Sequence[str], common: Limits) -> dict[str, Any]:
    name = html.escape(panel.model or panel.title)
    hover = (
        f"<b>{name}</b><br>{html.escape(panel.x_label)}: %{{x:.4g}}<br>{html.escape(panel.y_label)}: %{{y:.4g}}<br>"
        f"{html.escape(surface.z_label)}: %{{z:.4g}}<extra></extra>"
    )
    return {
        "meta": models.index(panel.model) if panel.model in models else -1,
        "x": plain(surface.x),
        "y": plain(surface.y),
        "z": [plain(row) for row in surface.values],
        "colorscale": TOKEN + "surface",
        "hovertemplate": hover,
        "colorbar": _bar(surface, common),
    }


def _bar(surface: Surface, common: Limits) -> dict[str, Any]:
    bar: dict[str, Any] = {"thickness": 10, "outlinewidth": 0, "tickfont": font("muted", 11), "xpad": 6}
    bar["title"] = {"text": html.escape(surface.z_label), "side": "right", "font": font("muted", 12)}
    if len(common.levels) < 2:
        return bar
    shown = common.levels[:: max(1, len(common.levels) // 6)]
    texts = [_tick(value) for value in shown]
    if common.clipped:
        shown = (*(value for value in shown if value < common.levels[-1]), common.levels[-1])
        texts = [*(_tick(value) for value in shown[:-1]), f"> {_tick(common.levels[-1])}"]
    return {**bar, "tickmode": "array", "tickvals": list(shown), "ticktext": texts}


def _tick(value: float) -> str:
    return f"{value:.4g}".replace("-", "\u2212")


def _marks(surface: Surface) -> dict[str, Any]:
    names = [html.escape(name) for _, _, name in surface.marks]
    return {
        "meta": -1,
        "x": [x for x, _, _ in surface.marks],
        "y": [y for _, y, _ in surface.marks],
        "text": names,
        "hovertemplate": "%{text}<extra></extra>",
        "showlegend": False,
    }


def _short(title: str) -> str:
    """Titles in a scene are never broken, and cut off: only what the caption above needs not repeat."""
    # Text drawn by WebGL knows no entities for quotes.
    return html.escape(
        title.split(" (")[0].split(",")[0].removeprefix("step along the ").removesuffix(" direction"), quote=False
    )
