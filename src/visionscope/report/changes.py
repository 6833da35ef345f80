"""Sentences on what each kind of block does to high frequencies and to the variance, counted point by point."""

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from statistics import fmean, median
from typing import Any

import pyarrow as pa

from visionscope.core.types import Kind
from visionscope.report.amounts import LEAST_PERCENT, measured, percent, what_moved
from visionscope.report.finding import (
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
from visionscope.report.style import KIND_MARKS, mark_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a table measures at each point, and how sentences call it.

    Attributes:
        diagnostic: the table's name.
        words: with article.
        value: the column of the measure itself; `change` and `change_error` say how it moved.
        columns: further columns that sentences need.
        optional: columns that older tables lack.
    """

    diagnostic: str
    words: str
    value: str
    columns: tuple[str, ...]
    optional: tuple[str, ...] = ()


QUANTITIES = (
    Quantity(
        diagnostic="fourier",
        words="the high-frequency amplitude relative to the map's mean",
        value="delta_log_amplitude",
        columns=("frequency", "high_frequency", "profile"),
        optional=("log_amplitude",),
    ),
    Quantity(diagnostic="variance", words="the variance of the feature maps", value="variance", columns=()),
)

_COLUMNS = ("point", "kind", "stage", "depth", "grid_height", "grid_width", "images")
_CHANGE = ("follows", "change", "change_error", "change_note")
_SHOWN = (
    "point",
    "follows",
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
_SLIGHTLY = "slightly"
_VERBS = {
    "lowers": "lowers",
    "raises": "raises",
    f"lowers {_SLIGHTLY}": "lowers",
    f"raises {_SLIGHTLY}": "raises",
    NO_CLEAR_CHANGE: "makes no clear change to",
}
_BY_LESS = f"by less than {LEAST_PERCENT} %"
_BRIEFLY = {
    "lowers": "down",
    "raises": "up",
    f"lowers {_SLIGHTLY}": f"down {_BY_LESS}",
    f"raises {_SLIGHTLY}": f"up {_BY_LESS}",
    NO_CLEAR_CHANGE: "unclear",
}
_PLACED = {
    "lowers": "lower in",
    "raises": "higher in",
    f"lowers {_SLIGHTLY}": f"lower {_BY_LESS} in",
    f"raises {_SLIGHTLY}": f"higher {_BY_LESS} in",
    "mixed": "mixed in",
    NO_CLEAR_CHANGE: f"{NO_CLEAR_CHANGE} in",
}
_IN_WORDS = ("three", "four", "five", "six", "seven", "eight", "nine")
_EXACT = 1e-7


def change_findings(table: pa.Table, quantity: Quantity) -> Iterator[Finding]:
    """One sentence for each model and kind: at how many points the quantity falls, rises, or can't be told to move.

    A point counts where its `change` - this point minus the one it follows, a paired mean over images - exists, but
    for plain modules between blocks (kind `block`); its 95 % interval is Student's t with images - 1 degrees of
    freedom. The interval of the mean over points takes the mean of the points' standard errors: the points share their
    images, and for any correlation between them the true error is no larger.

    Args:
        table: result rows of the diagnostic, with the leading columns.
        quantity: one of `QUANTITIES`.
    """
    serial = 0
    optional = [name for name in quantity.optional if name in table.column_names]
    for name, rows in grouped(table, (*_COLUMNS, *_CHANGE, *quantity.columns, *optional, quantity.value)).items():
        here = [row for row in rows if row.get("high_frequency", True)]
        staged = region_names(rows)
        label = name + weights_remark(rows)
        for kind in _ordered({row["kind"] for row in here}):
            members = [row for row in here if row["kind"] == kind]
            known = [row for row in members if row["change"] is not None and math.isfinite(row["change"])]
            if known and kind != Kind.BLOCK:
                serial += 1
                anchor = f"rows-{quantity.diagnostic}-{serial}"
                moved = what_moved(rows, known) if optional else ""
                one = _finding(
                    anchor,
                    label,
                    known,
                    [row for row in members if row not in known],
                    quantity,
                    staged=staged,
                    moved=moved,
                )
                yield one if name == rows[0]["model"] else dataclasses.replace(one, brief=one.headline)


def _ordered(kinds: set[str]) -> list[str]:
    known = [kind for kind in KIND_MARKS if kind in kinds]
    return [*known, *sorted(kinds - set(known))]


def _finding(
    anchor: str,
    label: str,
    rows: list[dict[str, Any]],
    apart: list[dict[str, Any]],
    quantity: Quantity,
    *,
    staged: bool,
    moved: str,
) -> Finding:
    ends = [interval(row["change"], row["change_error"], row["images"] - 1) for row in rows]
    verdicts = [_verdict(row, quantity, pair) for row, pair in zip(rows, ends, strict=True)]
    counts = {name: verdicts.count(name) for name in _VERBS}
    unchanged = all(_is_unchanged(row, quantity) for row in rows)
    if unchanged:
        said = f"passes its input on unchanged {_everywhere(len(rows))}"
        sentences = [
            f"{quantity.words[0].upper()}{quantity.words[1:]} does not move at all: usual for residual branches whose "
            "last layer starts at zero."
        ]
    else:
        said = _counted(counts, quantity.words)
        regions = [region_of(row["stage"], row["depth"], staged=staged) for row in rows]
        # Where the ratio did not clearly move, neither did its parts.
        clear = verdict_of(_mean_interval(rows)[1]) != NO_CLEAR_CHANGE
        sentences = [_size(rows, quantity), moved if clear else "", _places(regions, verdicts)]
    if apart:
        have = "1 more of its points has" if len(apart) == 1 else f"{len(apart)} more of its points have"
        sentences.append(f"{have} no change ({_reasons(apart)}).")
    kind = rows[0]["kind"]
    subject = _subject(kind)
    return Finding(
        anchor=anchor,
        diagnostic=quantity.diagnostic,
        model=rows[0]["model"],
        kind=kind,
        verdict=UNCHANGED if unchanged else _overall(counts),
        headline=f"In {label}, {subject} {said}.",
        brief=f"{subject[0].upper()}{subject[1:]} {said}.",
        detail=" ".join(sentence for sentence in sentences if sentence),
        columns=_SHOWN,
        rows=tuple(
            _shown(row, quantity, pair, verdict) for row, pair, verdict in zip(rows, ends, verdicts, strict=True)
        ),
        strength=abs(counts["lowers"] - counts["raises"]) / len(rows) * math.log1p(len(rows)),
    )


def _reasons(apart: Sequence[dict[str, Any]]) -> str:
    """Why points have no change, without the names and sizes that the table tells."""
    notes = (re.split(" than |: ", row["change_note"])[0] or "no number" for row in apart)
    return joined(list(dict.fromkeys(notes)))


def _share(row: dict[str, Any], quantity: Quantity) -> float | None:
    """The change in percent of what the quantity was at the point it follows."""
    if quantity.diagnostic == "fourier":
        return 100 * math.expm1(row["change"])
    before = None if row[quantity.value] is None else row[quantity.value] - row["change"]
    return None if before is None or before <= 0 else 100 * row["change"] / before


def _verdict(row: dict[str, Any], quantity: Quantity, ends: tuple[float, float] | None) -> str:
    verdict, share = verdict_of(ends), _share(row, quantity)
    small = share is not None and abs(share) < LEAST_PERCENT and verdict != NO_CLEAR_CHANGE
    return f"{verdict} {_SLIGHTLY}" if small else verdict


def _is_unchanged(row: dict[str, Any], quantity: Quantity) -> bool:
    # A logarithm's change is relative by itself.
    level = 1.0 if quantity.diagnostic == "fourier" else abs(row[quantity.value] or 0.0)
    return bool(max(abs(row["change"]), row["change_error"] or 0.0) <= _EXACT * level)


def _overall(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    for name, count in counts.items():
        if 2 * count > total:
            return name
    return "mixed"


def _subject(kind: str) -> str:
    words = mark_of(kind).words if kind in KIND_MARKS else "kind"
    return f"{words} ({kind})"


def _everywhere(total: int) -> str:
    if total <= 2:
        return "at its only point" if total == 1 else "at both points"
    return f"at all {_IN_WORDS[total - 3] if total - 3 < len(_IN_WORDS) else total} points"


def _counted(counts: dict[str, int], words: str) -> str:
    total = sum(counts.values())
    ranked = sorted((name for name in _VERBS if counts[name]), key=lambda name: -counts[name])
    first, *others = ranked
    if not others:
        return f"{_VERBS[first]} {words} {_everywhere(total)}{_aside(first)}"
    said = [f"{_VERBS[first]} {words} at {counts[first]} of {total} points{_aside(first)}"]
    said += [f"{_VERBS[name]} it at {counts[name]}{_aside(name)}" for name in others if name != NO_CLEAR_CHANGE]
    unclear = f"; {NO_CLEAR_CHANGE} at {counts[NO_CLEAR_CHANGE]}" if NO_CLEAR_CHANGE in others else ""
    return joined(said) + unclear


def _aside(verdict: str) -> str:
    return f" ({_BY_LESS})" if verdict.endswith(_SLIGHTLY) else ""


def _mean_interval(rows: Sequence[dict[str, Any]]) -> tuple[float, tuple[float, float] | None]:
    mean = fmean(row["change"] for row in rows)
    errors = [row["change_error"] for row in rows]
    known = all(error is not None and math.isfinite(error) for error in errors)
    return mean, interval(mean, fmean(errors) if known else None, min(row["images"] for row in rows) - 1)


def _size(rows: Sequence[dict[str, Any]], quantity: Quantity) -> str:
    """What share of the quantity the change is, then the mean change with its interval."""
    mean, ends = _mean_interval(rows)
    unclear = verdict_of(ends) == NO_CLEAR_CHANGE
    if quantity.diagnostic == "fourier":
        said = measured("mean change in log amplitude", mean, ends, None)
        shares = [100 * math.expm1(mean)]
    else:
        found = [(row[quantity.value], _share(row, quantity)) for row in rows]
        levels = [value - row["change"] for (value, _), row in zip(found, rows, strict=True) if value is not None]
        said = measured("mean change", mean, ends, fmean(levels) if levels else None)
        shares = [share for _, share in found if share is not None]
    typical = percent(median(shares)) if shares else ""
    if unclear:
        return f"On average: {NO_CLEAR_CHANGE} ({'; '.join(filter(None, (typical, said)))})."
    return f"Typically {typical} per point ({said})." if typical else f"{said[0].upper()}{said[1:]}."


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
    said = [f"{words} {joined(clauses[name])}" for name, words in _PLACED.items() if name in clauses]
    return f"By {'third of depth' if 'third' in names[0] else 'stage'}: {'; '.join(said)}."


def _region_order(region: str) -> tuple[int, str]:
    order = ("the stem", "the first third", "the middle third", "the last third")
    if region in order:
        return order.index(region), region
    return len(order) + int(region.removeprefix("stage ")), region


def _shown(row: dict[str, Any], quantity: Quantity, ends: tuple[float, float] | None, verdict: str) -> tuple[Any, ...]:
    low, high = ends or (None, None)
    grid = f"{row['grid_height']} × {row['grid_width']}"
    place = (row["point"], row["follows"], row["stage"], row["depth"], grid)
    return (*place, row[quantity.value], row["change"], row["change_error"], low, high, verdict)
