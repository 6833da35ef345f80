"""Noise drawn: what each ring of frequencies costs."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.figure import Figure, Panel
from visionscope.core.grouping import images_text, rows_by_model
from visionscope.diagnostics.frequency_noise.question import FrequencyNoise
from visionscope.diagnostics.frequency_noise.results import summary
from visionscope.diagnostics.outcomes.figure import change_line


def figure(asked: FrequencyNoise, table: pa.Table) -> Figure:
    """What each ring costs in accuracy, a curve per model."""
    costs = summary(asked, table)
    panel = Panel(
        model="",
        title="",
        x_label="frequency of the noise (π rad/pixel)",
        y_label="change in accuracy (percentage points)",
        lines=tuple(change_line(model, rows, "frequency") for model, rows in rows_by_model(costs).items()),
    )
    return Figure(
        name="frequency_noise",
        title="Accuracy under noise of one frequency band",
        caption=_caption(costs.to_pylist(), images_text(costs)),
        panels=(panel,),
    )


def _caption(rows: Sequence[dict[str, Any]], images: str) -> str:
    first = rows[0]
    ends = min(row["coverage"] for row in rows)
    kind = "+eps or -eps per number" if first["noise"] == "sign" else "Gaussian"
    added = "normalised images" if first["space"] == "normalised" else "pixels of [0, 1]"
    energy = (
        f"a ring of more frequencies holds more of it (rms {min(row['rms'] for row in rows):.2f} to "
        f"{max(row['rms'] for row in rows):.2f} in normalised units; on small images it jumps from ring to ring)"
        if first["energy"] == "equal_eps"
        else f"scaled to one rms in all rings ({first['rms']:.2f} in normalised units)"
    )
    left = f" The rings hold {100 * ends:.0f} % of all frequencies; the others had no noise." if ends < 1 else ""
    return (
        f"Change in accuracy over {images} when noise of one ring of frequencies is added to the {added}, unclipped: "
        f"white noise ({kind}, eps {first['eps']:g}) cut to the ring; {energy}. Bars: 95 % intervals, paired over "
        f"images; grey: p (McNemar, Holm over the rings) of 0.05 or more.{left}"
    )
