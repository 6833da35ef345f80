"""Attention distance for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import verdict_of
from visionscope.core.grouping import rows_of
from visionscope.core.measure import Measure, measure
from visionscope.diagnostics.attention.question import AttentionHeads


def measures(asked: AttentionHeads, tables: Tables) -> Sequence[Measure]:
    """Of each model how much farther its last attention looks than its first."""
    rows = rows_of(tables, "comparisons")
    return [
        measure(
            row,
            "attention distance, last − first",
            "difference",
            ends=("low", "high"),
            unit="pixels",
            meaning="mean distance between query and key in the last self-attention less that in the first",
            direction=verdict_of(None if row["low"] is None else (row["low"], row["high"])),
        )
        for row in rows
        if row["number"] == "distance"
    ]
