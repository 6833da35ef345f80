"""What token norms come to: the point where one stands out most, and whether outliers lie at the edge of the map."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.finding import interval
from visionscope.core.grouping import rows_by_model
from visionscope.core.table import column, to_table, with_leading_of
from visionscope.diagnostics.tokens.question import TokenNorms

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class OutliersRow:
    """The point of one network at which a token stands out most."""

    point: str = column("name of the point with the largest norm in units of the mean norm")
    kind: str = column("what the point's branch does")
    stage: int = column("stage of the network, 0 = stem")
    depth: float = column("index of the point / (number of points - 1)")
    largest: float = column("largest norm of an image / its mean norm, there", ends=("largest_low", "largest_high"))
    largest_low: float | None = column(
        "lower end of its 95 % interval, Student's t over images, wide enough to hold at all points at once "
        "(Bonferroni's rule), since the point was chosen by its value"
    )
    largest_high: float | None = column("upper end")
    outlier_share: float = column("share of the positions that are outliers there", percent=True, ends=("low", "high"))
    low: float | None = column("lower end of its interval, made likewise", percent=True)
    high: float | None = column("upper end", percent=True)
    last_point: str = column("name of the last point")
    last_share: float = column("share of the positions that are outliers at the last point", percent=True)
    norm: float = column("mean norm of a position's token there", "feature units")
    prefix_norm: float | None = column("mean norm of a prefix token there; null without one", "feature units")
    points: int = column("points with a share", role="count")
    images: int = column("images in the means", role="count")


@dataclasses.dataclass(frozen=True)
class BorderRow:
    """Whether the outliers of one point lie at the edge of the map."""

    point: str = column("name of the point")
    stage: int = column("stage of the network, 0 = stem")
    depth: float = column("index of the point / (number of points - 1)")
    border_share: float = column("share of outliers among the positions at the edge of the map", percent=True)
    inside_share: float = column("share among the others", percent=True)
    difference: float = column("border_share less inside_share", percent=True, ends=("low", "high"))
    low: float | None = column("lower end of its 95 % interval, Student's t over images", percent=True)
    high: float | None = column("upper end", percent=True)
    images: int = column("images in the means", role="count")


@dataclasses.dataclass(frozen=True)
class PositionRow:
    """One position of one point."""

    point: str = column("name of the point")
    map_row: int = column("of the position, from the top")
    map_column: int = column("of the position, from the left")
    norm: float = column("mean norm of its token", "feature units")
    outlier_share: float = column("share of images in which its token is an outlier", percent=True)


def summary(asked: TokenNorms, table: pa.Table) -> pa.Table:
    """A row per model that has a point with a share."""
    found = [rows for rows in map(known_rows, rows_by_model(table).values()) if rows]
    return with_leading_of(to_table(OutliersRow, map(_summed, found)), [rows[0] for rows in found])


def known_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows with a share.

    Args:
        rows: of one model.
    """
    return [row for row in rows if row["outlier_share"] is not None]


def stands_out(rows: Sequence[Row]) -> Row:
    """The row of the point whose largest norm is largest, compared with the mean; the first of equals.

    Not that with most outliers: artefacts are few and long, while early maps have many that are a little longer.

    Args:
        rows: of one model, each with a share.
    """
    return max(rows, key=lambda row: float(row["largest"]))


def _summed(rows: Sequence[Row]) -> OutliersRow:
    most, last = stands_out(rows), rows[-1]
    errors = {"outlier_share": "outlier_error", "largest": "largest_error"}
    ends = {
        name: interval(most[name], most[error], most["images"] - 1, comparisons=len(rows)) or (None, None)
        for name, error in errors.items()
    }
    low, high = ends["outlier_share"]
    kept = ("point", "kind", "stage", "depth", "outlier_share", "largest", "norm", "prefix_norm", "images")
    return OutliersRow(
        **{name: most[name] for name in kept},
        low=None if low is None else max(low, 0.0),
        high=high,
        largest_low=ends["largest"][0],
        largest_high=ends["largest"][1],
        last_point=last["point"],
        last_share=last["outlier_share"],
        points=len(rows),
    )


def comparisons(asked: TokenNorms, table: pa.Table) -> pa.Table:
    """A row per model and point whose map has an inside."""
    rows = [row for own in rows_by_model(table).values() for row in own if row["border_difference"] is not None]
    return with_leading_of(to_table(BorderRow, map(_border, rows)), rows)


def _border(row: Row) -> BorderRow:
    low, high = interval(row["border_difference"], row["border_error"], row["images"] - 1) or (None, None)
    kept = ("point", "stage", "depth", "border_share", "inside_share", "images")
    return BorderRow(**{name: row[name] for name in kept}, difference=row["border_difference"], low=low, high=high)


def outcomes(asked: TokenNorms, table: pa.Table) -> pa.Table:
    """A row per model, point and position."""
    found = [(row, position) for row in table.to_pylist() for position in _positions(row)]
    return with_leading_of(to_table(PositionRow, [position for _, position in found]), [row for row, _ in found])


def _positions(row: Row) -> Iterator[PositionRow]:
    for place, (norm, share) in enumerate(zip(row["norms"], row["shares"], strict=True)):
        down, across = divmod(place, row["grid_width"])
        yield PositionRow(row["point"], down, across, norm, share)
