"""What Hessian eigenvalues come to: NEP and APE of each scope, and which of two networks has more."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa

from visionscope.core.finding import joined
from visionscope.core.grouping import rows_by_model
from visionscope.core.table import column, to_table, with_leading_of
from visionscope.curvature.eigenvalues import negative_share, positive_mean
from visionscope.diagnostics.hessian.question import UNIT, Hessian

Row = Mapping[str, Any]

LEAST_MINI_BATCHES = 8
"""Below this, resampling mini-batches gives intervals that are too narrow to compare by."""

POSITIVE, NEGATIVE = "mean of the positive eigenvalues", "share of negative eigenvalues"
COLUMNS = {POSITIVE: "positive_mean", NEGATIVE: "negative_share"}
"""The numbers that networks are compared in, and their columns in the summary."""

_UNITS = {POSITIVE: UNIT, NEGATIVE: "share"}
_MOST_LEFT_OUT = 0.05
_ALL_PAIRS = 3
_TAIL = 0.025
_SETTINGS = ("data", "precision", "augmentation", "batch_norm", "weight_decay", "label_smoothing", "k")


@dataclasses.dataclass(frozen=True)
class HessianSummaryRow:
    """What the eigenvalues of one scope come to; only converged ones count."""

    scope: str = column("which parameters", usual="model")
    level: str = column("model, stage, block or kind", usual="model")
    parameters: int = column("how many numbers they are", role="count")
    measured: str = column("trainable: frozen numbers are left out; all: they are among them")
    frozen: int = column("frozen numbers of the scope: left out, or among `parameters`")
    mini_batches: int = column("mini-batches of 16 images", role="count")
    eigenvalues: int = column("eigenvalues that count", role="count")
    unconverged: int = column("eigenvalues that did not converge and don't count", role="count")
    negative_share: float | None = column(
        "NEP: share of negative eigenvalues",
        title="NEP (share of negative)",
        ends=("negative_share_low", "negative_share_high"),
    )
    negative_share_low: float | None = column("lower end of its 95 % interval, bootstrap over mini-batches")
    negative_share_high: float | None = column("upper end")
    positive_mean: float | None = column(
        "APE: mean of the positive eigenvalues",
        UNIT,
        title="APE (mean of positive)",
        ends=("positive_mean_low", "positive_mean_high"),
    )
    positive_mean_low: float | None = column("lower end of its 95 % interval, bootstrap over mini-batches", UNIT)
    positive_mean_high: float | None = column("upper end", UNIT)
    median: float | None = column(
        "of all eigenvalues", UNIT, ends=("lower_quartile", "upper_quartile"), ends_are="quartiles"
    )
    lower_quartile: float | None = column("of all eigenvalues", UNIT)
    upper_quartile: float | None = column("of all eigenvalues", UNIT)
    smallest: float | None = column("most negative eigenvalue", UNIT, title="most negative")
    largest: float | None = column("most positive eigenvalue", UNIT, title="most positive")
    products: float = column(
        "mean Hessian-vector products per mini-batch", title="products per mini-batch", role="count"
    )
    augmentation: str = column("how the images were changed: strong, weak or none", role="setting")
    batch_norm: str = column(
        "eval: running statistics; train: those of the mini-batch", title="BatchNorm", role="setting"
    )
    weight_decay: float = column("factor of the L2 term", UNIT, role="setting")
    label_smoothing: float = column("share of each target spread over all classes", role="setting")
    k: int = column("eigenvalues asked of each mini-batch", role="setting")


@dataclasses.dataclass(frozen=True)
class HessianComparisonRow:
    """Two networks, or two parts of one, in one number: the first has the larger one where the intervals are apart."""

    scope: str = column("which parameters of the network", usual="model")
    level: str = column("model, stage, block or kind", usual="model")
    other: str = column("the network with the smaller number; empty where both are parts of one")
    other_scope: str = column("which of its parameters", usual="model")
    number: str = column("what they are compared in")
    value: float = column("the larger number", ends=("low", "high"))
    low: float | None = column("lower end of its 95 % interval, widened where the two are the extremes of several")
    high: float | None = column("upper end")
    other_value: float = column("the smaller number", ends=("other_low", "other_high"))
    other_low: float | None = column("lower end of its interval, likewise")
    other_high: float | None = column("upper end")
    unit: str = column("of both numbers")
    chosen_of: int = column(
        "out of how many the two were chosen as the extremes; of 2 nothing is widened", role="count"
    )
    apart: bool = column("whether the two compare and their intervals don't touch")
    note: str = column("why they don't compare, or empty")


def summary(asked: Hessian, table: pa.Table) -> pa.Table:
    """NEP, APE and quartiles per model and scope."""
    keys = ("job", "model", "level", "scope")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    rows = [_summed(group) for group in groups.values()]
    return with_leading_of(to_table(HessianSummaryRow, rows), [group[0] for group in groups.values()])


def comparisons(asked: Hessian, table: pa.Table) -> pa.Table:
    """Each two networks, and the extremes among the parts of each, by their intervals over mini-batches.

    Intervals that don't touch are a stricter rule than an interval of the difference would be. Of many networks the two
    that differ most are compared.
    """
    numbers = rows_by_model(summary(asked, table))
    whole = [row for rows in numbers.values() for row in rows if row["level"] == "model"]
    found = [
        (first, _compared(first, second, number, chosen_of, _differing(first, second)))
        for number, name in COLUMNS.items()
        for first, second, chosen_of in _pairs(whole, name)
    ]
    for rows in numbers.values():
        for level in dict.fromkeys(row["level"] for row in rows if row["level"] != "model"):
            known = _falling([row for row in rows if row["level"] == level], COLUMNS[POSITIVE])
            if len(known) > 1:
                found.append((known[0], _compared(known[0], known[-1], POSITIVE, len(known), "")))
    return with_leading_of(to_table(HessianComparisonRow, [row for _, row in found]), [first for first, _ in found])


def ends_of(row: Row, name: str, chosen_of: int = 2) -> tuple[float, float] | None:
    """A number's 95 % interval, widened where the two that are compared were chosen as the extremes of several.

    Chance alone sets the extremes of m numbers apart. Bonferroni's rule over the m (m - 1) / 2 pairs asks for a
    difference of z * sqrt(2) errors; intervals that don't touch ask for half of that each.

    Args:
        row: of the summary.
        name: of the number's column.
        chosen_of: m, how many there were to choose from.
    """
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if low is None or high is None:
        return None
    if chosen_of == 2:
        return low, high
    z = NormalDist().inv_cdf
    # Of three the rule asks for less than not touching does.
    widened = max(1.0, z(1 - _TAIL / math.comb(chosen_of, 2)) / (math.sqrt(2) * z(1 - _TAIL)))
    return value - widened * (value - low), value + widened * (high - value)


def _falling(rows: Sequence[Row], name: str) -> list[Row]:
    return sorted((row for row in rows if row[name] is not None), key=lambda row: -float(row[name]))


def _pairs(whole: Sequence[Row], name: str) -> Iterator[tuple[Row, Row, int]]:
    """Each two of a few networks, or of many the two that differ most; and from how many they were chosen."""
    known = _falling(whole, name)
    if len(known) > _ALL_PAIRS:
        yield known[0], known[-1], len(known)
        return
    for first, second in itertools.combinations(known, 2):
        yield first, second, 2


def _compared(first: Row, second: Row, number: str, chosen_of: int, differing: str) -> HessianComparisonRow:
    name = COLUMNS[number]
    ends, others = (ends_of(row, name, chosen_of) for row in (first, second))
    note = differing or _too_little(first, second)
    return HessianComparisonRow(
        scope=first["scope"],
        level=first["level"],
        other="" if first["model"] == second["model"] else second["model"],
        other_scope=second["scope"],
        number=number,
        value=first[name],
        low=ends and ends[0],
        high=ends and ends[1],
        other_value=second[name],
        other_low=others and others[0],
        other_high=others and others[1],
        unit=_UNITS[number],
        chosen_of=chosen_of,
        apart=not note and ends is not None and others is not None and ends[0] > others[1],
        note=note,
    )


def _differing(first: Row, second: Row) -> str:
    differing = [key.replace("_", " ") for key in _SETTINGS if first[key] != second[key]]
    return f"they differ in {joined(differing)}" if differing else ""


def _too_little(first: Row, second: Row) -> str:
    """Why numbers of equal settings don't compare, or ""."""
    fewest = min(first["mini_batches"], second["mini_batches"])
    if fewest < LEAST_MINI_BATCHES:
        few = "1 mini-batch is" if fewest == 1 else f"{fewest} mini-batches are"
        return f"{few} too few (at least {LEAST_MINI_BATCHES})"
    for one in (first, second):
        missing = one["unconverged"]
        if missing > _MOST_LEFT_OUT * (missing + one["eigenvalues"]):
            name = one["model"] if one["level"] == "model" else one["scope"]
            return f"{missing} eigenvalues of {name} did not converge"
    return ""


