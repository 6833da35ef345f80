"""Fourier vectors for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_of
from visionscope.core.measure import Measure, measure
from visionscope.diagnostics.fourier_heatmap.question import FourierHeatmap
from visionscope.diagnostics.outcomes.overview import clean_accuracies
from visionscope.diagnostics.outcomes.rows import POINTS

_MEANING = "accuracy under Fourier vectors of high frequency less that under those of low frequency"


def measures(asked: FourierHeatmap, tables: Tables) -> Sequence[Measure]:
    """Of each model its accuracy, and that under vectors of high frequency less that under vectors of low."""
    found = clean_accuracies(asked, tables["rows"])
    rows = rows_of(tables, "comparisons")
    name = "Fourier vectors, high − low"
    return [
        *found,
        *(
            measure(row, name, "difference", ends=("low", "high"), unit=POINTS, meaning=_MEANING, by_interval=False)
            for row in rows
            if not row["other"]
        ),
    ]
