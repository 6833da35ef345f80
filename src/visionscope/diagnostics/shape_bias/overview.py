"""Shape against texture for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_of
from visionscope.core.measure import Measure, measure, with_differences
from visionscope.diagnostics.outcomes.overview import significant_pairs
from visionscope.diagnostics.shape_bias.question import ShapeBias
from visionscope.diagnostics.shape_bias.results import ALL


def measures(asked: ShapeBias, tables: Tables) -> Sequence[Measure]:
    """Of each model the share of decisions for the shape, of those for shape or texture."""
    rows = rows_of(tables, "summary")
    own = [
        measure(
            row,
            "shape bias",
            "shape_bias",
            ends=("low", "high"),
            factor=100,
            unit="%",
            meaning="share of decisions for the shape, of those for shape or texture",
            by_interval=False,
        )
        for row in rows
        if row["shape_class"] == ALL
    ]
    return with_differences(own, significant_pairs(tables, lambda number: True))
