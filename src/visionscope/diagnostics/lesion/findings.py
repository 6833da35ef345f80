"""Sentences on what a network can do without: units removed, early and late, of one kind and of another."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import UNKNOWN, Finding, about, capital, joined, number
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.lesion.question import Lesion
from visionscope.diagnostics.lesion.results import BY_DEPTH, beside
from visionscope.diagnostics.outcomes.words import (
    PAIRED_LIMIT,
    chance,
    change_text,
    compared_by_model,
    difference_of,
    is_clear,
    no_difference,
)

Row = Mapping[str, Any]
_CHANGES = ("images", "accuracy", "change", "change_low", "change_high", "p", "p_holm")
_UNITS = ("unit", "other_unit", "mode", "kind", "stage", "depth", "how", "calls")
_WORST = 3
_MODES = {
    "branch": "the branch of one block",
    "conv": "one convolution",
    "block": "one whole block",
    "pairs": "one branch or of two at once",
}
_LIMITS = (
    "A unit is taken out of a trained network and nothing is trained again: the later layers get features that they "
    "have never seen. A large loss says that they rely on the unit, not that a network trained without it would do "
    "worse.",
    "Units of different kind hold different shares of the parameters and the work; losses of single removals do not "
    "add up.",
    PAIRED_LIMIT,
)


def limits(asked: Lesion, tables: Tables) -> Sequence[str]:
    """What a removal can't tell."""
    return _LIMITS


def findings(asked: Lesion, tables: Tables) -> list[Finding]:
    """For each model and mode which removals hurt most, whether early ones hurt more, and which kind."""
    compared = compared_by_model(tables)
    return [
        finding
        for name, rows in rows_by_model(tables["summary"]).items()
        for finding in _of_model([row for row in rows if row["unit"]], compared.get(name, []))
    ]


def _of_model(rows: Sequence[Row], compared: Sequence[Row]) -> Iterator[Finding]:
    for mode in dict.fromkeys(row["mode"] for row in rows):
        own = [row for row in rows if row["mode"] == mode]
        yield _worst_units(mode, own)
        by_depth = [one for one in compared if one["number"] == f"{BY_DEPTH}, mode {mode}"]
        if by_depth:
            yield _by_depth(mode, own, by_depth[0])
    ends = [one for one in compared if not one["number"].startswith(BY_DEPTH)]
    if ends:
        yield _kinds_at_ends([row for row in rows if row["mode"] == "branch" and not row["other_unit"]], ends)


def _worst_units(mode: str, rows: Sequence[Row]) -> Finding:
    ordered = sorted(rows, key=lambda row: float(row["change"]))
    quiet = [row for row in rows if not is_clear(row)]
    clear = [row for row in ordered if is_clear(row) and row["change"] < 0]
    what = _MODES.get(mode, mode)
    if clear:
        statement = f"of all removals of {what}, that of {_unit(clear[0])} costs most: {change_text(clear[0])}"
        others = [f"{_unit(row)} {number(row['change'])}" for row in clear[1:_WORST]]
        detail = [f"Next: {joined(others)} percentage points."] if others else []
    else:
        statement = f"no removal of {what} lowers accuracy by more than chance could"
        detail = [f"The largest change is that of {_unit(ordered[0])}: {change_text(ordered[0])}."]
    if quiet and clear:
        detail.append(no_difference(len(quiet), len(rows), "removals"))
    elif clear:
        detail.append(f"All {len(rows)} removals make a difference that chance could not.")
    columns = (*_UNITS, *_CHANGES)
    return about(ordered, statement, detail=detail, columns=columns, strength=0.5 if clear else 0.0)


def _by_depth(mode: str, rows: Sequence[Row], compared: Row) -> Finding:
    rho, what = compared["difference"], _MODES.get(mode, mode)
    if is_clear(compared):
        statement = f"removing {what} costs more the {'earlier' if rho > 0 else 'later'} it is"
    else:
        statement = f"it is unclear whether early removals of {what} hurt more than late ones"
    numbers = f"{number(rho, 2)}, {chance(compared['p'])}, over {compared['images']} units"
    return about(
        sorted(rows, key=lambda row: float(row["depth"])),
        statement,
        detail=[f"{capital(BY_DEPTH)} {numbers}."],
        columns=("unit", "depth", "stage", "kind", "change", "change_low", "change_high", "p_holm"),
        verdict="described" if is_clear(compared) else UNKNOWN,
        strength=abs(rho) if is_clear(compared) else 0.0,
    )


def _kinds_at_ends(rows: Sequence[Row], compared: Sequence[Row]) -> Finding:
    """Whether the msa or the mlp or convolution beside it matters more, at the beginnings and at the ends of stages."""
    pairs = [list(beside(rows, place)) for place in (0, -1)]
    kinds = " or ".join(sorted({str(other["kind"]) for _, other in pairs[1]}))
    said: dict[str, list[str]] = {}
    detail = [f"{len(pairs[1])} stage{'s have' if len(pairs[1]) > 1 else ' has'} both."]
    for place, one in zip(("beginning", "end"), compared, strict=True):
        more, less = ("msa", kinds) if one["difference"] < 0 else (kinds, "msa")
        certain = f"removing {more} costs more than {less}"
        said.setdefault(certain if is_clear(one) else f"msa and {kinds} can't be told apart", []).append(f"the {place}")
        numbers = f"accuracy without msa less that without {kinds}: {difference_of(one)}, {chance(one['p_holm'])}"
        detail.append(f"{place[0].upper()}{place[1:]}: {numbers}.")
    chosen = list({row["unit"]: row for own in pairs for pair in own for row in pair}.values())
    clear = any(map(is_clear, compared))
    return about(
        chosen,
        "; ".join(f"at {' and at '.join(places)} of stages, {words}" for words, places in said.items()),
        detail=detail,
        columns=("unit", "kind", "stage", "depth", *_CHANGES),
        verdict="described" if clear else UNKNOWN,
        strength=0.6 if clear else 0.0,
    )


def _unit(row: Row) -> str:
    other = row["other_unit"]
    return f"{row['unit']} with {other}" if other else str(row["unit"])
