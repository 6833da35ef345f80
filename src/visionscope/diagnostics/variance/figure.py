"""Variances drawn against depth."""

import math
from typing import Any

import pyarrow as pa

from visionscope.core.figure import Figure, Panel
from visionscope.core.grouping import depth_line, images_text, rows_by_model, stage_boundaries
from visionscope.diagnostics.variance.question import Variance


def figure(asked: Variance, table: pa.Table) -> Figure:
    """Variance against depth, a panel per model."""
    panels = tuple(_panel(model, rows) for model, rows in rows_by_model(table).items())
    said = [
        f"Unbiased variance over the positions of a feature map, mean over channels and {images_text(table)}.",
    ]
    if any(panel.lines[0].error is not None for panel in panels):
        said.append("Bands: one standard error over images.")
    if any(panel.boundaries for panel in panels):
        where = "Vertical lines, where models stand side by side" if len(panels) > 1 else "Vertical lines"
        said.append(f"{where}: a stage begins.")
    if any(math.isnan(y) for panel in panels for y in panel.lines[0].y):
        said.append("Lines break where the grid or the number of channels changes.")
    return Figure(name="variance", title="Feature-map variance", caption=" ".join(said), panels=panels)


def _panel(model: str, rows: list[dict[str, Any]]) -> Panel:
    own = [row for row in rows if row["variance"] is not None]
    line = depth_line(model, own, "variance", ("grid_height", "grid_width", "channels"), _said)
    return Panel(
        model=model,
        title=model,
        x_label="normalized depth",
        y_label="feature-map variance",
        lines=(line,),
        boundaries=stage_boundaries([row["depth"] for row in own], [row["stage"] for row in own]),
    )


def _said(row: dict[str, Any]) -> str:
    return f"{row['point']} ({row['kind']})"
