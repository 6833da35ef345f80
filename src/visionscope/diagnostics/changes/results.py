"""What blocks change in a quantity: at each point, and typically for each kind of block."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import pyarrow as pa

from visionscope.core.finding import NO_CLEAR_CHANGE, interval, verdict_of
from visionscope.core.grouping import rows_by_model
from visionscope.core.subject import KIND_WORDS, Kind
from visionscope.core.table import column, to_table, with_leading_of

LEAST_PERCENT = 0.1
"""Below this share of the level a change is too small for a plain 'raises' or 'lowers'."""

BRANCHES = (Kind.MSA, Kind.MLP, Kind.CONV, Kind.POOL, Kind.FOURIER, Kind.TOKEN_MLP)
"""The kinds that claims contrast: a sentence on one of them speaks of all that the network has."""

SLIGHTLY = "slightly"
COUNTS: Mapping[str, str] = {
    "lowers": "falls",
    "raises": "rises",
    f"lowers {SLIGHTLY}": "falls_slightly",
    f"raises {SLIGHTLY}": "rises_slightly",
    NO_CLEAR_CHANGE: "unclear",
}
"""The verdicts on points, and the columns of `KindChangeRow` that count them."""

_EXACT = 1e-7
_LARGEST = 700.0  # whose exponential is a float

Ends = tuple[float, float]
Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a table measures at each point, and how sentences call it.

    Attributes:
        words: with article, as short as a headline needs.
        value: the column of the measure itself; `change` and `change_error` say how it moved.
        is_logarithm: whether it is a natural logarithm, whose changes are relative by themselves.
        remark: what the words leave out.
        reported: what the paper says that blocks of a kind do to it, `lowers` or `raises`.
    """

    words: str
    value: str
    is_logarithm: bool = False
    remark: str = ""
    reported: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class PointChangeRow:
    """How a quantity moved at one point, from what the branch received: a paired mean over images."""

    point: str = column("name of the point")
    kind: str = column("what the point's branch does")
    follows: str = column("the point that holds what the branch received; empty where none does")
    stage: int = column("stage of the network, 0 = stem")
    depth: float = column("index of the point / (number of points - 1)")
    grid_height: int = column("height of the feature map", "positions")
    grid_width: int = column("width of the feature map", "positions")
    value: float | None = column("the quantity at the point, in the unit of the diagnostic's table")
    change: float | None = column("value less that of the point it follows", ends=("low", "high"))
    change_error: float | None = column("standard error of the mean paired difference over images")
    low: float | None = column("lower end of the 95 % interval of change, Student's t over images")
    high: float | None = column("upper end")
    percent: float | None = column("change as a share of what the branch received", "%")
    verdict: str = column(
        f"lowers or raises where the interval lies on one side of zero, `{SLIGHTLY}` below {LEAST_PERCENT} %; "
        f"else {NO_CLEAR_CHANGE}; empty without a change"
    )
    unchanged: bool = column("whether nothing moved in any image but for rounding")
    images: int = column("images in the mean", role="count")
    note: str = column("why there is no change, or empty")


@dataclasses.dataclass(frozen=True)
class KindChangeRow:
    """What the blocks of one kind do to a quantity."""

    kind: str = column("what the branches do")
    points: int = column("points of the kind that have a change", role="count")
    falls: int = column("points where it falls: the 95 % interval of the change lies below zero")
    rises: int = column("points where it rises")
    falls_slightly: int = column(f"points where it falls by less than {LEAST_PERCENT} %", title="falls slightly")
    rises_slightly: int = column(f"points where it rises by less than {LEAST_PERCENT} %", title="rises slightly")
    unclear: int = column("points where it neither clearly falls nor clearly rises")
    unchanged: bool = column("whether nothing moved at any point in any image but for rounding")
    median: float | None = column(
        "median over points of the change, as a share of what the branch received",
        "%",
        title="median change",
        role="outcome",
        ends=("low", "high"),
    )
    low: float | None = column(
        "lower end of the median's 95 % interval over images, from the points' intervals that hold all at once "
        "(Bonferroni's rule), however the points depend on each other"
    )
    high: float | None = column("upper end")
    medians: int = column("points in the median: those whose change can be told as a share", role="hidden")
    without: int = column("points of the kind that have no change", title="points without a change", role="count")


def point_changes(table: pa.Table, quantity: Quantity) -> pa.Table:
    """The change at each point of each model, with its interval.

    Args:
        table: a row per model and point, with the leading columns.
        quantity: what it measures.
    """
    rows = [row for own in rows_by_model(table).values() for row in own]
    return with_leading_of(to_table(PointChangeRow, [_point_change(row, quantity) for row in rows]), rows)


