"""Sentences on what each kind of block does to high frequencies and to the variance, counted point by point."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from statistics import fmean, median
from typing import Any

import pyarrow as pa

from visionscope.report.finding import (
    NO_CLEAR_CHANGE,
    Finding,
    grouped,
    interval,
    joined,
    region_names,
    region_of,
    span,
    verdict_of,
    weights_remark,
)
from visionscope.report.style import KIND_MARKS, mark_of, number


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a table measures at each point, and how sentences call it.

    Attributes:
        diagnostic: the table's name.
        words: with article.
        value: the column of the measure itself; `change` and `change_error` say how it moved.
        columns: further columns that its rows are shown with.
    """

    diagnostic: str
    words: str
    value: str
    columns: tuple[str, ...]


QUANTITIES = (
    Quantity(
        diagnostic="fourier",
        words="the high-frequency amplitude",
        value="delta_log_amplitude",
        columns=("frequency", "high_frequency", "profile"),
    ),
    Quantity(diagnostic="variance", words="the variance of the feature maps", value="variance", columns=()),
)

_COLUMNS = ("point", "kind", "stage", "depth", "grid_height", "grid_width", "images", "change", "change_error")
_SHOWN = (
    "point",
    "stage",
    "depth",
    "grid",
    "value",
    "change",
    "change_error",
    "interval_low",
    "interval_high",
    "verdict",
)
_BRIEFLY = {"lowers": "down", "raises": "up", NO_CLEAR_CHANGE: "unclear"}
_VERBS = {"lowers": "lowers", "raises": "raises", NO_CLEAR_CHANGE: "makes no clear change to"}


def change_findings(table: pa.Table, quantity: Quantity) -> Iterator[Finding]:
    """One sentence for each model and kind: at how many points the quantity falls, rises, or can't be told to move.

    A point counts where its `change` - this point minus the one before it on the same grid, a paired mean over
    images - exists; its 95 % interval is Student's t with images - 1 degrees of freedom. The interval of the mean
    over points takes the mean of the points' standard errors: the points share their images, and for any correlation
    between them the true error is no larger.

    Args:
        table: result rows of the diagnostic, with the leading columns.
        quantity: one of `QUANTITIES`.
    """
    serial = 0
    for name, rows in grouped(table, (*_COLUMNS, *quantity.columns, quantity.value)).items():
        here = [row for row in rows if row.get("high_frequency", True)]
        staged = region_names(rows)
        label = name + weights_remark(rows)
        for kind in _ordered({row["kind"] for row in here}):
            members = [row for row in here if row["kind"] == kind]
            known = [row for row in members if row["change"] is not None and math.isfinite(row["change"])]
            if known:
                serial += 1
                anchor = f"rows-{quantity.diagnostic}-{serial}"
                yield _finding(anchor, label, known, len(members) - len(known), quantity, staged=staged)


def _ordered(kinds: set[str]) -> list[str]:
    known = [kind for kind in KIND_MARKS if kind in kinds]
    return [*known, *sorted(kinds - set(known))]


def _finding(
    anchor: str, label: str, rows: list[dict[str, Any]], apart: int, quantity: Quantity, *, staged: bool
) -> Finding:
    ends = [interval(row["change"], row["change_error"], row["images"] - 1) for row in rows]
    verdicts = [verdict_of(pair) for pair in ends]
    counts = {name: verdicts.count(name) for name in _VERBS}
    regions = [region_of(row["stage"], row["depth"], staged=staged) for row in rows]
    sentences = [_size(rows, quantity), _places(regions, verdicts)]
    if apart:
        more = "1 more of its points" if apart == 1 else f"{apart} more of its points"
        sentences.append(f"{more} can't be compared with the one before (another grid or number of channels).")
    kind = rows[0]["kind"]
    return Finding(
        anchor=anchor,
        diagnostic=quantity.diagnostic,
        model=rows[0]["model"],
        kind=kind,
        verdict=_overall(counts),
        headline=f"In {label}, {_subject(kind)} {_counted(counts, quantity.words)}.",
        detail=" ".join(sentence for sentence in sentences if sentence),
        columns=_SHOWN,
        rows=tuple(
            _shown(row, quantity, pair, verdict) for row, pair, verdict in zip(rows, ends, verdicts, strict=True)
        ),
        strength=abs(counts["lowers"] - counts["raises"]) / len(rows) * math.log1p(len(rows)),
    )


