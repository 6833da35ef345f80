"""Shape bias, over all images and per class."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.finding import counted
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.shape_bias.question import ShapeBias
from visionscope.diagnostics.shape_bias.results import ALL, summary

Row = Mapping[str, Any]
_APART = 0.08  # between the models' points of one class


def figure(asked: ShapeBias, table: pa.Table) -> Figure:
    """Shape bias over all images and per class, with intervals."""
    rows = summary(asked, table).to_pylist()
    models = rows_by_model(summary(asked, table))
    names = list(dict.fromkeys(row["shape_class"] for row in rows))
    lines = tuple(
        _line(name, own, names, _APART * (index - (len(models) - 1) / 2))
        for index, (name, own) in enumerate(models.items())
    )
    images = sorted({row["images"] for row in rows if row["shape_class"] == ALL})
    ways = ", ".join(sorted({row["decision"] for row in rows}))
    return Figure(
        name="shape_bias",
        title="Shape or texture",
        caption=(
            f"Of the decisions for either cue, the share for the shape, on "
            f"{' or '.join(counted(count, 'image') for count in images)} whose texture is of another class; 95 % "
            f"intervals (Wilson). Decisions: {ways}."
        ),
        panels=(
            Panel(
                model="",
                title="Shape bias",
                x_label="class of the shape",
                y_label="shape bias (1: shape alone, 0: texture alone)",
                lines=lines,
                x_names=tuple(names),
            ),
        ),
    )


def _line(name: str, rows: Sequence[Row], names: Sequence[str], aside: float) -> Line:
    known = [(names.index(row["shape_class"]), row) for row in rows if row["shape_bias"] is not None]
    return Line(
        name=name,
        x=tuple(number + aside for number, _ in known),
        y=tuple(row["shape_bias"] for _, row in known),
        low=tuple(row["low"] for _, row in known),
        high=tuple(row["high"] for _, row in known),
        hover=tuple(
            f"{row['shape_class']}: {row['shape']} for shape, {row['texture']} for texture, {row['other']} for neither"
            for _, row in known
        ),
        role="points",
    )
