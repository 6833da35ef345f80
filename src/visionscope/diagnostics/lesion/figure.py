"""Removals drawn: changes of accuracy against depth, maps over pairs of units."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.figure import Figure, Heat, Panel
from visionscope.core.grouping import images_text, rows_by_model, stage_boundaries, stage_ticks
from visionscope.diagnostics.lesion.question import Lesion
from visionscope.diagnostics.outcomes.figure import change_line
from visionscope.diagnostics.outcomes.statistics import summary

_SAID = {
    "branch": "the branch of one residual sum, which then gives its skip operand",
    "block": "the branches of all residual sums of one block, which then give their skip operands",
    "conv": (
        "one k x k convolution, k > 1, inside a block, replaced by the identity (subsampled where it is strided, "
        "channels filled with zeros or cut)"
    ),
    "pairs": "the branches of two residual sums, which then give their skip operands (on the diagonal: of one)",
}

_OF_CALLS = {
    "each": " Of what a pass calls several times each call is a unit of its own, #2 the second.",
    "all": " What a pass calls several times is taken out of all its calls at once.",
}

Row = Mapping[str, Any]


def figure(asked: Lesion, table: pa.Table) -> Figure:
    """Changes against depth, a panel per model; for pairs a map of changes and one of interactions per model."""
    changes = summary(asked, table)
    models = rows_by_model(changes)
    panels: list[Panel] = []
    for model, rows in models.items():
        panels += _maps(model, rows) if rows[0]["mode"] == "pairs" else [_panel(model, rows)]
    modes = list(dict.fromkeys(row["mode"] for rows in models.values() for row in rows))
    return Figure(
        name="lesion",
        title="Accuracy lost without one unit",
        caption=_caption(modes, {row["calls"] for row in changes.to_pylist()}, images_text(changes)),
        panels=tuple(panels),
    )


def _panel(model: str, rows: Sequence[Row]) -> Panel:
    ordered = sorted(rows, key=lambda row: float(row["depth"]))
    line = dataclasses.replace(
        change_line(model, ordered, "depth"),
        kinds=tuple(row["kind"] for row in ordered),
        hover=tuple(_hover(row) for row in ordered),
        points=tuple(row["unit"] for row in ordered),
    )
    return Panel(
        model=model,
        title=model,
        x_label="normalized depth",
        y_label="change in accuracy (percentage points)",
        lines=(line,),
        boundaries=stage_boundaries([row["depth"] for row in ordered], [row["stage"] for row in ordered]),
    )


def _hover(row: Row) -> str:
    calls = f", call {row['calls']}".replace("call all", "all calls:") if row["calls"] else ""
    return (
        f"{row['unit']} ({row['kind']}{calls}): {row['change']:+.2f} pp "
        f"({row['change_low']:+.2f} to {row['change_high']:+.2f}), accuracy {100 * row['accuracy']:.2f} %, "
        f"p {row['p_holm']:.2g}; {row['how']}"
    )


def _maps(model: str, rows: Sequence[Row]) -> list[Panel]:
    """The change without each pair, and how much it differs from the sum of the two single changes."""
    single = {row["unit"]: row for row in rows if not row["other_unit"]}
    names = tuple(single)
    change: dict[tuple[str, str], float] = {}
    beyond: dict[tuple[str, str], float] = {}
    for row in rows:
        one, other = row["unit"], row["other_unit"] or row["unit"]
        apart = single[one]["change"] + single[other]["change"]
        for pair in ((one, other), (other, one)):
            change[pair] = row["change"]
            beyond[pair] = row["change"] - apart if one != other else math.nan
    ticks = stage_ticks([row["stage"] for row in single.values()])
    return [
        Panel(
            model=model,
            title=f"{model}: {title}",
            x_label="unit",
            y_label="unit",
            heat=Heat(
                values=tuple(tuple(values[one, other] for other in names) for one in names),
                names_x=names,
                names_y=names,
                ticks=ticks,
            ),
            group=title,
        )
        for title, values in (
            ("change without both (pp)", change),
            ("change without both less the sum of the two (pp)", beyond),
        )
    ]


def _caption(modes: Sequence[str], calls: set[str], images: str) -> str:
    what = "; or ".join(_SAID[mode] for mode in modes)
    drawn = (
        " Bars: 95 % intervals, paired over images; grey: p (McNemar, Holm over the removals of a model) of 0.05 or"
        " more. Vertical lines: a stage begins."
    )
    repeated = {"all" if one.startswith("all") else "each" for one in calls if one}
    of_calls = "".join(_OF_CALLS[one] for one in sorted(repeated))
    return f"Change in accuracy over {images} without {what}.{of_calls}{'' if list(modes) == ['pairs'] else drawn}"
