"""Sentences on sharpness: how much the loss rises under changes, and which step is too long."""

from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import Finding, about, number, span
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.sharpness.question import AVERAGE, CRITICAL, WORST, Sharpness

Row = Mapping[str, Any]
_COLUMNS = ("kind", "value", "low", "high", "unit", "step", "radius", "norm", "nll", "batches", "images")
_LIMITS = (
    "Sharpness is not generalization: over networks of other recipes and architectures the two are hardly related "
    "(Andriushchenko et al. 2023). Compare networks that were trained alike, at one radius.",
    "Worst-case sharpness is what a few steps of ascent found: a lower bound. Critical sharpness is the curvature "
    "along one direction, at most the largest eigenvalue where the loss is quadratic, and depends on how weights are "
    "scaled.",
)


def limits(asked: Sharpness, tables: Tables) -> Sequence[str]:
    """What sharpness can't tell."""
    return _LIMITS


def findings(asked: Sharpness, tables: Tables) -> list[Finding]:
    """For each model how much changes cost, and the critical step."""
    if "summary" not in tables:
        return []
    models = rows_by_model(tables["summary"]).values()
    return [one for rows in models for one in (_changes(rows), _step(rows)) if one is not None]


def _changes(rows: Sequence[Row]) -> Finding | None:
    known = {row["kind"]: row for row in rows if row["value"] is not None and row["kind"] != CRITICAL}
    if not known:
        return None
    worst = known.get(WORST)
    first = known.get(AVERAGE, worst)
    assert first is not None
    if worst is first:
        text = f"the worst change within {number(100 * first['radius'])} % raises the NLL by"
    else:
        text = f"random changes of weights by {number(100 * first['radius'])} % raise the NLL by"
    text += f" {number(first['value'])} nat"
    if worst is not None and worst is not first:
        text += f", the worst one within {number(100 * worst['radius'])} % by {number(worst['value'])}"
    detail = [
        f"{row['kind'].capitalize()}: {span(_ends(row))} nat, from {number(row['nll'])}." for row in known.values()
    ]
    return about(
        list(known.values()),
        text,
        detail=detail,
        columns=_COLUMNS,
        strength=0.3,
        measure=f"{first['kind']} sharpness",
        value=first["value"],
        low=first["low"],
        high=first["high"],
        unit=first["unit"],
        n=first["batches"],
    )


def _step(rows: Sequence[Row]) -> Finding | None:
    row = next((row for row in rows if row["kind"] == CRITICAL and row["value"] is not None), None)
    if row is None:
        return None
    return about(
        [row],
        f"steps along the {row['direction']} longer than {number(row['step'])} raise the loss: critical sharpness "
        f"{number(row['value'])}",
        detail=[f"Critical sharpness: {span(_ends(row))} {row['unit']}. The step is the median over batches."],
        columns=_COLUMNS,
        measure="critical sharpness",
        value=row["value"],
        low=row["low"],
        high=row["high"],
        unit=row["unit"],
        n=row["batches"],
    )


def _ends(row: Row) -> tuple[float, float] | None:
    return None if row["low"] is None else (row["low"], row["high"])
