"""What spectra come to: how the highest frequency moves at each point, and with each kind of block."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from visionscope.core.grouping import rows_by_model
from visionscope.core.subject import Kind
from visionscope.core.table import column
from visionscope.diagnostics.changes.results import KindChangeRow, Quantity, kind_changes, point_changes
from visionscope.diagnostics.fourier.question import Fourier

# Figures 2a, 8 and D.2: self-attention lowers high frequencies, MLPs and convolutions raise them.
_REPORTED: Mapping[str, str] = {Kind.MSA: "lowers", Kind.MLP: "raises", Kind.CONV: "raises"}
QUANTITY = Quantity(
    words="the relative high-frequency amplitude",
    value="delta_log_amplitude",
    is_logarithm=True,
    remark="It is relative to the map's mean.",
    reported=_REPORTED,
)

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class FourierKindRow(KindChangeRow):
    """What the blocks of one kind do to the high-frequency amplitude, and to either side of that ratio."""

    detail_factor: float | None = column(
        "median over points of what the amplitude at the highest frequency itself is multiplied by",
        title="detail itself, factor",
    )
    mean_factor: float | None = column(
        "median over points of what the amplitude at frequency 0 is multiplied by", title="mean, factor"
    )


def comparisons(asked: Fourier, table: pa.Table) -> pa.Table:
    """A row per model and point, of the highest frequency on the half-diagonal."""
    return point_changes(_highest(table), QUANTITY)


def summary(asked: Fourier, table: pa.Table) -> pa.Table:
    """A row per model and kind of block, of the highest frequency on the half-diagonal."""
    levels = {model: _levels(rows) for model, rows in rows_by_model(_ends(table)).items()}
    return kind_changes(
        _highest(table), QUANTITY, FourierKindRow, lambda model, counted: _factors(levels[model], counted)
    )


def _highest(table: pa.Table) -> pa.Table:
    return table.filter(table["high_frequency"])


def _ends(table: pa.Table) -> pa.Table:
    """The rows of the half-diagonal's first and last frequency."""
    first = pc.and_(pc.equal(table["profile"], "diagonal"), pc.equal(table["frequency"], 0))
    return table.filter(pc.or_(table["high_frequency"], pc.fill_null(first, fill_value=False)))


def _levels(rows: Sequence[Row]) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """The log-amplitude itself at each point, at the highest frequency and at 0."""
    high = {row["point"]: row["log_amplitude"] for row in rows if row["high_frequency"]}
    return high, {row["point"]: row["log_amplitude"] for row in rows if row["frequency"] == 0}


def _factors(levels: Sequence[Mapping[str, float | None]], counted: Sequence[Row]) -> dict[str, float | None]:
    """Whether the detail itself changed, or the mean that it is measured against."""
    found: list[float | None] = []
    for known in levels:
        ends = [(known.get(row["point"]), known.get(row["follows"])) for row in counted]
        moves = [after - before for after, before in ends if after is not None and before is not None]
        complete = bool(moves) and len(moves) == len(counted) and all(map(math.isfinite, moves))
        found.append(median(map(math.exp, moves)) if complete else None)
    return {"detail_factor": found[0], "mean_factor": found[1]}
