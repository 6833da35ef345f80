"""What similarities come to: whether points of one stage are more alike than points of different stages."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import pyarrow as pa

from visionscope.core.finding import interval
from visionscope.core.grouping import rows_by_model
from visionscope.core.table import column, to_table, with_leading_of
from visionscope.diagnostics.similarity.question import Similarity

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class StagesRow:
    """How alike the points of one network are, within its stages and across them; each two points count once."""

    pairs: int = column("pairs of different points whose CKA is known", role="count")
    cka: float = column("mean CKA over all pairs")
    same_stage: float | None = column("mean CKA over pairs of points of one stage")
    same_pairs: int = column("how many they are", role="count")
    other_stage: float | None = column("mean CKA over pairs of points of different stages")
    other_pairs: int = column("how many they are", role="count")
    difference: float | None = column("same_stage less other_stage", ends=("low", "high"))
    low: float | None = column(
        "lower end of its 95 % interval: Student's t over groups, with the sum of the mean standard errors, which no "
        "correlation can exceed"
    )
    high: float | None = column("upper end")
    groups: int = column("groups of images in the sums, of the pair that has fewest", role="count")
    group: int = column("images per group", role="count")
    note: str = column("why there is no difference, or empty")


def comparisons(asked: Similarity, table: pa.Table) -> pa.Table:
    """A row per model that has two points whose CKA is known."""
    known = {name: pairs_of(rows) for name, rows in rows_by_model(table).items()}
    found = [pairs for pairs in known.values() if pairs]
    return with_leading_of(to_table(StagesRow, map(_stages, found)), [pairs[0] for pairs in found])


def pairs_of(rows: Sequence[Row]) -> list[Row]:
    """Each two different points of one model once, where their CKA is known.

    Args:
        rows: of one model.
    """
    found: dict[frozenset[str], Row] = {}
    for row in rows:
        if row["point_x"] != row["point_y"] and _is_known(row):
            found.setdefault(frozenset((row["point_x"], row["point_y"])), row)
    return list(found.values())


def by_pair(table: pa.Table) -> dict[tuple[str, str], list[Row]]:
    """The rows of each two models.

    Args:
        table: rows of `BetweenRow`.
    """
    pairs: dict[tuple[str, str], list[Row]] = {}
    for row in table.to_pylist():
        pairs.setdefault((row["model_x"], row["model_y"]), []).append(row)
    return pairs


def most_alike(rows: Sequence[Row]) -> Row | None:
    """The pair of points with the largest CKA, or None where none is known.

    Args:
        rows: of two models.
    """
    return max(filter(_is_known, rows), key=lambda row: float(row["cka"]), default=None)


def _is_known(row: Row) -> bool:
    return row["cka"] is not None and math.isfinite(row["cka"])


def _stages(pairs: Sequence[Row]) -> StagesRow:
    same = [row for row in pairs if row["stage_x"] == row["stage_y"]]
    other = [row for row in pairs if row["stage_x"] != row["stage_y"]]
    stages = {row[key] for row in pairs for key in ("stage_x", "stage_y") if row[key] > 0}
    note = "one stage" if len(stages) < 2 else "" if same else "one point in each stage"
    groups = min(row["groups"] for row in pairs)
    means = [fmean(row["cka"] for row in rows) if rows else None for rows in (same, other)]
    difference, ends = None, None
    if not note and means[0] is not None and means[1] is not None:
        errors = [_mean_error(rows) for rows in (same, other)]
        error = None if None in errors else sum(part for part in errors if part is not None)
        difference = means[0] - means[1]
        ends = interval(difference, error, groups - 1)
    low, high = ends or (None, None)
    return StagesRow(
        pairs=len(pairs),
        cka=fmean(row["cka"] for row in pairs),
        same_stage=means[0],
        same_pairs=len(same),
        other_stage=means[1],
        other_pairs=len(other),
        difference=difference,
        low=low,
        high=high,
        groups=groups,
        group=pairs[0]["group"],
        note=note,
    )


def _mean_error(rows: Sequence[Row]) -> float | None:
    errors = [row["standard_error"] for row in rows]
    if any(error is None or not math.isfinite(error) for error in errors):
        return None
    return fmean(errors)
