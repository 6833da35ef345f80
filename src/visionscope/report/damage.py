"""Sentences on what a network can do without, and on which frequencies of noise break it."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from scipy.stats import spearmanr

from visionscope.numerics.paired import Values, holm, paired_means
from visionscope.report.compare import (
    SIGNIFICANT,
    Compared,
    Measured,
    Number,
    about,
    between,
    chance,
    change_text,
    compared,
    difference_text,
    is_clear,
    measured_models,
    not_compared,
)
from visionscope.report.finding import UNKNOWN, Finding, grouped, joined
from visionscope.report.style import number

_CHANGES = ("images", "accuracy", "change", "change_low", "change_high", "p", "p_holm")
_UNITS = ("unit", "other_unit", "mode", "kind", "stage", "depth", "how")
_NOISE = ("frequency", "low", "high", "noise", "eps", "energy", "space", "rms")
_LEAST_UNITS = 5
_WORST = 3
_MODES = {
    "branch": "the branch of one block",
    "conv": "one convolution",
    "block": "one whole block",
    "pair": "two units at once",
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
        verb = "makes" if len(quiet) == 1 else "make"
        detail.append(f"{len(quiet)} of {len(rows)} removals {verb} no difference that can be told from chance.")
    elif clear:
        detail.append(f"All {len(rows)} removals make a difference that chance could not.")
    return about(
        "lesion", serial, name, ordered, statement,
        detail=detail, columns=(*_UNITS, *_CHANGES), strength=0.5 if clear else 0.0,
    )  # fmt: skip


def _by_depth(serial: Iterator[int], name: str, mode: str, rows: Sequence[Mapping[str, Any]]) -> Finding:
    changes, depths = [row["change"] for row in rows], [row["depth"] for row in rows]
    if len(set(changes)) == 1 or len(set(depths)) == 1:
        rho, p = 0.0, 1.0
    else:
        found = spearmanr(depths, changes)
        rho, p = float(found.statistic), float(found.pvalue)
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
            said.append(f"at the {place} {stages} removing {more} costs more than removing {less}")
        else:
            said.append(f"at the {place} {stages} msa and {kinds} can't be told apart")
        detail.append(f"{place[0].upper()}{place[1:]}: {numbers}.")
    chosen = list({row["unit"]: row for pairs in (firsts, lasts) for pair in pairs for row in pair}.values())
    clear = min(raised) < SIGNIFICANT
    return about(
        "lesion", serial, name, chosen, "; ".join(said), detail=detail,
        columns=("unit", "kind", "stage", "depth", *_CHANGES),
        verdict="described" if clear else UNKNOWN, strength=0.6 if clear else 0.0,
    )  # fmt: skip


def noise_findings(table: pa.Table, summary: pa.Table) -> Iterator[Finding]:
    """For each model where noise costs most, high against low frequencies; for pairs of models which loses more where.

    High and low are the outer thirds of the rings that were asked. All comparisons are paired over images.

    Args:
        table: outcomes with the leading columns.
        summary: what they come to.
    """
    serial = itertools.count(1)
    outcomes = measured_models(table, ("frequency",), ("noise", "eps", "energy", "space", "coverage"))
    for name, rows in grouped(summary, summary.column_names).items():
        yield _worst_rings(serial, name, [row for row in rows if row["frequency"] is not None], outcomes[name])
    models = list(outcomes.values())
    common = [key for key in models[0].values if key != (None,) and all(key in one.values for one in models)]
    low, high = _thirds(sorted(common))
    if not low:
        return
    names = {f"high ({_range(high)})": high, f"low ({_range(low)})": low}
    numbers = [
        Number(
            name=f"loss under noise of {words} frequencies",
            value=_loss(keys),
        )
        for words, keys in names.items()
    ]
    pairs = compared(models, numbers)

    def say(one: Compared) -> str:
        words = one.what.removeprefix("loss ")
        if not one.clear:
            return f"whether {one.first.label} or {one.second.label} loses more {words} can't be told"
        more, less = (one.first, one.second) if one.difference.value > 0 else (one.second, one.first)
        return f"{words} {more.label} loses more accuracy than {less.label}"

    yield from between("frequency_noise", serial, pairs, say)
    yield from not_compared("frequency_noise", serial, models)


def _loss(keys: Sequence[tuple[Any, ...]]) -> Callable[[Measured], Values]:
    return lambda one: one.values[None,] - one.mean(keys)


def _worst_rings(serial: Iterator[int], name: str, rows: Sequence[Mapping[str, Any]], outcomes: Measured) -> Finding:
    ordered = sorted(rows, key=lambda row: float(row["change"]))
    worst = ordered[0]
    quiet = [row for row in rows if not is_clear(row)]
    where = f"around {number(worst['frequency'], 2)} pi rad/pixel"
    if is_clear(worst):
        statement = f"noise {where} costs most: accuracy changes by {change_text(worst)}"
    else:
        statement = (
            f"noise of no frequency changes accuracy by more than chance could; the most is {change_text(worst)}"
        )
    detail = []
    low, high = _thirds(sorted((row["frequency"],) for row in rows))
    strength = 0.3 if is_clear(worst) else 0.0
    if low:
        one = paired_means(outcomes.mean(high), outcomes.mean(low))
        numbers = f"accuracy under high less low: {difference_text(one)}, {chance(one.p)}"
        ranges = f"high frequencies ({_range(high)})", f"low ones ({_range(low)})"
        if one.p < SIGNIFICANT:
            words = " more than ".join(ranges if one.value < 0 else ranges[::-1])
            detail.append(f"It suffers from {words}: {numbers}.")
            strength = 0.7
        else:
            detail.append(f"Whether {ranges[0]} or {ranges[1]} hurt more can't be told: {numbers}.")
    if quiet and is_clear(worst):
        detail.append(f"{len(quiet)} of {len(rows)} rings make no difference that can be told from chance.")
    return about(
        "frequency_noise", serial, name, sorted(rows, key=lambda row: float(row["frequency"])), statement,
        detail=detail, columns=(*_NOISE, *_CHANGES), strength=strength,
        verdict="described" if is_clear(worst) else UNKNOWN,
    )  # fmt: skip


def _thirds(keys: Sequence[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    size = len(keys) // 3
    return (list(keys[:size]), list(keys[-size:])) if size else ([], [])


def _range(keys: Sequence[tuple[Any, ...]]) -> str:
    values = [f"{key[0]:g}" for key in keys]
    return f"{values[0]} pi" if len(values) == 1 else f"{values[0]} to {values[-1]} pi"


def _unit(row: Mapping[str, Any]) -> str:
    other = row["other_unit"]
    return f"{row['unit']} with {other}" if other else str(row["unit"])


def _by(rows: Sequence[Mapping[str, Any]], key: str) -> dict[Any, list[Mapping[str, Any]]]:
    found: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row[key], []).append(row)
    return found