def _overall(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    for name, count in counts.items():
        if 2 * count > total:
            return name
    return "mixed"


def _subject(kind: str) -> str:
    words = mark_of(kind).words if kind in KIND_MARKS else "kind"
    return f"{words} ({kind})"


def _counted(counts: dict[str, int], words: str) -> str:
    total = sum(counts.values())
    ranked = sorted((name for name in _VERBS if counts[name]), key=lambda name: -counts[name])
    first, *others = ranked
    if not others:
        everywhere = "at its only point" if total == 1 else f"at all {total} points"
        return f"{_VERBS[first]} {words} {everywhere}"
    said = [f"{_VERBS[first]} {words} at {counts[first]} of {total} points"]
    said += [f"{_VERBS[name]} it at {counts[name]}" for name in others if name != NO_CLEAR_CHANGE]
    aside = f"; {NO_CLEAR_CHANGE} at {counts[NO_CLEAR_CHANGE]}" if NO_CLEAR_CHANGE in others else ""
    return joined(said) + aside


def _size(rows: Sequence[dict[str, Any]], quantity: Quantity) -> str:
    """The mean change with its interval, and what share of the quantity that is."""
    mean = fmean(row["change"] for row in rows)
    errors = [row["change_error"] for row in rows]
    known = all(error is not None and math.isfinite(error) for error in errors)
    ends = interval(mean, fmean(errors) if known else None, min(row["images"] for row in rows) - 1)
    if verdict_of(ends) == NO_CLEAR_CHANGE:
        return f"On average: {NO_CLEAR_CHANGE} ({number(mean)}, {span(ends)})."
    if quantity.diagnostic == "fourier":
        share = 100 * math.expm1(mean)
        meaning = f"{number(abs(share), 2)} % {'less' if share < 0 else 'more'} amplitude relative to the map's mean"
        return f"Mean change in log amplitude {_signed(mean)} per point ({span(ends)}): {meaning}."
    before = [(row["change"], row[quantity.value] - row["change"]) for row in rows if row[quantity.value] is not None]
    shares = [100 * change / value for change, value in before if value > 0]
    typical = f"; typically {_signed(median(shares), 2)} % of what it was" if shares else ""
    return f"Mean change {_signed(mean)} per point ({span(ends)}){typical}."


def _signed(value: float, digits: int = 3) -> str:
    return ("+" if value > 0 else "") + number(value, digits)


def _places(regions: Sequence[str], verdicts: Sequence[str]) -> str:
    """Where it happens: the stages, or thirds of depth, by what most of their points do."""
    names = sorted(set(regions), key=_region_order)
    if len(names) == 1:
        return ""
    clauses: dict[str, list[str]] = {}
    for region in names:
        here = [verdict for name, verdict in zip(regions, verdicts, strict=True) if name == region]
        counts = {name: here.count(name) for name in _VERBS}
        overall = _overall(counts)
        if overall == "mixed":
            tally = ", ".join(f"{count} {_BRIEFLY[name]}" for name, count in counts.items() if count)
            clauses.setdefault(overall, []).append(f"{region} ({tally})")
        else:
            clauses.setdefault(overall, []).append(f"{region} ({counts[overall]} of {len(here)})")
    order = ("lowers", "raises", "mixed", NO_CLEAR_CHANGE)
    words = {"lowers": "lower in", "raises": "higher in", "mixed": "mixed in", NO_CLEAR_CHANGE: f"{NO_CLEAR_CHANGE} in"}
    said = [f"{words[name]} {joined(clauses[name])}" for name in order if name in clauses]
    return f"By {'third of depth' if 'third' in names[0] else 'stage'}: {'; '.join(said)}."


def _region_order(region: str) -> tuple[int, str]:
    order = ("the stem", "the first third", "the middle third", "the last third")
    if region in order:
        return order.index(region), region
    return len(order) + int(region.removeprefix("stage ")), region


def _shown(row: dict[str, Any], quantity: Quantity, ends: tuple[float, float] | None, verdict: str) -> tuple[Any, ...]:
    low, high = ends or (None, None)
    grid = f"{row['grid_height']} × {row['grid_width']}"
    place = (row["point"], row["stage"], row["depth"], grid)
    return (*place, row[quantity.value], row["change"], row["change_error"], low, high, verdict)
