"""Pieces of a Plotly specification that curves, maps and surfaces share."""

import html
import math
import textwrap
from collections.abc import Sequence
from typing import Any

from visionscope.report.spacing import unbroken
from visionscope.report.style import TOKEN

_DIGITS = 5
_LABEL_WIDTHS = {"x": 44, "y": 36}
"""Characters that find room along the axes of a small panel."""


def font(colour: str, size: int) -> dict[str, Any]:
    """A named colour and a size in pixels."""
    return {"color": TOKEN + colour, "size": size}


def axis(
    label: str, span: tuple[float, float] | None, *, along: str = "x", names: Sequence[str] = ()
) -> dict[str, Any]:
    """One axis with its label, over a span or, without one, wherever Plotly finds values; `names` are its ticks."""
    drawn: dict[str, Any] = {
        "title": {"text": _wrapped(label, _LABEL_WIDTHS[along]), "font": font("muted", 12), "standoff": 8},
        "tickfont": font("muted", 11),
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
        drawn["range"] = list(span)
    if names:
        drawn.update(tickmode="array", tickvals=list(range(len(names))), ticktext=[html.escape(one) for one in names])
    return drawn


def _wrapped(label: str, width: int) -> str:
    """Plotly cuts off an axis title that is longer than its axis."""
    return "<br>".join(html.escape(part) for part in textwrap.wrap(unbroken(label), width))


def boundary(x: float) -> dict[str, Any]:
    """A thin dotted line across the panel, where a stage begins."""
    line = {"color": TOKEN + "boundary", "width": 1, "dash": "dot"}
    return {"type": "line", "xref": "x", "yref": "y domain", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line}


def zero() -> dict[str, Any]:
    """A thin line across the panel at 0."""
    return {**boundary(0.0), "line": {"color": TOKEN + "muted", "width": 1}}


def plain(values: Sequence[float]) -> list[float | None]:
    """Values as JSON can hold them; a gap for those that are not finite."""
    return [rounded(value) for value in values]


def rounded(value: float) -> float | None:
    """Five significant digits, so that pages stay small; None for what is not finite."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
