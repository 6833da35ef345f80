"""Sentences on what each kind of block does to high frequencies and to the variance, counted point by point."""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.finding import (
    NO_CLEAR_CHANGE,
    UNCHANGED,
    Finding,
    grouped,
    interval,
    joined,
    region_names,
    region_of,
    verdict_of,
    weights_remark,
)
from visionscope.core.subject import Kind
from visionscope.report.amounts import LEAST_PERCENT, Ends, Typical, typical, what_moved
from visionscope.report.directions import headline
from visionscope.report.style import KIND_MARKS, mark_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a table measures at each point, and how sentences call it.

    Attributes:
        diagnostic: the table's name.
        words: with article, as short as a headline needs.
        value: the column of the measure itself; `change` and `change_error` say how it moved.
        columns: further columns that sentences need.
        optional: columns that older tables lack.
        remark: what the words leave out.
    """

    diagnostic: str
    words: str
    value: str
    columns: tuple[str, ...]
    optional: tuple[str, ...] = ()
    remark: str = ""


QUANTITIES = (
    Quantity(
        diagnostic="fourier",
        words="the relative high-frequency amplitude",
        value="delta_log_amplitude",
        columns=("frequency", "high_frequency", "profile"),
        optional=("log_amplitude",),
        remark="It is relative to the map's mean.",
    ),
    Quantity(diagnostic="variance", words="the feature-map variance", value="variance", columns=()),
)

BRANCHES = (Kind.MSA, Kind.MLP, Kind.CONV, Kind.POOL, Kind.FOURIER, Kind.TOKEN_MLP)
"""The kinds that claims contrast: a sentence on one of them speaks of all that the network has."""

_COLUMNS = ("point", "kind", "stage", "depth", "grid_height", "grid_width", "images")
_CHANGE = ("follows", "change", "change_error", "change_note")
_SHOWN = (
    *("point", "kind", "follows", "stage", "depth", "grid", "value", "change", "change_error"),
    *("interval_low", "interval_high", "verdict"),
)
_SLIGHTLY = "slightly"
_VERDICTS = ("lowers", "raises", f"lowers {_SLIGHTLY}", f"raises {_SLIGHTLY}", NO_CLEAR_CHANGE)
_BY_LESS = f"by less than {LEAST_PERCENT} %"
_PLACED = {
    "lowers": "lower",
    "raises": "higher",
    f"lowers {_SLIGHTLY}": f"lower {_BY_LESS}",
    f"raises {_SLIGHTLY}": f"higher {_BY_LESS}",
    "mixed": "mixed",
    NO_CLEAR_CHANGE: NO_CLEAR_CHANGE,
}
_EXACT = 1e-7

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class _Told:
    """What is known of the points of one kind in one network.

    Attributes:
        kind: as tables spell it.
        rows: the points that have a change.
        apart: those that have none.
        quantity: what changed.
    """

    kind: str
    rows: tuple[Row, ...]
    apart: tuple[Row, ...]
    quantity: Quantity

    @property
    def words(self) -> str:
        return mark_of(self.kind).words if self.kind in KIND_MARKS else self.kind

    @functools.cached_property
    def ends(self) -> list[Ends | None]:
        return [interval(row["change"], row["change_error"], row["images"] - 1) for row in self.rows]

    @functools.cached_property
    def verdicts(self) -> list[str]:
        return [_verdict(row, self.quantity, ends) for row, ends in zip(self.rows, self.ends, strict=True)]

    @property
    def counts(self) -> dict[str, int]:
        return _counts(self.verdicts)

    @property
    def is_unchanged(self) -> bool:
        return bool(self.rows) and all(_is_unchanged(row, self.quantity) for row in self.rows)

    @property
    def verdict(self) -> str:
        return UNCHANGED if self.is_unchanged else _overall(self.counts)

    @functools.cached_property
    def typical(self) -> Typical | None:
        shares, ends = [], []
        for row in self.rows:
            share = _share(row["change"], row, self.quantity)
            if share is not None:
                own = interval(row["change"], row["change_error"], row["images"] - 1, comparisons=len(self.rows))
                parts = [_share(end, row, self.quantity) for end in own or ()]
                shares.append(share)
                ends.append((parts[0], parts[1]) if own else None)
        return typical(shares, ends) if shares else None  # type: ignore[arg-type]


def change_findings(table: pa.Table, quantity: Quantity) -> Iterator[Finding]:
    """One sentence for each model: at how many points of each kind the quantity falls, rises, or can't be told to move.

    All kinds of branch stand in one sentence, so that none is told without those that it is compared with. Modules that
    are no branch but have a change (`down`) get a sentence of their own; plain modules between blocks (`block`) none.

    A point counts where its `change` - this point minus the one it follows, a paired mean over images - exists; its
    95 % interval is Student's t with images - 1 degrees of freedom. What is typical is the median over points, see
    `amounts.Typical`.

    Args:
        table: result rows of the diagnostic, with the leading columns.
        quantity: one of `QUANTITIES`.
    """
    serial = 0
    optional = [name for name in quantity.optional if name in table.column_names]
    for name, rows in grouped(table, (*_COLUMNS, *_CHANGE, *quantity.columns, *optional, quantity.value)).items():
        told = _told(rows, quantity)
        branches = [one for one in told if one.kind in BRANCHES]
        for own in (branches, *([one] for one in told if one.kind not in BRANCHES)):
            if any(one.rows for one in own):
                serial += 1
                finding = _finding(f"rows-{quantity.diagnostic}-{serial}", name, rows, own)
                yield finding if name == rows[0]["model"] else dataclasses.replace(finding, brief=finding.headline)


def _told(rows: Sequence[Row], quantity: Quantity) -> list[_Told]:
    here = [row for row in rows if row.get("high_frequency", True)]
    kinds = {row["kind"] for row in here} - {Kind.BLOCK}
    told = []
    for kind in [*(kind for kind in KIND_MARKS if kind in kinds), *sorted(kinds - set(KIND_MARKS))]:
        members = [row for row in here if row["kind"] == kind]
        known = [row for row in members if row["change"] is not None and math.isfinite(row["change"])]
        told.append(_Told(kind, tuple(known), tuple(row for row in members if row not in known), quantity))
    return told


def _finding(anchor: str, name: str, rows: Sequence[Row], told: Sequence[_Told]) -> Finding:
    quantity = told[0].quantity
    staged = region_names(rows)
    label = name + weights_remark(rows)
    said = headline(quantity.words, [(one.words, one.counts, one.is_unchanged) for one in told], label)
    # A sentence that ends in a bracket has the tally of its only kind.
    told_already = len(told) == 1 and said.endswith(")")
    details = [_detail(one, rows, staged=staged, tallied=told_already) for one in told]
    if len(told) > 1:
        heads = [f"{one.words[0].upper()}{one.words[1:]} ({one.kind}): " for one in told]
        details = [f"{head}{text[0].lower()}{text[1:]}" for head, text in zip(heads, details, strict=True) if text]
    counted = [one for one in told if one.rows]
    verdicts = {one.verdict for one in counted}
    return Finding(
        anchor=anchor,
        diagnostic=quantity.diagnostic,
        model=rows[0]["model"],
        kind="/".join(one.kind for one in counted),
        verdict=verdicts.pop() if len(verdicts) == 1 else "mixed",
        headline=f"In {label}, {said}.",
        brief=f"{said[0].upper()}{said[1:]}.",
        detail=" ".join(filter(None, (quantity.remark, *details))),
        columns=_SHOWN,
        rows=tuple(shown for one in counted for shown in _shown(one)),
        strength=max(_strength(one) for one in counted),
    )


def _detail(told: _Told, rows: Sequence[Row], *, staged: bool, tallied: bool) -> str:
    sentences = []
    if told.is_unchanged:
        sentences.append("It does not move at all: usual for residual branches whose last layer starts at zero.")
    elif told.rows:
        middle = told.typical
        regions = [region_of(row["stage"], row["depth"], staged=staged) for row in told.rows]
        small = any(_SLIGHTLY in verdict for verdict in told.verdicts)
        sentences += ["" if tallied and not small else _tally(told.counts), middle.text if middle else ""]
        # Where the ratio did not clearly move, neither did its parts.
        if middle and middle.is_clear and "log_amplitude" in rows[0]:
            sentences.append(what_moved(rows, told.rows))
        sentences.append(_places(regions, told.verdicts))
    if told.apart:
        more = " more" if told.rows else ""
        have = f"1{more} of its points has" if len(told.apart) == 1 else f"{len(told.apart)}{more} of its points have"
        sentences.append(f"{have} no change ({_reasons(told.apart)}).")
    return " ".join(filter(None, sentences))


def _tally(counts: dict[str, int]) -> str:
    """'Lower at 7 of 12 points, higher at 3, no clear change at 2.'; nothing where all do the same, plainly."""
    ranked = sorted((name for name in _VERDICTS if counts[name]), key=lambda name: -counts[name])
    first, *others = ranked
    if not others and _SLIGHTLY not in first and first != NO_CLEAR_CHANGE:
        return ""
    said = f"{_PLACED[first]} at {counts[first]} of {sum(counts.values())} points"
    text = joined([said, *(f"{_PLACED[name]} at {counts[name]}" for name in others)])
    return f"{text[0].upper()}{text[1:]}."


def _reasons(apart: Sequence[Row]) -> str:
    """Why points have no change, without the names and sizes that the table tells."""
    notes = (re.split(" than |: ", row["change_note"])[0] or "no number" for row in apart)
    return joined(list(dict.fromkeys(notes)))


def _share(change: float, row: Row, quantity: Quantity) -> float | None:
    """A change in percent of what the quantity was at the point that is followed."""
    if quantity.diagnostic == "fourier":
        return 100 * math.expm1(min(change, 700.0))
    before = None if row[quantity.value] is None else row[quantity.value] - row["change"]
    return None if before is None or before <= 0 else 100 * change / before


def _verdict(row: Row, quantity: Quantity, ends: Ends | None) -> str:
    verdict, share = verdict_of(ends), _share(row["change"], row, quantity)
    small = share is not None and abs(share) < LEAST_PERCENT and verdict != NO_CLEAR_CHANGE
    return f"{verdict} {_SLIGHTLY}" if small else verdict


def _is_unchanged(row: Row, quantity: Quantity) -> bool:
    # A logarithm's change is relative by itself.
    level = 1.0 if quantity.diagnostic == "fourier" else abs(row[quantity.value] or 0.0)
    return bool(max(abs(row["change"]), row["change_error"] or 0.0) <= _EXACT * level)


def _counts(verdicts: Sequence[str]) -> dict[str, int]:
    return {name: list(verdicts).count(name) for name in _VERDICTS}


def _overall(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    return next((name for name, count in counts.items() if 2 * count > total), "mixed")


def _strength(told: _Told) -> float:
    counts = told.counts
    return abs(counts["lowers"] - counts["raises"]) / len(told.rows) * math.log1p(len(told.rows))


def _places(regions: Sequence[str], verdicts: Sequence[str]) -> str:
    """The stages, or thirds of depth, by what most of their points do; nothing where all points do the same."""
    names = sorted(set(regions), key=_region_order)
    if len(names) == 1 or len(set(verdicts)) == 1:
        return ""
    clauses: dict[str, list[str]] = {}
    for region in names:
        counts = _counts([verdict for name, verdict in zip(regions, verdicts, strict=True) if name == region])
        overall = _overall(counts)
        if overall == "mixed":
            tally = ", ".join(f"{count} {_PLACED[name]}" for name, count in counts.items() if count)
            clauses.setdefault(overall, []).append(f"{region} ({tally})")
        else:
            clauses.setdefault(overall, []).append(f"{region} ({counts[overall]} of {sum(counts.values())})")
    said = [f"{words} in {joined(clauses[name])}" for name, words in _PLACED.items() if name in clauses]
    return f"By {'third of depth' if 'third' in names[0] else 'stage'}: {'; '.join(said)}."


def _region_order(region: str) -> tuple[int, str]:
    order = ("the stem", "the first third", "the middle third", "the last third")
    if region in order:
        return order.index(region), region
    return len(order) + int(region.removeprefix("stage ")), region


def _shown(told: _Told) -> Iterator[tuple[Any, ...]]:
    for row, ends, verdict in zip(told.rows, told.ends, told.verdicts, strict=True):
        grid = f"{row['grid_height']} × {row['grid_width']}"
        place = (row["point"], row["kind"], row["follows"], row["stage"], row["depth"], grid)
        low, high = ends or (None, None)
        yield *place, row[told.quantity.value], row["change"], row["change_error"], low, high, verdict
