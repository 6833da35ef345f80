"""Accuracy and confidence for the overview."""

from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_of
from visionscope.core.measure import Measure, measure, with_differences
from visionscope.diagnostics.calibration.question import Calibration
from visionscope.diagnostics.calibration.results import NLL
from visionscope.diagnostics.outcomes.overview import accuracies, significant_pairs
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
        *(one for row in own for one in accuracies(_told(row, classes[row["model"]]))),
        *with_differences(
            [measure(row, "NLL", "nll", unit="nat", meaning="on the images measured") for row in own], pairs
        ),
        *(measure(row, "ECE", "ece", factor=100, unit="%", meaning="expected calibration error") for row in own),
        *(
            measure(row, _SIGNED, "signed_ece", factor=100, unit=POINTS, meaning="mean confidence less accuracy")
            for row in own
        ),
    ]


def _told(row: Mapping[str, Any], classes: int) -> dict[str, Any]:
    """The row with what its accuracies are told by: of masks mean IoU and the accuracy of the commonest class."""
    if row.get("iou_low") is None:
        return {**row, "classes": classes}
    ious = {f"mean_iou{end}": row[f"iou{end}"] for end in ("", "_low", "_high")}
    return {**row, **ious, "chance": row["commonest"]}
