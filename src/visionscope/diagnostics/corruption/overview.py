"""Robustness for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_of
from visionscope.core.measure import Measure, measure, with_differences
from visionscope.diagnostics.corruption.question import Corruption
from visionscope.diagnostics.corruption.results import ALL, ROBUSTNESS
from visionscope.diagnostics.outcomes.overview import clean_accuracies, significant_pairs


def measures(asked: Corruption, tables: Tables) -> Sequence[Measure]:
    """Of each model its accuracy, and its mean accuracy over all corruptions and severities."""
    rows = rows_of(tables, "summary")
    own = [
        measure(
            row,
            "accuracy under JPEG" if asked.by_quality else "robustness",
            "accuracy",
            factor=100,
            unit="%",
            meaning="mean accuracy over all qualities" if asked.by_quality else "mean accuracy over all corruptions",
            by_interval=False,
        )
        for row in rows
        if row["corruption"] == ALL
    ]
    return [
        *clean_accuracies(asked, tables["rows"]),
        *with_differences(own, significant_pairs(tables, lambda number: number == ROBUSTNESS)),
    ]