def kind_changes(
    table: pa.Table,
    quantity: Quantity,
    row: type[KindChangeRow] = KindChangeRow,
    more: Callable[[str, Sequence[Row]], Mapping[str, Any]] = lambda model, counted: {},
) -> pa.Table:
    """What each kind of block does in each model; kinds that are no branch are there where they have a change.

    Args:
        table: a row per model and point, with the leading columns.
        quantity: what it measures.
        row: the dataclass of the result.
        more: from a model's label and the rows of a kind that have a change, the columns that `row` adds.
    """
    found: list[tuple[Row, KindChangeRow]] = []
    for model, rows in rows_by_model(table).items():
        kinds = {own["kind"] for own in rows}
        for kind in [*(kind for kind in KIND_WORDS if kind in kinds), *sorted(kinds - set(KIND_WORDS))]:
            members = [own for own in rows if own["kind"] == kind]
            counted = [own for own in members if _is_known(own["change"])]
            if counted or kind in BRANCHES:
                columns = {**_kind_change(counted, quantity), **more(model, counted)}
                found.append((members[0], row(kind=kind, without=len(members) - len(counted), **columns)))
    return with_leading_of(to_table(row, [one for _, one in found]), [first for first, _ in found])


def typical(shares: Sequence[float], ends: Sequence[Ends | None]) -> tuple[float, Ends | None]:
    """The median change of a kind of block, which no single block can make.

    Args:
        shares: of each point, the change in percent of what the branch received.
        ends: the interval of each share, which must hold all at once.

    Returns:
        The median, and its interval over images: from the median of the lower ends to that of the upper ends. None
        where a point has no interval.
    """
    known = [pair for pair in ends if pair is not None]
    all_known = len(known) == len(ends)
    return median(shares), (median(low for low, _ in known), median(high for _, high in known)) if all_known else None


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _point_change(row: Row, quantity: Quantity) -> PointChangeRow:
    known = _is_known(row["change"])
    ends = interval(row["change"], row["change_error"], row["images"] - 1)
    low, high = ends or (None, None)
    same = ("point", "kind", "follows", "stage", "depth", "grid_height", "grid_width", "change_error", "images")
    return PointChangeRow(
        **{name: row[name] for name in same},
        value=row[quantity.value],
        change=row["change"] if known else None,
        low=low,
        high=high,
        percent=_share(row["change"], row, quantity) if known else None,
        verdict=_verdict(row, quantity) if known else "",
        unchanged=known and _is_unchanged(row, quantity),
        note="" if known else row["change_note"] or "no number",
    )


def _kind_change(counted: Sequence[Row], quantity: Quantity) -> dict[str, Any]:
    """The columns of a `KindChangeRow` that tell of the points with a change."""
    verdicts = [_verdict(row, quantity) for row in counted]
    shares: list[float] = []
    ends: list[Ends | None] = []
    for row in counted:
        share = _share(row["change"], row, quantity)
        if share is not None:
            shares.append(share)
            ends.append(_share_ends(row, quantity, comparisons=len(counted)))
    middle, around = typical(shares, ends) if shares else (None, None)
    low, high = around or (None, None)
    return {
        "points": len(counted),
        **{name: verdicts.count(verdict) for verdict, name in COUNTS.items()},
        "unchanged": bool(counted) and all(_is_unchanged(row, quantity) for row in counted),
        "median": middle,
        "low": low,
        "high": high,
        "medians": len(shares),
    }


def _share(change: float, row: Row, quantity: Quantity) -> float | None:
    """A change in percent of what the quantity was at the point that is followed."""
    if quantity.is_logarithm:
        return 100 * math.expm1(min(change, _LARGEST))
    before = None if row[quantity.value] is None else row[quantity.value] - row["change"]
    return None if before is None or before <= 0 else 100 * change / before


def _share_ends(row: Row, quantity: Quantity, *, comparisons: int) -> Ends | None:
    own = interval(row["change"], row["change_error"], row["images"] - 1, comparisons=comparisons)
    low, high = (_share(end, row, quantity) for end in own) if own else (None, None)
    return None if low is None or high is None else (low, high)


def _verdict(row: Row, quantity: Quantity) -> str:
    verdict = verdict_of(interval(row["change"], row["change_error"], row["images"] - 1))
    share = _share(row["change"], row, quantity)
    small = share is not None and abs(share) < LEAST_PERCENT and verdict != NO_CLEAR_CHANGE
    return f"{verdict} {SLIGHTLY}" if small else verdict


def _is_unchanged(row: Row, quantity: Quantity) -> bool:
    level = 1.0 if quantity.is_logarithm else abs(row[quantity.value] or 0.0)
    return bool(max(abs(row["change"]), row["change_error"] or 0.0) <= _EXACT * level)