def _summed(rows: Sequence[Row]) -> HessianSummaryRow:
    by_batch: dict[int, list[Row]] = {}
    for row in rows:
        by_batch.setdefault(row["mini_batch"], []).append(row)
    groups = [np.array([row["eigenvalue"] for row in batch if row["converged"]]) for batch in by_batch.values()]
    values = np.concatenate(groups)
    negative, positive = negative_share(groups), positive_mean(groups)
    quartiles: Sequence[float | None] = [None] * 5
    if len(values):
        quartiles = np.quantile(values, [0.5, 0.25, 0.75, 0.0, 1.0]).tolist()
    first = rows[0]
    return HessianSummaryRow(
        scope=first["scope"],
        level=first["level"],
        parameters=first["parameters"],
        measured=first["measured"],
        frozen=first["frozen"],
        mini_batches=len(by_batch),
        eigenvalues=len(values),
        unconverged=len(rows) - len(values),
        negative_share=negative.value,
        negative_share_low=negative.low,
        negative_share_high=negative.high,
        positive_mean=positive.value,
        positive_mean_low=positive.low,
        positive_mean_high=positive.high,
        median=quartiles[0],
        lower_quartile=quartiles[1],
        upper_quartile=quartiles[2],
        smallest=quartiles[3],
        largest=quartiles[4],
        products=float(np.mean([batch[0]["products"] for batch in by_batch.values()])),
        augmentation=first["augmentation"],
        batch_norm=first["batch_norm"],
        weight_decay=first["weight_decay"],
        label_smoothing=first["label_smoothing"],
        k=max(row["rank"] for row in rows),
    )
