"""What claims measure: one number of one variant, seed by seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from visionscope.claims.one_seed import LAST, WARMUP, MissingError, OneSeed

if TYPE_CHECKING:
    import pandas as pd

Numbers = np.ndarray[Any, np.dtype[np.float64]]

POINTS = "percentage points"
POINTS_PER_NAT = "percentage points per nat"
LOG_RATIO = "natural log of a ratio"


def accuracy(one: OneSeed, variant: str) -> float:
    """Share of test images that are right, in percent.

    Args:
        one: tables of one seed.
        variant: name of a training.
    """
    return 100 * one.number("training", "top_1", variant)


def negative_share(one: OneSeed, variant: str) -> float:
    """NEP at warm-up: share of the largest eigenvalues of each mini-batch's Hessian that are negative, in percent.

    Args:
        one: tables of one seed.
        variant: name of a training.
    """
    return 100 * one.number("hessian_summary", "negative_share", variant, WARMUP, level="model")


def positive_mean(one: OneSeed, variant: str) -> float:
    """APE at warm-up: mean of the positive ones among the largest eigenvalues, in nat per squared weight.

    Args:
        one: tables of one seed.
        variant: name of a training.
    """
    return one.number("hessian_summary", "positive_mean", variant, WARMUP, level="model")


def eigenvalues(one: OneSeed, variant: str) -> Numbers:
    """All eigenvalues that were collected at warm-up, with sign.

    Args:
        one: tables of one seed.
        variant: name of a training.
    """
    return one.numbers(one.rows("hessian", variant, WARMUP, level="model"), "eigenvalue", variant)


def flatness(one: OneSeed, variant: str) -> float:
    """Natural log of the median magnitude of the largest eigenvalues at warm-up; smaller is flatter.

    Args:
        one: tables of one seed.
        variant: name of a training.
    """
    return log(float(np.median(np.abs(eigenvalues(one, variant)))), f"{variant}: the median eigenvalue")


def log(value: float, what: str) -> float:
    """The natural logarithm, of a positive number alone.

    Args:
        value: the number.
        what: it is, for the message.

    Raises:
        MissingError: where it is not positive.
    """
    if value <= 0:
        raise MissingError(f"{what} is not positive")
    return math.log(value)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation; 0 where either does not vary.

    Args:
        first: numbers.
        second: as many.
    """
    # Not `numerics.ranks`: that loads scipy for a p which says nothing of seeds, and a list of claims is to be quick.
    one, other = _ranks(first), _ranks(second)
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def _ranks(values: Sequence[float]) -> Numbers:
    """Rank of each value from 0; equal values share the mean of theirs."""
    numbers = np.asarray(values, dtype=np.float64)
    above, ties = numbers[:, None] > numbers, numbers[:, None] == numbers
    ranks: Numbers = above.sum(1) + (ties.sum(1) - 1) / 2
    return ranks


def error_per_loss(one: OneSeed, variants: Sequence[str]) -> float:
    """Slope of test error over NLL on augmented training images, in percentage points per nat, by least squares.

    Args:
        one: tables of one seed.
        variants: names of trainings.

    Raises:
        MissingError: where all have the same loss.
    """
    losses = [one.number("training", "nll_train", variant) for variant in variants]
    if np.ptp(losses) == 0:
        raise MissingError("all trainings have the same NLL on augmented training images")
    return slope(losses, [100 - accuracy(one, variant) for variant in variants])


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Slope of the line of least squares.

    Args:
        x: abscissae that vary.
        y: as many ordinates.
    """
    return float(np.polyfit(x, y, 1)[0])


def later_changes(one: OneSeed, table: str, variant: str, kind: str, change: str) -> Numbers:
    """The changes by all branches of a kind in the second and third thirds of depth.

    Args:
        one: tables of one seed.
        table: `fourier` or `variance`.
        variant: name of a training.
        kind: of the branches.
        change: `change`, or `log`, which is log(value / (value - change)) of the variance.

    Raises:
        MissingError: where there are none.
    """
    where = {"high_frequency": True} if table == "fourier" else {}
    rows = one.rows(table, variant, LAST, kind=kind, **where)
    rows = rows[
        (rows["depth"] > 1 / 3 + 1e-9) & rows["follows"].fillna("").ne("") & rows["change_note"].fillna("").eq("")
    ]
    if rows.empty:
        raise MissingError(f"{variant}: {table} has no change at {kind} points past the first third")
    changes = one.numbers(rows, "change", variant)
    if change == "change":
        return changes
    after = one.numbers(rows, "variance", variant)
    if (after <= 0).any() or (after - changes <= 0).any():
        raise MissingError(f"{variant}: a variance is not positive")
    return np.log(after / (after - changes))


def removals(one: OneSeed, variant: str) -> pd.DataFrame:
    """What the removal of each single branch costs, by depth, with the column `loss` in percentage points.

    Args:
        one: tables of one seed.
        variant: name of a training.
    """
    rows = one.rows("lesion_summary", variant, LAST, mode="branch", other_unit="")
    return rows.assign(loss=-one.numbers(rows, "change", variant)).sort_values("depth", kind="stable")


def early_less_late(losses: Sequence[float]) -> float | None:
    """Mean over the first half less mean over the last half; of an odd number the middle one is left out.

    Args:
        losses: of one stage, in the order of depth.

    Returns:
        None of fewer than two.
    """
    half = len(losses) // 2
    return float(np.mean(losses[:half]) - np.mean(losses[-half:])) if half else None


def block_structure(rows: pd.DataFrame, values: Numbers, *, thirds: bool) -> float:
    """Mean similarity of two points in one stage less that of two points in different stages; the stem is left out.

    Args:
        rows: of the table `similarity`, of one network.
        values: their similarity.
        thirds: whether thirds of depth stand for stages, of networks that have none.

    Raises:
        MissingError: where there are no such pairs.
    """
    if thirds:
        first, second = (np.ceil(3 * rows[f"depth_{axis}"].to_numpy() - 1e-9) for axis in "xy")
    else:
        first, second = (rows[f"stage_{axis}"].to_numpy(dtype=np.float64) for axis in "xy")
    distinct = (rows["point_x"] != rows["point_y"]).to_numpy() & (
        (rows["stage_x"] > 0) & (rows["stage_y"] > 0)
    ).to_numpy()
    inside, across = distinct & (first == second), distinct & (first != second)
    if not inside.any() or not across.any():
        raise MissingError("similarity: no pairs within stages, or none across them")
    return float(values[inside].mean() - values[across].mean())
