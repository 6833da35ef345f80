"""What receptive fields come to: how far the last map of each network sees, and the widest."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from visionscope.core.finding import interval
from visionscope.core.grouping import rows_by_model
from visionscope.core.table import column, to_table, with_leading_of
from visionscope.diagnostics.receptive_field.question import PIXELS, ReceptiveField

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class FieldRow:
    """How far the centre of a point's map sees, with intervals."""

    point: str = column("name of the point")
    kind: str = column("what the branch does")
    stage: int = column("stage of the network, 0 = stem")
    depth: float = column("index of the point / (number of points - 1)")
    radius_50: float | None = column(
        "radius of the circle that holds half of the field", PIXELS, role="outcome", ends=("low_50", "high_50")
    )
    low_50: float | None = column("lower end of its 95 % interval (jackknife, Student's t over groups)", PIXELS)
    high_50: float | None = column("upper end", PIXELS)
    radius_99: float | None = column(
        "radius of the circle that holds 99 % of it", PIXELS, role="outcome", ends=("low_99", "high_99")
    )
    low_99: float | None = column("lower end of its 95 % interval", PIXELS)
    high_99: float | None = column("upper end", PIXELS)
    reach: float | None = column("radius_50 as a share of what it were if all pixels counted alike", percent=True)
    images: int = column("images in the mean", role="count")


def summary(asked: ReceptiveField, table: pa.Table) -> pa.Table:
    """A row per model and point."""
    found = [(row, _with_intervals(row)) for rows in rows_by_model(table).values() for row in rows]
    return with_leading_of(to_table(FieldRow, [own for _, own in found]), [row for row, _ in found])


def _with_intervals(row: Row) -> FieldRow:
    ends: dict[str, Any] = {}
    for share in ("50", "99"):
        found = interval(row[f"radius_{share}"], row[f"error_{share}"], row["groups"] - 1)
        # No radius is negative, however wide its interval.
        ends[f"low_{share}"], ends[f"high_{share}"] = (None, None) if found is None else (max(0.0, found[0]), found[1])
    return FieldRow(
        **{name: row[name] for name in ("point", "kind", "stage", "depth", "radius_50", "radius_99", "images")},
        **ends,
        reach=row["radius_50"] / row["even_50"] if row["radius_50"] is not None and row["even_50"] else None,
    )
