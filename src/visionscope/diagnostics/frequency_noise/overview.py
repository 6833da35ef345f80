"""Noise for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_of
from visionscope.core.measure import Measure, measure, with_differences
from visionscope.diagnostics.frequency_noise.question import FrequencyNoise
from visionscope.diagnostics.outcomes.overview import clean_accuracies, significant_pairs
from visionscope.diagnostics.outcomes.rows import POINTS


def measures(asked: FrequencyNoise, tables: Tables) -> Sequence[Measure]:
    """Of each model its accuracy, and what noise in the ring of the highest frequency changes in it."""
    found = clean_accuracies(asked, tables["rows"])
    rows = rows_of(tables, "summary")
    highest = max((row["frequency"] for row in rows), default=0.0)
    own = [
        measure(
            row,
            f"noise at {highest:.2g} π",
            "change",
            unit=POINTS,
            meaning="change of accuracy under it",
            by_interval=False,
        )
        for row in rows
        if row["frequency"] == highest
    ]
    return [*found, *with_differences(own, significant_pairs(tables, lambda number: "high-frequency" in number))]
