"""Sharpness for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_of
from visionscope.core.measure import Measure, measure
from visionscope.diagnostics.sharpness.question import AVERAGE, CRITICAL, WORST, Sharpness

_MEANINGS = {
    AVERAGE: "rise of the NLL under random relative changes of all weights, mean over batches",
    WORST: "largest rise of the NLL found within the radius, mean over batches",
    CRITICAL: "2 / the first step along the {direction} at which the NLL rises, mean over batches",
}


def measures(asked: Sharpness, tables: Tables) -> Sequence[Measure]:
    """Of each model every kind of sharpness that was asked for."""
    return [
        measure(
            row,
            f"{row['kind']} sharpness",
            "value",
            ends=("low", "high"),
            count="batches",
            of="batches",
            unit=row["unit"],
            meaning=_MEANINGS[row["kind"]].format(direction=row["direction"]),
            note=row["note"],
        )
        for row in rows_of(tables, "summary")
    ]
