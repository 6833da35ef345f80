"""Sentences on what a network can do without: units removed, early and late, of one kind and of another."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.finding import UNKNOWN, Finding, grouped, joined, number
from visionscope.numerics.paired import Values, holm, paired_means
from visionscope.numerics.ranks import rank_correlation
from visionscope.report.compare import (
    SIGNIFICANT,
    Measured,
    about,
    chance,
    change_text,
    difference_text,
    is_clear,
    measured_models,
    no_difference,
)

_CHANGES = ("images", "accuracy", "change", "change_low", "change_high", "p", "p_holm")
_UNITS = ("unit", "other_unit", "mode", "kind", "stage", "depth", "how", "calls")
_LEAST_UNITS = 5
_WORST = 3
_MODES = {
    "branch": "the branch of one block",
    "conv": "one convolution",
    "block": "one whole block",
    "pairs": "one branch or of two at once",
}


def lesion_findings(table: pa.Table, summary: pa.Table) -> Iterator[Finding]:
    """For each model and mode which removals hurt most, how many don't, whether early ones hurt more, and which kind.

    Early and late: Spearman's rank correlation of the change with depth, over the units of one mode. Its p takes units
    for independent draws, which neighbours are not quite: the sentence says over how many units.

    Args:
        table: outcomes with the leading columns.
        summary: what they come to.
    """
    serial = itertools.count(1)
    outcomes = measured_models(table, ("mode", "unit", "other_unit"))
    for name, rows in grouped(summary, summary.column_names).items():
        removed = [row for row in rows if row["change"] is not None and row["unit"]]
        for mode, own in _by(removed, "mode").items():
            yield _worst_units(serial, name, mode, own)
            if len(own) >= _LEAST_UNITS and not any(row["other_unit"] for row in own):
                yield _by_depth(serial, name, mode, own)
        ends = _kinds_at_ends(serial, name, [row for row in removed if not row["other_unit"]], outcomes[name])
        if ends is not None:
            yield ends


def _worst_units(serial: Iterator[int], name: str, mode: str, rows: Sequence[Mapping[str, Any]]) -> Finding:
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
    return about(
        "lesion", serial, name, ordered, statement,
        detail=detail, columns=(*_UNITS, *_CHANGES), strength=0.5 if clear else 0.0,
    )  # fmt: skip


def _by_depth(serial: Iterator[int], name: str, mode: str, rows: Sequence[Mapping[str, Any]]) -> Finding:
    rho, p = rank_correlation([row["depth"] for row in rows], [row["change"] for row in rows])
    what = _MODES.get(mode, mode)
    numbers = f"rank correlation of the change with depth {number(rho, 2)}, {chance(p)}, over {len(rows)} units"
    if p < SIGNIFICANT:
        statement = f"removing {what} costs more the {'earlier' if rho > 0 else 'later'} it is ({numbers})"
    else:
        statement = f"whether early removals of {what} hurt more than late ones can't be told ({numbers})"
    return about(
        "lesion", serial, name, sorted(rows, key=lambda row: float(row["depth"])), statement,
        columns=("unit", "depth", "stage", "kind", "change", "change_low", "change_high", "p_holm"),
        verdict="described" if p < SIGNIFICANT else UNKNOWN, strength=abs(rho) if p < SIGNIFICANT else 0.0,
    )  # fmt: skip


def _kinds_at_ends(
    serial: Iterator[int], name: str, rows: Sequence[Mapping[str, Any]], outcomes: Measured
) -> Finding | None:
    """Whether the msa or the mlp or convolution beside it matters more, at the beginnings and at the ends of stages."""
    branches = [row for row in rows if row["mode"] == "branch"]
    firsts: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    lasts: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for own in _by(branches, "stage").values():
        ordered = sorted(own, key=lambda row: float(row["depth"]))
        msa = [row for row in ordered if row["kind"] == "msa"]
        others = [row for row in ordered if row["kind"] in ("mlp", "conv")]
        if msa and others:
            firsts.append((msa[0], others[0]))
            lasts.append((msa[-1], others[-1]))
    if not lasts:
        return None

    def mean(chosen: Sequence[Mapping[str, Any]]) -> Values:
        return outcomes.mean([(row["mode"], row["unit"], row["other_unit"]) for row in chosen])

    found = {}
    for place, pairs in (("beginning", firsts), ("end", lasts)):
        found[place] = paired_means(mean([row for row, _ in pairs]), mean([row for _, row in pairs]))
    raised = holm([one.p for one in found.values()])
    said, detail = [], []
    stages = "of its only stage" if len(lasts) == 1 else f"of its {len(lasts)} stages that have both"
    kinds = " or ".join(sorted({str(other["kind"]) for _, other in lasts}))
    for (place, one), p in zip(found.items(), raised, strict=True):
        numbers = f"accuracy without msa less that without {kinds}: {difference_text(one)}, {chance(p)}"
        if p < SIGNIFICANT:
            more, less = ("msa", kinds) if one.value < 0 else (kinds, "msa")
            said.append(f"at the {place} {stages}, removing {more} costs more than removing {less}")
        else:
            said.append(f"at the {place} {stages}, msa and {kinds} can't be told apart")
        detail.append(f"{place[0].upper()}{place[1:]}: {numbers}.")
    chosen = list({row["unit"]: row for pairs in (firsts, lasts) for pair in pairs for row in pair}.values())
    clear = min(raised) < SIGNIFICANT
    return about(
        "lesion", serial, name, chosen, "; ".join(said), detail=detail,
        columns=("unit", "kind", "stage", "depth", *_CHANGES),
        verdict="described" if clear else UNKNOWN, strength=0.6 if clear else 0.0,
    )  # fmt: skip


def _unit(row: Mapping[str, Any]) -> str:
    other = row["other_unit"]
    return f"{row['unit']} with {other}" if other else str(row["unit"])


def _by(rows: Sequence[Mapping[str, Any]], key: str) -> dict[Any, list[Mapping[str, Any]]]:
    found: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row[key], []).append(row)
    return found
