"""A curve of what changes cost."""

from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.core.figure import Line
from visionscope.diagnostics.outcomes.statistics import SIGNIFICANT


def change_line(name: str, rows: Sequence[Mapping[str, Any]], x: str) -> Line:
    """A curve of the change in accuracy, grey where chance alone would make as much.

    Args:
        name: in the legend.
        rows: of a summary, of one model.
        x: the column of the abscissae.
    """
    ordered = sorted(rows, key=lambda row: float(row[x]))
    return Line(
        name=name,
        x=tuple(row[x] for row in ordered),
        y=tuple(row["change"] for row in ordered),
        low=tuple(row["change_low"] for row in ordered),
        high=tuple(row["change_high"] for row in ordered),
        faint=tuple(row["p_holm"] >= SIGNIFICANT for row in ordered),
        hover=tuple(
            f"{name}, {x} {row[x]:g}: {row['change']:+.2f} pp ({row['change_low']:+.2f} to {row['change_high']:+.2f}), "
            f"accuracy {100 * row['accuracy']:.2f} %, p {row['p_holm']:.2g}"
            for row in ordered
        ),
    )
