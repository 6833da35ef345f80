"""Maps of values between points as Plotly traces."""

import html
import itertools
from collections.abc import Sequence
from typing import Any

from visionscope.core.figure import Heat, Panel
from visionscope.report.arrange import Limits, stage_labels, stage_ticks
from visionscope.report.axes import font, plain
from visionscope.report.style import TOKEN

_LEAST_ACROSS = 0.06
_LEAST_LEVEL = 0.2


def heat_trace(panel: Panel, heat: Heat, models: Sequence[str], common: Limits) -> dict[str, Any]:
    """A map as a Plotly trace.

    Args:
        panel: to which the map belongs.
        heat: what to draw.
        models: the labels of all models of the report.
        common: the colour scale of its group.
    """
    low, high = common.z or (0.0, 1.0)
    trace: dict[str, Any] = {
        "type": "heatmap",
        "meta": models.index(panel.model) if panel.model in models else -1,
        "z": [plain(row) for row in heat.values],
        "x": _names(heat.names_x),
        "y": _names(heat.names_y),
        "colorscale": TOKEN + "heat",
        "zmin": low,
        "zmax": high,
        "hoverongaps": False,
        "hovertemplate": "<b>%{y}</b><br><b>%{x}</b><br>%{z:.3f}<extra></extra>",
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickfont": font("muted", 11), "xpad": 6, "nticks": 6},
    }
    if heat.error is not None:
        trace["customdata"] = [plain(row) for row in heat.error]
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


def heat_axes(heat: Heat, layout: dict[str, Any]) -> None:
    """Gives a layout the axes of a map: names of stages, and lines where they begin.

    Args:
        heat: what is drawn.
        layout: of the panel; changed in place.
    """
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
