"""Radii of the last map's field for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_by_model
from visionscope.core.measure import Measure, measure
from visionscope.diagnostics.receptive_field.question import PIXELS, ReceptiveField


def measures(asked: ReceptiveField, tables: Tables) -> Sequence[Measure]:
    """Of each model how far the centre of its last map sees."""
    models = rows_by_model(tables["summary"]).values() if "summary" in tables else []
    return [
        measure(
            rows[-1],
            f"receptive field, {share} %",
            f"radius_{share}",
            ends=(f"low_{share}", f"high_{share}"),
            unit=PIXELS,
            meaning=f"radius of the circle that holds {share} % of what the centre of the last map depends on",
        )
        for rows in models
        for share in ("50", "99")
    ]
