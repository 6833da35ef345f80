"""Attacks for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_of
from visionscope.core.measure import Measure, measure
from visionscope.diagnostics.adversarial.question import Adversarial
from visionscope.diagnostics.adversarial.results import attack_name
from visionscope.diagnostics.outcomes.overview import clean_accuracies


def measures(asked: Adversarial, tables: Tables) -> Sequence[Measure]:
    """Of each model its accuracy, and what each attack leaves of it at its smallest eps."""
    found = clean_accuracies(asked, tables["rows"])
    rows = rows_of(tables, "summary")
    least = min((row["eps"] for row in rows), default=0.0)
    own = [
        measure(
            row,
            f"{attack_name(row['attack'])} at {least:g}/255",
            "accuracy",
            factor=100,
            unit="%",
            meaning="accuracy under it",
            by_interval=False,
        )
        for row in rows
        if row["eps"] == least
    ]
    return [*found, *own]
