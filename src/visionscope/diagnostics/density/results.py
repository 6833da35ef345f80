"""What a spectral density comes to: trace, share of negative mass, the ends of the spectrum."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from visionscope.core.table import column, to_table, with_leading_of
from visionscope.diagnostics.density.question import UNIT, Density

TRACE, MEAN, NEGATIVE = "trace", "mean eigenvalue", "share of negative mass"
ENDS = ("smallest Ritz value", "largest Ritz value")
DISAGREEMENT = "trace less the trace from the density's probes"
_AGAIN = "trace from the density's probes"


@dataclasses.dataclass(frozen=True)
class DensitySummaryRow:
    """One number that the spectrum comes to."""

    quantity: str = column("what it is")
    value: float = column("its estimate; the unit stands beside it", spread="standard_error")
    standard_error: float | None = column("over random vectors")
    unit: str = column("of both")
    images: int = column("images in the Hessian", role="count")
    parameters: int = column("how many numbers it is taken over", role="count")


def summary(asked: Density, table: pa.Table) -> pa.Table:
    """Trace, mean, share of negative mass and the ends of the spectrum, per model."""
    jobs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        jobs.setdefault((row["job"], row["model"]), []).append(row)
    rows = [(group[0], row) for group in jobs.values() for row in _summed(group)]
    found = to_table(DensitySummaryRow, [row for _, row in rows])
    return with_leading_of(found, [first for first, _ in rows])


def masses(rows: list[dict[str, Any]]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """What each random vector sees of the spectrum: values (steps,) and their masses (steps,), which add up to 1.

    Args:
        rows: of one model.
    """
    own = [row for row in rows if row["quantity"] == "ritz"]
    for probe in sorted({row["probe"] for row in own}):
        pairs = [(row["value"], row["weight"]) for row in own if row["probe"] == probe]
        values, weights = np.array(pairs).T
        yield values, weights


def _summed(rows: list[dict[str, Any]]) -> Iterator[DensitySummaryRow]:
    images, parameters = rows[0]["images"], rows[0]["parameters"]

    def row(quantity: str, value: float, error: float | None, unit: str = UNIT) -> DensitySummaryRow:
        return DensitySummaryRow(quantity, value, error, unit, images, parameters)

    sketch = [one["value"] for one in rows if one["quantity"] == "sketch"]
    rest = np.array([one["value"] for one in rows if one["quantity"] == "residual"])
    trace: tuple[float, float] | None = None
    if sketch and len(rest):
        trace = sketch[0] + float(rest.mean()), float(rest.std(ddof=1)) / math.sqrt(len(rest))
        yield row(TRACE, *trace)
        yield row(MEAN, *(part / parameters for part in trace))
    probes = list(masses(rows))
    if not probes:
        return
    again, error = _mean([parameters * float(values @ weights) for values, weights in probes])
    yield row(_AGAIN, again, error)
    if trace is not None and error is not None:
        yield row(DISAGREEMENT, trace[0] - again, math.hypot(trace[1], error))
    yield row(NEGATIVE, *_mean([float(weights[values < 0].sum()) for values, weights in probes]), "of all eigenvalues")
    for name, pick in zip(ENDS, (min, max), strict=True):
        yield row(name, float(pick(pick(values) for values, _ in probes)), None)


def _mean(values: list[float]) -> tuple[float, float | None]:
    mean = float(np.mean(values))
    return mean, float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
