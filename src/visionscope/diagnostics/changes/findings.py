"""Sentences on what each kind of block does to a quantity, counted point by point."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import (
    NO_CLEAR_CHANGE,
    UNCHANGED,
    Finding,
    about,
    capital,
    joined,
    label_of,
    region_names,
    region_of,
)
from visionscope.core.grouping import rows_by_model
from visionscope.core.reference import state_of
from visionscope.core.subject import KIND_WORDS, Kind
from visionscope.diagnostics.changes.headline import BY_LESS, headline
from visionscope.diagnostics.changes.results import BRANCHES, COUNTS, SLIGHTLY, Quantity
from visionscope.diagnostics.changes.words import is_clear, median_text

_SHOWN = (
    *("point", "kind", "follows", "stage", "depth", "grid_height", "grid_width"),
    *("value", "change", "change_error", "low", "high", "verdict"),
)
_PLACED = {
    "lowers": "lower",
    "raises": "higher",
    f"lowers {SLIGHTLY}": f"lower {BY_LESS}",
    f"raises {SLIGHTLY}": f"higher {BY_LESS}",
    "mixed": "mixed",
    NO_CLEAR_CHANGE: NO_CLEAR_CHANGE,
}

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class _Told:
    """What is known of the points of one kind in one network.

    Attributes:
        kind: its row of the summary.
        points: the points that have a change.
        apart: those that have none.
    """

    kind: Row
    points: tuple[Row, ...]
    apart: tuple[Row, ...]

    @property
    def name(self) -> str:
        return str(self.kind["kind"])

    @property
    def words(self) -> str:
        return next((words for kind, words in KIND_WORDS.items() if kind == self.name), self.name)

    @property
    def counts(self) -> dict[str, int]:
        return {verdict: self.kind[column] for verdict, column in COUNTS.items()}

    @property
    def verdict(self) -> str:
        return UNCHANGED if self.kind["unchanged"] else _overall(self.counts)

    @property
    def strength(self) -> float:
        counts = self.counts
        return abs(counts["lowers"] - counts["raises"]) / len(self.points) * math.log1p(len(self.points))


def change_findings(
    tables: Tables, quantity: Quantity, more: Callable[[Row], str] = lambda kind: ""
) -> Iterator[Finding]:
    """One sentence for each model: at how many points of each kind the quantity falls, rises, or is unclear.

    All kinds of branch stand in one sentence, so that none is told without those that it is compared with. Modules that
    are no branch but have a change (`down`) get a sentence of their own; plain modules between blocks (`block`) none.

    Args:
        tables: with rows of the diagnostic, `kind_changes` as the summary and `point_changes` as comparisons.
        quantity: what they measure.
        more: from the row of a kind whose median is clear, a further sentence, or "".
    """
    if "summary" not in tables or "comparisons" not in tables:
        return
    stages = rows_by_model(tables["rows"].select(["model", "job", "stage"]))
    points = rows_by_model(tables["comparisons"])
    for name, kinds in rows_by_model(tables["summary"]).items():
        told = [_told(kind, points[name]) for kind in kinds if kind["kind"] != Kind.BLOCK]
        branches = [one for one in told if one.name in BRANCHES]
        staged = region_names(stages[name])
        for own in (branches, *([one] for one in told if one.name not in BRANCHES)):
            if any(one.points for one in own):
                yield _finding(own, quantity, more, staged=staged)


def _told(kind: Row, points: Sequence[Row]) -> _Told:
    members = [row for row in points if row["kind"] == kind["kind"]]
    return _Told(
        kind,
        tuple(row for row in members if row["change"] is not None),
        tuple(row for row in members if row["change"] is None),
    )


def _finding(told: Sequence[_Told], quantity: Quantity, more: Callable[[Row], str], *, staged: bool) -> Finding:
    counted = [one for one in told if one.points]
    rows = [row for one in counted for row in one.points]
    said = headline(quantity.words, [(one.words, one.counts, one.kind["unchanged"]) for one in told], label_of(rows))
    # A sentence that ends in a bracket has the tally of its only kind.
    told_already = len(told) == 1 and said.endswith(")")
    details = [_detail(one, more, staged=staged, tallied=told_already) for one in told]
    if len(told) > 1:
        heads = [f"{capital(one.words)} ({one.name}): " for one in told]
        details = [f"{head}{text[0].lower()}{text[1:]}" for head, text in zip(heads, details, strict=True) if text]
    verdicts = {one.verdict for one in counted}
    agreements = [_agrees(one.kind, quantity.reported[one.name]) for one in counted if one.name in quantity.reported]
    first = counted[0]
    return about(
        rows,
        said,
        detail=(quantity.remark, *details),
        columns=_SHOWN,
        kind="/".join(one.name for one in counted),
        verdict=verdicts.pop() if len(verdicts) == 1 else "mixed",
        strength=max(one.strength for one in counted),
        state=state_of(agreements, rows),
        measure=f"median change of {quantity.words.removeprefix('the ')} at {first.words} points",
        value=first.kind["median"],
        low=first.kind["low"],
        high=first.kind["high"],
        unit="%",
        n=len(first.points),
    )


def _agrees(kind: Row, reported: str) -> bool | None:
    """Whether most points of a kind, and their median, go where the paper says; None where they go either way."""
    falls, rises = kind["falls"] + kind["falls_slightly"], kind["rises"] + kind["rises_slightly"]
    most = 2 * max(falls, rises) > kind["points"]
    if kind["median"] is None or kind["unchanged"] or not most or not is_clear(kind):
        return None
    return bool(("raises" if kind["median"] > 0 else "lowers") == reported)


def _detail(told: _Told, more: Callable[[Row], str], *, staged: bool, tallied: bool) -> str:
    sentences = []
    if told.kind["unchanged"]:
        sentences.append("It does not move at all: usual for residual branches whose last layer starts at zero.")
    elif told.points:
        verdicts = [row["verdict"] for row in told.points]
        small = any(SLIGHTLY in verdict for verdict in verdicts)
        sentences += ["" if tallied and not small else _tally(told.counts), median_text(told.kind)]
        # Where the quantity did not clearly move, neither did its parts.
        if is_clear(told.kind):
            sentences.append(more(told.kind))
        sentences.append(
            _places([region_of(row["stage"], row["depth"], staged=staged) for row in told.points], verdicts)
        )
    if told.apart:
        others = " more" if told.points else ""
        count = len(told.apart)
        have = f"1{others} of its points has" if count == 1 else f"{count}{others} of its points have"
        sentences.append(f"{have} no change ({_reasons(told.apart)}).")
    return " ".join(filter(None, sentences))


def _tally(counts: Mapping[str, int]) -> str:
    """'Lower at 7 of 12 points, higher at 3, no clear change at 2.'; nothing of one point or where all do alike."""
    if sum(counts.values()) == 1:
        return ""
    ranked = sorted((name for name in COUNTS if counts[name]), key=lambda name: -counts[name])
    first, *others = ranked
    if not others and SLIGHTLY not in first and first != NO_CLEAR_CHANGE:
        return ""
    said = f"{_PLACED[first]} at {counts[first]} of {sum(counts.values())} points"
    return f"{capital(joined([said, *(f'{_PLACED[name]} at {counts[name]}' for name in others)]))}."


def _reasons(apart: Sequence[Row]) -> str:
    """Why points have no change, without the names and sizes that the table tells."""
    notes = (re.split(" than |: ", row["note"])[0] for row in apart)
    return joined(list(dict.fromkeys(notes)))


def _overall(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    return next((name for name, count in counts.items() if 2 * count > total), "mixed")


def _places(regions: Sequence[str], verdicts: Sequence[str]) -> str:
    """The stages, or thirds of depth, by what most of their points do; nothing where all points do the same."""
    names = sorted(set(regions), key=_region_order)
    if len(names) == 1 or len(set(verdicts)) == 1:
        return ""
    clauses: dict[str, list[str]] = {}
    for region in names:
        own = [verdict for name, verdict in zip(regions, verdicts, strict=True) if name == region]
        counts = {name: own.count(name) for name in COUNTS}
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
