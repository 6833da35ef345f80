"""NEP and APE for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_of
from visionscope.core.measure import Measure, measure, with_differences
from visionscope.diagnostics.hessian.question import UNIT, Hessian
from visionscope.diagnostics.hessian.results import COLUMNS, NEGATIVE, POSITIVE

_NAMES = {
    NEGATIVE: ("NEP", 100.0, "%", "share of negative eigenvalues of the Hessian"),
    POSITIVE: ("APE", 1.0, UNIT, "mean of the positive eigenvalues of the Hessian"),
}


def measures(asked: Hessian, tables: Tables) -> Sequence[Measure]:
    """Of each model the share of negative eigenvalues and the mean of the positive ones, over all its parameters."""
    rows = [row for row in tables["summary"].to_pylist() if row["level"] == "model"] if "summary" in tables else []
    compared = rows_of(tables, "comparisons")
    found: list[Measure] = []
    for number, (name, factor, unit, meaning) in _NAMES.items():
        own = [
            measure(
                row,
                name,
                COLUMNS[number],
                factor=factor,
                unit=unit,
                count="mini_batches",
                of="mini-batches",
                meaning=meaning,
            )
            for row in rows
        ]
        pairs = [(row["model"], row["other"]) for row in compared if row["number"] == number and row["apart"]]
        found += with_differences(own, [pair for pair in pairs if pair[1]])
    return found
