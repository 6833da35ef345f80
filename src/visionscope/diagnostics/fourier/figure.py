"""Spectra drawn: amplitude against frequency, the highest frequency against depth."""

from typing import Any

import pyarrow as pa

from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.grouping import depth_line, images_text, rows_by_model, stage_boundaries
from visionscope.diagnostics.fourier.question import Fourier


def figure(asked: Fourier, table: pa.Table) -> Figure:
    """Delta log-amplitude against frequency, a panel per model; the highest frequency against depth."""
    groups = rows_by_model(table)
    panels = [_spectrum_panel(model, rows) for model, rows in groups.items()]
    panels.append(_depth_panel(groups))
    axis = "labelled 0 to 1 as in the paper's notebook" if "paper" in _values(table, "labelling") else "true"
    return Figure(
        name="fourier",
        title="Fourier analysis of feature maps",
        caption=(
            "Log-amplitude (natural logarithm) along the half-diagonal of the spectrum minus that at frequency 0, "
            f"mean over channels and {images_text(table)}; the logarithm is taken before the mean. "
            f"Frequencies are {axis}. Bands: one standard error over images. "
            "High frequency is the last bin below Nyquist; lines break where the grid or the number of channels "
            "changes, across which no change is meaningful."
        ),
        panels=tuple(panels),
    )


def _values(table: pa.Table, name: str) -> set[str]:
    return set(table.column(name).to_pylist())


def _spectrum_panel(model: str, rows: list[dict[str, Any]]) -> Panel:
    by_point: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["profile"] == "diagonal" and row["delta_log_amplitude"] is not None:
            by_point.setdefault(row["point"], []).append(row)
    lines = tuple(
        Line(
            name=point,
            x=tuple(row["frequency"] for row in own),
            y=tuple(row["delta_log_amplitude"] for row in own),
            error=_errors(own),
            shade=own[0]["depth"],
            kind=own[0]["kind"],
            points=(point,),
        )
        for point, own in by_point.items()
    )
    return Panel(
        model=model,
        title=model,
        x_label="frequency (π rad/pixel)",
        y_label="Δ log-amplitude",
        lines=lines,
        group="spectrum",
    )


def _depth_panel(groups: dict[str, list[dict[str, Any]]]) -> Panel:
    lines = []
    boundaries: tuple[float, ...] = ()
    for model, rows in groups.items():
        own = [row for row in rows if row["high_frequency"] and row["delta_log_amplitude"] is not None]
        lines.append(depth_line(model, own, "delta_log_amplitude", ("grid_height", "grid_width", "channels"), _said))
        boundaries = stage_boundaries([row["depth"] for row in own], [row["stage"] for row in own])
    return Panel(
        model="",
        title="High-frequency amplitude",
        x_label="normalized depth",
        y_label="Δ log-amplitude at the last frequency below Nyquist",
        lines=tuple(lines),
        group="depth",
        boundaries=boundaries if len(groups) == 1 else (),
    )


def _said(row: dict[str, Any]) -> str:
    grid = f"{row['grid_height']}x{row['grid_width']}"
    return f"{row['point']} ({row['kind']}), grid {grid}, {row['frequency']:.3g} π rad/pixel"


def _errors(rows: list[dict[str, Any]]) -> tuple[float, ...] | None:
    errors = tuple(row["standard_error"] for row in rows)
    return None if None in errors else errors
