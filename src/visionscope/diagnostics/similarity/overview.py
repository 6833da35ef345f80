"""Similarity for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_of
from visionscope.core.measure import Measure, measure
from visionscope.diagnostics.similarity.question import Similarity

_MEANING = "mean CKA of two points of one stage less that of two points of different stages"


def measures(asked: Similarity, tables: Tables) -> Sequence[Measure]:
    """Of each model the mean CKA within stages less that across stages."""
    rows = rows_of(tables, "comparisons")
    return [
        measure(
            row,
            "CKA, in stage − across",
            "difference",
            ends=("low", "high"),
            count="pairs",
            of="pairs of points",
            meaning=_MEANING,
            note=row["note"],
        )
        for row in rows
    ]
