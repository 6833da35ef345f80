"""One number of one model, as the table at the top of a page shows it beside those of the others."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ACCURACY = "accuracy"
"""The measure that every other one is read against; of several diagnostics that have it, the most images count."""

PIXEL_ACCURACY, MEAN_IOU = "pixel accuracy", "mean IoU"
"""The same of networks that answer per pixel."""

LEADING = (ACCURACY, PIXEL_ACCURACY, MEAN_IOU)
"""Measures that stand first, once each, whoever took them."""

INTERVAL = "95 % interval"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure:
    """A cell of the overview: what one model has of one measure.

    Attributes:
        model: its label.
        name: of the measure, in two or three words; equal names of one diagnostic stand in one row.
        meaning: what it is, in words, shown on hover.
        value: the number; None where it could not be told.
        low: lower end of its interval.
        high: upper end of its interval.
        interval: what lies between the ends.
        unit: of all three.
        n: what the value rests on, a count.
        of: what was counted: images, points, mini-batches.
        direction: `lowers`, `raises`, `mixed` or `no clear change`, of a measure that is a change; else "".
        chance: the value that guessing would have.
        differs_from: labels of the models whose value is significantly another, by the diagnostic's own test.
        by_interval: whether two models differ, too, where their 95 % intervals don't touch.
        note: what the number leaves out, or why there is none.
    """

    model: str
    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    interval: str = INTERVAL
    unit: str = ""
    n: int | None = None
    of: str = "images"
    direction: str = ""
    chance: float | None = None
    differs_from: tuple[str, ...] = ()
    by_interval: bool = True
    note: str = ""
    meaning: str = ""

    @property
    def near_chance(self) -> bool:
        """Whether guessing could do as well: the interval reaches the value of chance, or lies below it."""
        return self.chance is not None and self.low is not None and self.low <= self.chance


def measure(
    row: Mapping[str, Any],
    name: str,
    column: str,
    *,
    ends: tuple[str, str] | None = None,
    factor: float = 1.0,
    count: str = "images",
    **more: Any,
) -> Measure:
    """A measure from a row of a table.

    Args:
        row: with the leading columns.
        name: of the measure.
        column: that holds the value.
        ends: the columns that hold the ends of its interval; by default `{column}_low` and `{column}_high`.
        factor: what all three are multiplied by, such as 100 for a share in percent.
        count: the column that tells what the value rests on.
        **more: further attributes of the `Measure`.
    """
    low, high = ends or (f"{column}_low", f"{column}_high")
    values = [None if row.get(key) is None else factor * row[key] for key in (column, low, high)]
    return Measure(
        model=str(row["model"]), name=name, value=values[0], low=values[1], high=values[2], n=row.get(count), **more
    )


def with_differences(measures: Sequence[Measure], pairs: Iterable[tuple[str, str]]) -> list[Measure]:
    """One measure of several models, with what each significantly differs from.

    Args:
        measures: a cell per model.
        pairs: of models that differ significantly, each in one order.
    """
    others: dict[str, dict[str, None]] = {}
    for first, second in pairs:
        others.setdefault(first, {})[second] = None
        others.setdefault(second, {})[first] = None
    return [dataclasses.replace(one, differs_from=tuple(others.get(one.model, ()))) for one in measures]
