"""What removals cost, for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_by_model
from visionscope.core.measure import Measure, measure
from visionscope.diagnostics.lesion.question import Lesion
from visionscope.diagnostics.outcomes.overview import clean_accuracies
from visionscope.diagnostics.outcomes.rows import POINTS

_MEANING = "change of accuracy when the unit that costs most is removed"


def measures(asked: Lesion, tables: Tables) -> Sequence[Measure]:
    """Of each model its accuracy, and in each mode the largest loss that removing one unit makes."""
    found = clean_accuracies(asked, tables["rows"])
    for rows in rows_by_model(tables["summary"]).values() if "summary" in tables else ():
        removed = [row for row in rows if row["unit"]]
        for mode in dict.fromkeys(row["mode"] for row in removed):
            worst = min((row for row in removed if row["mode"] == mode), key=lambda row: float(row["change"]))
            name = f"worst removal: {mode}"
            found.append(measure(worst, name, "change", unit=POINTS, note=f"without {worst['unit']}", meaning=_MEANING))
    return found
