"""The plane of frequencies, drawn whole: the half that was measured, and its mirror image."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.figure import Figure, Heat, Panel
from visionscope.core.grouping import images_text, rows_by_model
from visionscope.diagnostics.fourier_heatmap.question import FourierHeatmap
from visionscope.diagnostics.outcomes.statistics import summary
from visionscope.numerics.frequencies import canonical


def figure(asked: FourierHeatmap, table: pa.Table) -> Figure:
    """The error under each vector, zero frequency in the centre, a map per model."""
    costs = summary(asked, table)
    norms = sorted({row["norm"] for row in costs.to_pylist()})
    caption = (
        f"Error in % over {images_text(costs)}, each with one real Fourier vector added to its pixels of [0, 1], "
        f"clipped to them: norm {' or '.join(f'{norm:.3g}' for norm in norms)} in each channel, sign drawn for "
        "each image and channel. Zero frequency is in the centre; (i, j) and (-i, -j) are one vector. Titles give "
        "the error on the clean images."
    )
    panels = tuple(_map(model, rows) for model, rows in rows_by_model(costs).items())
    return Figure(name="fourier_heatmap", title="Fourier heat map", caption=caption, panels=panels)


def _map(model: str, rows: Sequence[Mapping[str, Any]]) -> Panel:
    size = rows[0]["height"], rows[0]["width"]
    errors = {(row["row_frequency"], row["column_frequency"]): 100 * (1 - row["accuracy"]) for row in rows}
    up, across = (sorted({abs(at[axis]) for at in errors}) for axis in (0, 1))
    vertical, horizontal = ([*(-k for k in reversed(some) if k), *some] for some in (up, across))
    values = tuple(tuple(errors.get(canonical(size, (i, j)), math.nan) for j in horizontal) for i in vertical)
    clean = rows[0]["accuracy"] - rows[0]["change"] / 100
    heat = Heat(
        values=values,
        names_x=tuple(f"horizontal {j:d}" for j in horizontal),
        names_y=tuple(f"vertical {i:d}" for i in vertical),
    )
    return Panel(
        model=model,
        title=f"{model}: error in % ({100 * (1 - clean):.1f} without noise)",
        x_label=f"periods per width, {horizontal[0]:d} to {horizontal[-1]:d}",
        y_label=f"periods per height, {vertical[0]:d} to {vertical[-1]:d}",
        heat=heat,
        group="fourier_heatmap",
    )
