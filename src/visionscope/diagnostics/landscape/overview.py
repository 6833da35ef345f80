"""Flatness for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_of
from visionscope.core.measure import Measure, measure, with_differences
from visionscope.diagnostics.landscape.question import Landscape
from visionscope.diagnostics.landscape.results import SHARPNESS


def measures(asked: Landscape, tables: Tables) -> Sequence[Measure]:
    """Of each model by how much the loss rises at the step of `radius`, in the mean over directions."""
    rows = rows_of(tables, "summary")
    compared = rows_of(tables, "comparisons")
    own = [
        measure(
            row,
            f"loss rise at step {row['quantity'].removeprefix(SHARPNESS)}",
            "value",
            ends=("low", "high"),
            interval="range over directions",
            unit=row["unit"],
            count="directions",
            of="directions",
            note=row["note"],
            meaning="how far the loss rises along a random filter-normalized direction; small is flat",
        )
        for row in rows
        if row["quantity"].startswith(SHARPNESS)
    ]
    clear = [row for row in compared if row["low"] is not None and (row["low"] > 0 or row["high"] < 0)]
    return with_differences(own, [(row["model"], row["other"]) for row in clear])
