"""Similarity of clean and compressed images' last maps for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_by_model
from visionscope.core.measure import Measure, measure
from visionscope.diagnostics.compression.question import Compression


def measures(asked: Compression, tables: Tables) -> Sequence[Measure]:
    """Of each model the CKA between clean and compressed images at its last point, at the worst quality."""
    found = []
    for rows in rows_by_model(tables["summary"]).values() if "summary" in tables else []:
        worst = min(row["quality"] for row in rows)
        last = [row for row in rows if row["quality"] == worst][-1]
        found.append(
            measure(
                last,
                f"CKA under JPEG {worst}",
                "cka",
                meaning="similarity of the last map between clean images and the same ones compressed",
                note="" if last["cka"] is not None else "needs a whole group of 32 images that differ",
            )
        )
    return found
