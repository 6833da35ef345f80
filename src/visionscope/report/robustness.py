"""Sentences on corruptions and on attacks: what accuracy is left, and which of two networks keeps more."""

import itertools
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.finding import Finding, grouped, joined, number
from visionscope.report.compare import (
    Compared,
    Number,
    about,
    between,
    change_text,
    compared,
    is_clear,
    measured_models,
    not_compared,
    share_text,
)

_COLUMNS = ("images", "accuracy", "accuracy_low", "accuracy_high", "change", "change_low", "change_high", "p_holm")
_ALL = "all"
_LEFT = "accuracy "
_WORST = 3


def corruption_findings(table: pa.Table, summary: pa.Table) -> Iterator[Finding]:
    """For each model its robustness and the types that hurt most; for pairs of models which is more robust.

    Args:
        table: outcomes with the leading columns.
        summary: what they come to.
    """
    serial = itertools.count(1)
    for name, rows in grouped(summary, summary.column_names).items():
        overall = next((row for row in rows if row["corruption"] == _ALL), None)
        if overall is not None:
            yield _robustness(serial, name, overall, rows)
    outcomes = measured_models(table, ("corruption", "severity"), ("origin",))
    models = list(outcomes.values())
    clean = ("", 0)
    common = [key for key in models[0].values if key != clean and all(key in one.values for one in models)]
    if not common:
        return

    def say(one: Compared) -> str:
        if one.what == "robustness":
            more, less = (one.first, one.second) if one.difference.value > 0 else (one.second, one.first)
            return f"{more.label} is more robust to corruptions than {less.label}"
        more, less = (one.first, one.second) if one.difference.value > 0 else (one.second, one.first)
        return f"{more.label} loses more accuracy to corruptions than {less.label}"

    numbers = [Number(name="robustness", value=lambda one: one.mean(common))]
    if all(table.column("paired").to_pylist()) and all(clean in one.values for one in models):
        # Else the clean images are others, or as many others, or not done.
        loss = Number(name="loss against clean images", value=lambda one: one.values[clean] - one.mean(common))
        numbers.append(loss)
    yield from between("corruption", serial, compared(models, numbers), say)
    yield from not_compared("corruption", serial, models)


def _robustness(
    serial: Iterator[int], name: str, overall: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> Finding:
    types = [row for row in rows if row["severity"] is None and row["corruption"] != _ALL]
    severities = {row["severity"] for row in rows if row["severity"]}
    ordered = sorted(types, key=lambda row: float(row["accuracy"]))
    extent = f"{len(types)} type{'s' if len(types) != 1 else ''} in {len(severities)} severit"
    extent += "ies" if len(severities) != 1 else "y"
    said = f"robustness, the mean accuracy over {extent}, is {share_text(overall, 'accuracy')}"
    detail = []
    if overall["change"] is not None:
        detail.append(f"Against clean images: {change_text(overall)}.")
    if len(ordered) > _WORST:
        worst = [f"{_words(row)} ({number(100 * row['accuracy'])} %)" for row in ordered[:_WORST]]
        detail.append(f"It does worst under {joined(worst)}, best under {_words(ordered[-1])}.")
        quiet = [_words(row) for row in types if row["p_holm"] is not None and not is_clear(row)]
        if quiet:
            detail.append(f"No effect that can be told from chance: {joined(quiet)}.")
    if overall.get("mce") is not None:
        detail.append(f"Mean corruption error against AlexNet: {number(100 * overall['mce'])} %.")
    if overall["origin"] != "published":
        detail.append(f"The images were made on the fly ({overall['origin']}): not comparable with published numbers.")
    return about(
        "corruption", serial, name, [overall, *ordered], said,
        detail=detail, columns=("corruption", *_COLUMNS, "mce", "origin"), strength=0.6,
    )  # fmt: skip


def adversarial_findings(table: pa.Table, summary: pa.Table) -> Iterator[Finding]:
    """For each model and attack what accuracy is left at each strength; for pairs of models which keeps more.

    Args:
        table: outcomes with the leading columns.
        summary: what they come to.
    """
    serial = itertools.count(1)
    for name, rows in grouped(summary, summary.column_names).items():
        for attack in dict.fromkeys(row["attack"] for row in rows if row["change"] is not None and row["eps"]):
            own = sorted((row for row in rows if row["attack"] == attack), key=lambda row: float(row["eps"]))
            told = joined([f"{number(100 * row['accuracy'])} % at eps {_eps(row)}" for row in own])
            clear = [row for row in own if is_clear(row)]
            detail = [
                f"At the smallest eps: {share_text(own[0], 'accuracy')}, against clean images {change_text(own[0])}."
            ]
            if not clear:
                detail.append("That is no more than chance could do.")
            yield about(
                "adversarial", serial, name, own, f"{_attack(attack)} leaves an accuracy of {told}",
                detail=detail, columns=("attack", "eps", *_COLUMNS), strength=0.5 if clear else 0.0,
            )  # fmt: skip
    outcomes = measured_models(table, ("attack", "eps"), ("library",))
    models = list(outcomes.values())
    common = [key for key in models[0].values if key[1] and all(key in one.values for one in models)]
    if not common:
        return

    def say(one: Compared) -> str:
        more, less = (one.first, one.second) if one.difference.value > 0 else (one.second, one.first)
        return f"{more.label} keeps more accuracy {one.what.removeprefix(_LEFT)} than {less.label}"

    least = min(common, key=lambda key: float(key[1]))[1]
    keys = [key for key in common if key[1] == least]
    attacks = joined([_attack(key[0]) for key in keys])
    name = f"{_LEFT}under {attacks} at eps {_eps({'eps': least})}"
    numbers = [Number(name=name, value=operator.methodcaller("mean", keys))]
    yield from between("adversarial", serial, compared(models, numbers), say)
    yield from not_compared("adversarial", serial, models)


def _attack(name: str) -> str:
    return {"autoattack": "AutoAttack"}.get(name, name.upper())


def _eps(row: Mapping[str, Any]) -> str:
    """A strength in 1/255 of a pixel's range, as attacks state it."""
    return f"{row['eps']:g}/255"


def _words(row: Mapping[str, Any]) -> str:
    return str(row["corruption"]).replace("_", " ").replace("jpeg", "JPEG")
