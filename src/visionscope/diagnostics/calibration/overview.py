"""Accuracy and confidence for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_of
from visionscope.core.measure import Measure, measure, with_differences
from visionscope.diagnostics.calibration.question import Calibration
from visionscope.diagnostics.calibration.results import NLL
from visionscope.diagnostics.outcomes.overview import accuracy, significant_pairs
from visionscope.diagnostics.outcomes.rows import POINTS

_SIGNED = "confidence − accuracy"


def measures(asked: Calibration, tables: Tables) -> Sequence[Measure]:
    """Of each model its accuracy, NLL and ECE, as its probabilities come."""
    rows = rows_of(tables, "summary")
    own = [row for row in rows if row["scaling"] == "none"]
    known = tables["rows"].select(["model", "classes"]).to_pylist()
    classes = {row["model"]: row["classes"] for row in known}
    pairs = list(significant_pairs(tables, lambda number: number == NLL))
    return [
        *(accuracy({**row, "classes": classes[row["model"]]}) for row in own),
        *with_differences(
            [measure(row, "NLL", "nll", unit="nat", meaning="on the images measured") for row in own], pairs
        ),
        *(measure(row, "ECE", "ece", factor=100, unit="%", meaning="expected calibration error") for row in own),
        *(
            measure(row, _SIGNED, "signed_ece", factor=100, unit=POINTS, meaning="mean confidence less accuracy")
            for row in own
        ),
    ]
