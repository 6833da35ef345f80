"""Ordinary least squares of few numbers, with Student's intervals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from visionscope.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Coefficient:
    """What one column adds.

    Attributes:
        value: least-squares estimate.
        low: lower end of its 95 % interval.
        high: upper end.
        p: two-sided, of the value 0.
    """

    value: float
    low: float
    high: float
    p: float


def least_squares(columns: Sequence[ArrayLike], values: Sequence[float]) -> tuple[Coefficient, ...]:
    """The coefficients of columns beside a constant, `b = (X'X)^-1 X'y`, each with Student's interval.

    `b_j -+ t(0.975, n - k) sqrt(s^2 [(X'X)^-1]_jj)` with s^2 = |y - Xb|^2 / (n - k) for k columns and the constant.

    Args:
        columns: of the design, without the constant.
        values: one number per row.

    Raises:
        ConfigError: where there are no more rows than columns, or one column is a sum of others.
    """
    design = np.column_stack([np.ones(len(values)), *(np.asarray(one, dtype=np.float64) for one in columns)])
    observed = np.asarray(values, dtype=np.float64)
    rows, count = design.shape
    if rows <= count:
        raise ConfigError(f"values: must be more than the {count} coefficients; got {rows}")
    if np.linalg.matrix_rank(design) < count:
        raise ConfigError("columns: must be told apart by the rows; one is a sum of others")
    from scipy.stats import t

    orthogonal, triangle = np.linalg.qr(design)
    found = np.linalg.solve(triangle, orthogonal.T @ observed)
    freedom = rows - count
    variance = float(np.sum((observed - design @ found) ** 2)) / freedom
    errors = np.sqrt(variance * np.sum(np.linalg.inv(triangle) ** 2, axis=1))
    edge = float(t.ppf(0.975, freedom))
    return tuple(
        Coefficient(
            value=float(value),
            low=float(value - edge * error),
            high=float(value + edge * error),
            p=float(2 * t.sf(abs(value) / error, freedom)) if error > 0 else math.nan,
        )
        for value, error in zip(found[1:], errors[1:], strict=True)
    )
