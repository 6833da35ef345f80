"""Sentences on the spectral density: the trace with its error, and how much of the spectrum is negative."""

from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import Finding, about, counted, joined, number
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.density.question import Density
from visionscope.diagnostics.density.results import DISAGREEMENT, ENDS, MEAN, NEGATIVE, TRACE

Row = Mapping[str, Any]
_COLUMNS = ("quantity", "value", "standard_error", "unit")
_APART = 4.0  # standard errors between two estimates of one trace
_LIMITS = (
    "The density knows where many eigenvalues lie, not single ones: its peaks are as wide as the stated standard "
    "deviation, and its smallest masses rest on a few random vectors.",
)


def limits(asked: Density, tables: Tables) -> Sequence[str]:
    """What a density can't tell."""
    return _LIMITS


def findings(asked: Density, tables: Tables) -> list[Finding]:
    """One sentence for each model."""
    found = [_of_model(rows) for rows in rows_by_model(tables["summary"]).values()] if "summary" in tables else []
    return [one for one in found if one is not None]


def _of_model(rows: Sequence[Row]) -> Finding | None:
    known = {row["quantity"]: row for row in rows}
    said, detail = [], []
    if TRACE in known:
        said.append(f"the Hessian's trace is {_with_error(known[TRACE])} {known[TRACE]['unit']}")
        detail.append(f"The mean eigenvalue is {_with_error(known[MEAN])}, over {counted(rows[0]['images'], 'image')}.")
    if NEGATIVE in known:
        said.append(f"{_with_error(known[NEGATIVE], 100)} % of the spectrum is negative")
        low, high = (number(known[end]["value"]) for end in ENDS)
        detail.append(f"It reaches from {low} to {high}.")
    if DISAGREEMENT in known and abs(known[DISAGREEMENT]["value"]) > _APART * known[DISAGREEMENT]["standard_error"]:
        apart = _with_error(known[DISAGREEMENT])
        detail.append(f"The density's own random vectors disagree on the trace, by {apart}. Take more probes.")
    if not said:
        return None
    first = known[TRACE] if TRACE in known else known[NEGATIVE]
    factor, unit = (1.0, first["unit"]) if TRACE in known else (100.0, "%")
    return about(
        rows,
        joined(said),
        detail=detail,
        columns=_COLUMNS,
        measure=first["quantity"],
        value=factor * first["value"],
        unit=unit,
        n=first["images"],
    )


def _with_error(row: Row, factor: float = 1.0) -> str:
    error = row["standard_error"]
    value = number(factor * row["value"])
    return value if error is None else f"{value} ± {number(factor * error, 2)}"
