"""Trace for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_of
from visionscope.core.measure import Measure
from visionscope.diagnostics.density.question import UNIT, Density
from visionscope.diagnostics.density.results import TRACE


def measures(asked: Density, tables: Tables) -> Sequence[Measure]:
    """Of each model the trace of the Hessian, with its spread over random vectors."""
    rows = rows_of(tables, "summary")
    return [
        Measure(
            model=row["model"],
            name="Hessian trace",
            value=row["value"],
            low=None if row["standard_error"] is None else row["value"] - row["standard_error"],
            high=None if row["standard_error"] is None else row["value"] + row["standard_error"],
            interval="value ± standard error over random vectors",
            unit=UNIT,
            n=row["images"],
        )
        for row in rows
        if row["quantity"] == TRACE
    ]
