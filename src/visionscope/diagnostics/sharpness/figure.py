"""Sharpness drawn: a mark per batch and the mean with its interval, model beside model, a panel per kind."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.finding import counted, number
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.second_order.parameters import parameters_text
from visionscope.diagnostics.sharpness.question import AVERAGE, CRITICAL, KINDS, WORST, Sharpness
from visionscope.diagnostics.sharpness.results import summary

Row = Mapping[str, Any]
_LABELS = {
    AVERAGE: ("Random changes", "rise of the NLL (nat)"),
    WORST: ("Worst change", "rise of the NLL (nat)"),
    CRITICAL: ("Along the negative gradient", "critical sharpness (nat per squared weight)"),
}


def figure(asked: Sharpness, table: pa.Table) -> Figure:
    """Each kind in a panel of its own, the models side by side."""
    models = rows_by_model(summary(asked, table))
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for rows in models.values() for row in rows)]
    return Figure(
        name="sharpness",
        title="Sharpness of the loss",
        caption=_caption(models, table),
        panels=tuple(_panel(kind, models) for kind in kinds),
    )


def _panel(kind: str, models: Mapping[str, Sequence[Row]]) -> Panel:
    title, label = _LABELS[kind]
    lines = []
    for place, (model, rows) in enumerate(models.items()):
        known = [row for row in rows if row["kind"] == kind and row["value"] is not None]
        lines.append(
            Line(
                name=model,
                x=tuple(float(place) for _ in known),
                y=tuple(row["value"] for row in known),
                low=tuple(row["low"] for row in known),
                high=tuple(row["high"] for row in known),
                hover=tuple(f"{model}: {counted(row['batches'], 'batch', 'batches')}" for row in known),
                role="points",
            )
        )
    return Panel(
        model="", title=title, x_label="", y_label=label, lines=tuple(lines), group=kind, x_names=tuple(models)
    )


def _caption(models: Mapping[str, Sequence[Row]], table: pa.Table) -> str:
    said = []
    for kind in KINDS:
        rows = [row for own in models.values() for row in own if row["kind"] == kind]
        if not rows:
            continue
        radii = " or ".join(sorted({number(100 * row["radius"]) for row in rows if row["radius"] is not None}))
        bounds = " or ".join(sorted({_bound(row["norm"]) for row in rows}))
        said.append(
            {
                AVERAGE: f"Random changes: normal, standard deviation {radii} % of each weight's magnitude.",
                WORST: f"Worst change: {bounds} at most {radii} %, a lower bound.",
                CRITICAL: "Critical sharpness: 2 / the first step along the negative gradient at which the NLL rises.",
            }[kind]
        )
    every = [row for own in models.values() for row in own]
    counts = " or ".join(
        sorted({f"{counted(row['batches'], 'batch', 'batches')} of {counted(row['images'], 'image')}" for row in every})
    )
    ways = ", ".join(sorted({row["augmentation"] for row in every}))
    lost = [f"{row['model']} has no {row['kind']}: {row['note']}." for row in every if row["value"] is None]
    said.append(f"Means over {counts} (augmentation: {ways}) with 95 % intervals (Student's t over batches).")
    return " ".join([*said, *lost, parameters_text(table.to_pylist())]).strip()


def _bound(norm: str) -> str:
    return {"linf": "each weight by", "l2": "length of all relative changes"}.get(norm, "")
