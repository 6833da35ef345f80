"""Sentences on what a network can do without: units removed, early and late, of one kind and of another."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import UNKNOWN, Finding, about, capital, counted, joined, number
from visionscope.core.grouping import rows_by_model
from visionscope.core.reference import state_of
from visionscope.diagnostics.lesion.question import Lesion
from visionscope.diagnostics.lesion.results import BY_DEPTH, beside
from visionscope.diagnostics.outcomes.fairness import nothing_to_lose
from visionscope.diagnostics.outcomes.rows import CHANGES
from visionscope.diagnostics.outcomes.words import (
    PAIRED_LIMIT,
    chance,
    change_numbers,
    change_text,
    compared_by_model,
    difference_of,
    is_clear,
    masks_limit,
    no_difference,
    numbers_of,
)

Row = Mapping[str, Any]
_UNITS = ("unit", "other_unit", "mode", "kind", "stage", "depth", "how", "calls")
_WORST = 3
_MODES = {
    "branch": "one branch",
    "conv": "one convolution",
    "block": "one block",
    "pairs": "one or two branches",
}
_PLACES = ("beginnings", "ends")
_PLURALS = {"conv": "convolutions", "mlp": "MLPs"}
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
    return (*_LIMITS, *masks_limit(tables))


def findings(asked: Lesion, tables: Tables) -> list[Finding]:
    """For each model and mode which removals hurt most, whether early ones hurt more, and which kind."""
    compared = compared_by_model(tables)
    return [
        finding
        for name, rows in rows_by_model(tables["summary"]).items()
        for finding in _of_model([row for row in rows if row["unit"]], compared.get(name, []))
    ]


def _of_model(rows: Sequence[Row], compared: Sequence[Row]) -> Iterator[Finding]:
    idle = nothing_to_lose(rows)
    if idle is not None:
        yield idle
        return
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
        statement = (
            f"removing {_unit(clear[0])} costs most: {number(-clear[0]['change'])} percentage points of accuracy"
        )
        detail = [f"With {what} removed at a time: {change_text(clear[0])}."]
        others = [f"{_unit(row)} {number(row['change'])}" for row in clear[1:_WORST]]
        detail += [f"Next: {joined(others)} percentage points."] if others else []
        detail.append(no_difference(len(quiet), len(rows), "removals"))
    else:
        statement = f"no removal of {what} lowers accuracy significantly"
        detail = [f"The largest change is without {_unit(ordered[0])}: {change_text(ordered[0])}."]
    return about(
        ordered,
        statement,
        detail=detail,
        columns=(*_UNITS, *CHANGES),
        strength=0.5 - clear[0]["change"] / 200 if clear else 0.0,
        **change_numbers(ordered[0]),
    )


def _by_depth(mode: str, rows: Sequence[Row], compared: Row) -> Finding:
    """Whether early removals cost more than late ones; in the paper early ones do (figures 10b and D.4)."""
    rho, what = compared["difference"], _MODES.get(mode, mode)
    clear = is_clear(compared)
    if clear:
        statement = f"removing {what} costs more the {'earlier' if rho > 0 else 'later'} it is"
    else:
        statement = f"the cost of removing {what} has no significant trend with depth"
    numbers = f"{number(rho, 2)}, {chance(compared['p'])}, over {counted(compared['images'], 'unit')}"
    return about(
        sorted(rows, key=lambda row: float(row["depth"])),
        statement,
        detail=[f"{capital(BY_DEPTH)} {numbers}."],
        columns=("unit", "depth", "stage", "kind", "change", "change_low", "change_high", "p_holm"),
        verdict="described" if clear else UNKNOWN,
        strength=abs(rho) if clear else 0.0,
        state=state_of([rho > 0 if clear else None], rows),
        **numbers_of(compared),
    )


def _kinds_at_ends(rows: Sequence[Row], compared: Sequence[Row]) -> Finding:
    """Whether the msa or the mlp or convolution beside it matters more, at the beginnings and at the ends of stages.

    In the paper the others matter more at the beginnings, and msa at the ends (figures 10b and D.4).
    """
    pairs = [list(beside(rows, place)) for place in (0, -1)]
    kinds = " or ".join(sorted({str(other["kind"]) for _, other in pairs[1]}))
    stages = "1 stage has both." if len(pairs[1]) == 1 else f"{len(pairs[1])} stages have both."
    detail = [stages]
    for place, one in zip(_PLACES, compared, strict=True):
        numbers = f"accuracy without msa less that without {kinds}: {difference_of(one)}, {chance(one['p_holm'])}"
        detail.append(f"{capital(place)}: {numbers}.")
    chosen = list({row["unit"]: row for own in pairs for pair in own for row in pair}.values())
    clear = [one for one in compared if is_clear(one)]
    agreements = [
        (one["difference"] < 0) == (place == "ends") if is_clear(one) else None
        for place, one in zip(_PLACES, compared, strict=True)
    ]
    return about(
        chosen,
        _compared_at_ends(kinds, compared),
        detail=detail,
        columns=("unit", "kind", "stage", "depth", *CHANGES),
        verdict="described" if clear else UNKNOWN,
        strength=0.6 if clear else 0.0,
        state=state_of(agreements, rows),
        **numbers_of((clear or compared)[-1]),
    )


def _compared_at_ends(kinds: str, compared: Sequence[Row]) -> str:
    """'removing MLPs costs more than self-attention at the beginnings of stages, and less at the ends'."""
    others = " or ".join(_PLURALS[kind] for kind in kinds.split(" or "))
    # Whether self-attention matters more, by place, where it is clear.
    attention = {place: one["difference"] < 0 for place, one in zip(_PLACES, compared, strict=True) if is_clear(one)}
    if not attention:
        return f"no significant difference between removing self-attention and {others} at either end of stages"
    first = next(iter(attention))
    more, less = ("self-attention", others) if attention[first] else (others, "self-attention")
    said = f"removing {more} costs more than {less} at the {first} of stages"
    if len(attention) == len(_PLACES):
        same = len(set(attention.values())) == 1
        return said.replace(" of stages", " and ends of stages") if same else f"{said}, and less at the ends"
    (unclear,) = set(_PLACES) - set(attention)
    return f"{said}; no significant difference at the {unclear}"


def _unit(row: Row) -> str:
    other = row["other_unit"]
    return f"{row['unit']} with {other}" if other else str(row["unit"])
