"""Sentences on attacks: what accuracy is left, and which of two networks keeps more."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import Finding, about, joined, number
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.adversarial.question import Adversarial
from visionscope.diagnostics.adversarial.results import attack_name
from visionscope.diagnostics.outcomes.fairness import FAIRNESS_LIMIT, nothing_to_lose
from visionscope.diagnostics.outcomes.words import (
    PAIRED_LIMIT,
    Clear,
    between,
    change_text,
    is_clear,
    share_numbers,
    share_text,
)

Row = Mapping[str, Any]
_COLUMNS = (
    "attack", "eps", "images", "accuracy", "accuracy_low", "accuracy_high", "change", "change_low", "change_high",
    "p_holm",
)  # fmt: skip
_MOST = 4
_LIMITS = (
    "An attack that fails proves nothing: accuracy under FGSM or PGD is an upper bound of the accuracy that the best "
    "attack of this strength leaves. A network whose gradients are hard to follow looks safer than it is.",
    PAIRED_LIMIT,
    FAIRNESS_LIMIT,
)


def limits(asked: Adversarial, tables: Tables) -> Sequence[str]:
    """What attacks can't tell."""
    return _LIMITS


def findings(asked: Adversarial, tables: Tables) -> list[Finding]:
    """For each model and attack what accuracy is left at each strength; for two models which keeps more."""
    found = []
    for rows in rows_by_model(tables["summary"]).values():
        idle = nothing_to_lose(rows)
        if idle is not None:
            found.append(idle)
            continue
        ordered = sorted(rows, key=lambda row: float(row["eps"]))
        for attack in dict.fromkeys(row["attack"] for row in rows):
            found.append(_of_attack(attack, [row for row in ordered if row["attack"] == attack]))
    return [*found, *_between_models(tables)]


def _of_attack(attack: str, rows: Sequence[Row]) -> Finding:
    # Of many strengths the ends are told; the rows hold all.
    (first, *further) = rows if len(rows) <= _MOST else (rows[0], rows[-1])
    left = [f"{number(100 * first['accuracy'])} % at eps {first['eps']:g}/255"]
    left += [f"{number(100 * row['accuracy'])} % at {row['eps']:g}/255" for row in further]
    clear = any(map(is_clear, rows))
    detail = [f"At the smallest eps: {share_text(first, 'accuracy')}, against clean images {change_text(first)}."]
    if not clear:
        detail.append("That is not significant.")
    return about(
        rows,
        f"{attack_name(attack)} leaves an accuracy of {joined(left)}",
        detail=detail,
        columns=_COLUMNS,
        strength=0.5 if clear else 0.0,
        **share_numbers(first, "accuracy", f"accuracy under {attack_name(attack)} at eps {first['eps']:g}/255"),
    )


def _between_models(tables: Tables) -> Iterator[Finding]:
    def say(clear: Sequence[Clear]) -> str:
        (one,) = clear
        return f"{one.more} keeps more {one.number} than {one.less}"

    if "comparisons" in tables:
        yield from between(tables["comparisons"], tables["rows"], say)
