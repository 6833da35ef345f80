"""Numbers by variant and seed, and the lines and panels that show them: means over thin single seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from visionscope.claims.one_seed import LAST, Tables
from visionscope.core.figure import Line, Panel
from visionscope.numerics.over_seeds import t_interval

BySeed = dict[str, dict[int, float]]
"""Of each variant, a number per seed."""

MEAN = "mean over seeds, 95 % interval"
SINGLE = "single seeds"
_SIDE_BY_SIDE = "variants side by side"


def rows_of(tables: Tables, table: str, variant: str, snapshot: str = LAST, **where: Any) -> pd.DataFrame:
    """The rows of one variant, of all its seeds; none where the table is missing.

    Args:
        tables: of an experiment.
        table: its name.
        variant: name of the training.
        snapshot: of the training.
        **where: further columns and their values.
    """
    if table not in tables:
        return pd.DataFrame()
    rows = tables[table]
    for name, value in {"variant": variant, "snapshot": snapshot, **where}.items():
        rows = rows[rows[name] == value]
    return rows


def by_seed(
    tables: Tables, table: str, column: str, variants: Sequence[str], snapshot: str = LAST, **where: Any
) -> BySeed:
    """One number per variant and seed; a variant without any is left out.

    Args:
        tables: of an experiment.
        table: its name.
        column: that holds the number.
        variants: names, in the order of the figure.
        snapshot: of the trainings.
        **where: further columns and their values, such that a row per seed is left.
    """
    found: BySeed = {}
    for variant in variants:
        rows = rows_of(tables, table, variant, snapshot, **where)
        if len(rows):
            values = zip(rows["seed"], rows[column].astype(float), strict=True)
            found[variant] = {int(seed): value for seed, value in values if math.isfinite(value)}
    return {variant: values for variant, values in found.items() if values}


def mean_and_ends(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean and its 95 % interval over seeds (Student's t); NaN for the ends of a single seed's.

    Args:
        values: one number per seed, one or more.
    """
    mean = float(np.mean(values))
    low, high = t_interval(values) if len(values) > 1 else (math.nan, math.nan)
    return mean, low, high


def mean_line(name: str, x: Sequence[float], columns: Sequence[Sequence[float]], **more: Any) -> Line:
    """The means over seeds at each abscissa, with their 95 % intervals.

    Args:
        name: of the line.
        x: abscissae.
        columns: at each of them, the numbers of the seeds.
        **more: further fields of the `Line`.
    """
    means, lows, highs = zip(*map(mean_and_ends, columns), strict=True)
    return Line(name=name, x=tuple(x), y=means, low=lows, high=highs, **more)


def thin(x: Sequence[float], y: Sequence[float]) -> Line:
    """One seed's curve, thin and grey.

    Args:
        x: abscissae.
        y: ordinates.
    """
    return Line(name="", x=tuple(x), y=tuple(y), role="reference")


def strip(
    title: str,
    y_label: str,
    values: BySeed,
    *,
    published: Mapping[str, float] | None = None,
    of: str = "paper",
    names: Mapping[str, str] | None = None,
) -> Panel:
    """Variants side by side: the single seeds, their mean with its interval, and what the paper has for each.

    Args:
        title: of the panel.
        y_label: with unit.
        values: by variant.
        published: by variant; those without are left out.
        of: what the published values are of.
        names: what stands below a variant instead of its name.
    """
    variants = list(values)
    single = [(place, value) for place, name in enumerate(variants) for value in values[name].values()]
    lines = [
        Line(name=SINGLE, x=tuple(x + 0.12 for x, _ in single), y=tuple(y for _, y in single), role="points"),
        mean_line(MEAN, range(len(variants)), [list(values[name].values()) for name in variants], role="points"),
    ]
    beside = published or {}
    told = [(place - 0.12, beside[name]) for place, name in enumerate(variants) if name in beside]
    if told:
        lines.append(Line(name=of, x=tuple(x for x, _ in told), y=tuple(y for _, y in told), role="points"))
    shown = tuple((names or {}).get(name, name) for name in variants)
    return Panel(
        model=title, title=title, x_label="", y_label=y_label, lines=tuple(lines), x_names=shown, group=_SIDE_BY_SIDE
    )
