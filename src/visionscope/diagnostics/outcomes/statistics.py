"""What outcomes come to: accuracies and changes per condition, differences between models, a row per image."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from visionscope.core.finding import joined
from visionscope.core.grouping import rows_by_model
from visionscope.core.table import long_table, to_table, with_leading_of
from visionscope.diagnostics.outcomes.damage import Damage
from visionscope.diagnostics.outcomes.pooling import Pooled, images_of, pooled, right_columns
from visionscope.diagnostics.outcomes.rows import (
    ABOVE_CHANCE,
    IOU_CHANGE,
    MASKS_ALONE,
    POINTS,
    ComparisonRow,
)
from visionscope.numerics.paired import (
    Difference,
    Values,
    holm,
    paired_means,
    paired_shares,
)
from visionscope.numerics.segmentation import mean_iou, mean_iou_change, mean_iou_interval

SIGNIFICANT = 0.05
_DECIMALS = 9


def per_image(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """The outcomes as a long table: one row per image and condition, after the leading columns.

    Args:
        table: rows of `OutcomeRow`'s kind with the leading columns.
        keys: the columns that name the condition.
    """
    fields = [table.schema.field(name) for name in keys]
    fields.append(pa.field("image", pa.int64(), metadata={"meaning": "position of the image in its sample"}))
    fields.append(pa.field("right", pa.bool_(), metadata={"meaning": "whether its top class is its label"}))
    found = pooled(table, keys).values()
    if any(some.pixels is not None for some in found):
        told = {"meaning": "share of its pixels that are right; none for an image of one class"}
        fields.append(pa.field("pixel_accuracy", pa.float64(), metadata=told))
    pieces = (
        (some.first, {**{name: some.first[name] for name in keys}, "image": some.positions, **right_columns(some.rows)})
        for some in found
    )
    return long_table(pa.schema(fields), pieces)


def accuracy_of(some: Pooled) -> dict[str, float | int]:
    """The columns of a `ChangeRow` that say how accurate one condition is.

    Args:
        some: all its images.
    """
    low, high = some.ends
    share = float(some.right.mean())
    values = {"images": len(some.right), "accuracy": share, "accuracy_low": low, "accuracy_high": high}
    if some.pixels is not None:
        ends = zip(("mean_iou_low", "mean_iou_high"), mean_iou_interval(some.pixels), strict=True)
        values |= {"mean_iou": mean_iou(some.pixels), **dict(ends)}
    return {**values, "nll": some.nll, "chance": some.chance}


def changes(damaged: Sequence[Pooled], clean: Pooled) -> list[dict[str, float | int]]:
    """The columns of a `ChangeRow` for every condition of one model, whose p are raised together.

    Args:
        damaged: one per condition, over the same images as `clean`.
        clean: without any change.
    """
    found = [_paired(some, clean) for some in damaged]
    raised = holm([one.p for one in found])
    intact = {} if clean.pixels is None else {"intact_low": clean.intact_low}
    return [
        {**accuracy_of(some), **_points(one), "p": one.p, "p_holm": p, **_iou_points(some, clean), **intact}
        for some, one, p in zip(damaged, found, raised, strict=True)
    ]


def _paired(first: Pooled, second: Pooled) -> Difference:
    if second.pixels is None:
        return paired_shares(first.right.astype(np.bool_), second.right.astype(np.bool_))
    return paired_means(first.right.astype(np.float64), second.right.astype(np.float64))


def _points(one: Difference) -> dict[str, float]:
    values: Iterable[tuple[str, float]] = (
        ("change", one.value),
        ("change_low", one.low),
        ("change_high", one.high),
    )
    return {name: 100 * value for name, value in values}


def _iou_points(some: Pooled, clean: Pooled) -> dict[str, float]:
    """The change of the mean IoU, of masks."""
    if some.pixels is None or clean.pixels is None:
        return {}
    values = mean_iou_change(some.pixels, clean.pixels)
    return {name: 100 * value for name, value in zip(IOU_CHANGE, values, strict=True)}


def summary(
    asked: Damage,
    table: pa.Table,
    more: Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]] = lambda rows: {},
) -> pa.Table:
    """A row per model and change, with the leading columns: what it cost against the clean images.

    Args:
        asked: names the changes.
        table: rows of one or more models, with the leading columns.
        more: from the rows of one change, its further columns.
    """
    keys, row = asked.keys(), asked.summary_row
    models: dict[tuple[Any, Any], list[Pooled]] = {}
    for (model, job, *_), some in pooled(table, keys).items():
        models.setdefault((model, job), []).append(some)
    rows, firsts = [], []
    for conditions in models.values():
        clean = next(some for some in conditions if some.first[keys[0]] == asked.unchanged)
        damaged = [some for some in conditions if some is not clean]
        for some, change in zip(damaged, changes(damaged, clean), strict=True):
            rows.append(row(**change, **{name: some.first[name] for name in keys}, **more(some.rows)))
            firsts.append(some.first)
    table = with_leading_of(to_table(row, rows), firsts)
    return table if any(one.mean_iou is not None for one in rows) else table.drop_columns(list(MASKS_ALONE))


def outcomes(asked: Damage, table: pa.Table) -> pa.Table:
    """A row per image and change."""
    return per_image(table, asked.keys())


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """All images of one model under all conditions.

    Attributes:
        first: a row of the model, with the leading columns.
        sample: names the images.
        settings: what two models must have in common to be compared.
        values: (n,) per condition, a value of each image, such as whether it is right.
        intact: (n,) which images are right without damage; None where that is not known or nothing was damaged.
        classes: that the network chooses among; 0 where nothing was damaged.
        chance: accuracy of guessing, of masks (n,) that of each image; 0 where nothing was damaged.
        intact_low: lower end of the 95 % interval of the accuracy without damage; of masks as `Pooled` has it.
        masks: whether a value is the share of an image's pixels.
    """

    first: Mapping[str, Any]
    sample: str
    settings: Mapping[str, Any]
    values: Mapping[tuple[Any, ...], Values]
    intact: Values | None = None
    classes: int = 0
    chance: float | Values = 0.0
    intact_low: float = 0.0
    masks: bool = False

    def mean(self, conditions: Sequence[tuple[Any, ...]]) -> Values:
        """(n,) the mean over conditions, image by image."""
        found: Values = np.mean([self.values[key] for key in conditions], axis=0, dtype=np.float64)
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Number:
    """What two models are compared in.

    Attributes:
        name: in tables and sentences.
        value: of a model, a number per image.
        unit: of differences; percentage points, and % of the accuracy above chance, are told of shares.
    """

    name: str
    value: Callable[[Measured], Values]
    unit: str = POINTS


def measured_models(
    table: pa.Table, keys: Sequence[str], settings: Sequence[str] = (), *, clean: tuple[Any, ...] = ()
) -> list[Measured]:
    """Which images each model gets right under each condition.

    Args:
        table: rows of `OutcomeRow`'s kind with the leading columns.
        keys: the columns that name the condition.
        settings: the columns that two models must have in common to be compared; the value of the last row counts.
        clean: the key of the clean images, where `table` has rows of `DamageRow`'s kind.
    """
    by_model: dict[str, dict[tuple[Any, ...], Pooled]] = {}
    for key, some in pooled(table, keys).items():
        by_model.setdefault(key[0], {})[key[2:]] = some
    return [
        _measured(rows, by_model[name], {key: rows[-1][key] for key in settings}, clean)
        for name, rows in rows_by_model(table).items()
    ]


def _measured(
    rows: Sequence[Mapping[str, Any]],
    found: Mapping[tuple[Any, ...], Pooled],
    settings: Mapping[str, Any],
    clean: tuple[Any, ...],
) -> Measured:
    intact = found.get(clean)
    undamaged = intact is None or "classes" not in intact.first
    return Measured(
        first=rows[0],
        sample=images_of(rows),
        settings=settings,
        values={key: some.right.astype(np.float64) for key, some in found.items()},
        intact=None if intact is None else intact.right.astype(np.float64),
        classes=rows[-1].get("classes", 0),
        chance=0.0 if intact is None or undamaged else intact.guessed,
        intact_low=0.0 if intact is None or undamaged else intact.intact_low,
        masks=any(some.pixels is not None for some in found.values()),
    )


def shared_conditions(models: Sequence[Measured], clean: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """The conditions that all models were asked about, in the order of the first, without that of the clean images.

    Args:
        models: those that are compared.
        clean: the key of the clean images.
    """
    return [
        key for key in (models[0].values if models else ()) if key != clean and all(key in one.values for one in models)
    ]


def compared(
    models: Sequence[Measured],
    numbers: Sequence[Number],
    unlike: Callable[[Measured, Measured], str] = lambda first, second: "",
) -> pa.Table:
    """Each two models in each number, paired over images; p is raised by Holm's rule over all of them.

    Two models of other images or settings, or without a common number, get a row that says why they are not compared.

    Args:
        models: those of the same images and settings are compared.
        numbers: what they are compared in; none where they were asked about different conditions.
        unlike: from two models, why else they are not compared, or "".

    Returns:
        Rows of `ComparisonRow` with the leading columns of the first model; the pair that differs most clearly first:
        by its smallest p, and where several are as small, by its largest difference in widths of the interval.
    """
    pairs = list(itertools.combinations(models, 2))
    notes = [_apart(*pair) or ("" if numbers else "no condition is common to them") or unlike(*pair) for pair in pairs]
    alike = [pair for pair, note in zip(pairs, notes, strict=True) if not note]
    found = [(pair, one, paired_means(one.value(pair[0]), one.value(pair[1]))) for pair in alike for one in numbers]
    raised = holm([difference.p for *_, difference in found])
    told = [
        (pair[0].first, comparison_row(one.name, difference, p, one.unit, pair[0], pair[1]))
        for (pair, one, difference), p in zip(found, raised, strict=True)
    ]
    size = len(numbers)
    by_pair = [told[start : start + size] for start in range(0, len(told), size or 1)]
    by_pair.sort(key=lambda some: (min(row.p_holm or 0.0 for _, row in some), -max(_in_widths(row) for _, row in some)))
    rows = [one for some in by_pair for one in some]
    for (first, second), note in zip(pairs, notes, strict=True):
        if note:
            row = comparison_row("", None, None, "", first, second)
            rows.append((first.first, dataclasses.replace(row, note=note)))
    return with_leading_of(to_table(ComparisonRow, [row for _, row in rows]), [first for first, _ in rows])


def comparison_row(
    number: str,
    difference: Difference | None,
    p_holm: float | None,
    unit: str,
    first: Measured,
    second: Measured | None = None,
) -> ComparisonRow:
    """A difference as a row of a comparisons table; what rounding leaves of zero is zero.

    Args:
        number: what is compared.
        difference: the first's less the second's, or None where they are not compared.
        p_holm: p raised by Holm's rule.
        unit: percentage points, and % of the accuracy above chance, are told of shares.
        first: the model that the difference is counted from.
        second: the other, or None where both sides are of one model.
    """
    factor = 100.0 if unit in (POINTS, ABOVE_CHANCE) else 1.0
    one = difference
    ends = (None, None, None) if one is None else (one.value, one.low, one.high)
    value, low, high = (None if part is None else round(factor * part, _DECIMALS) for part in ends)
    return ComparisonRow(
        other="" if second is None else str(second.first["model"]),
        number=number,
        difference=value,
        low=low,
        high=high,
        unit=unit,
        p=None if one is None else one.p,
        p_holm=p_holm,
        images=len(next(iter(first.values.values()))),
        note="",
    )


def _apart(first: Measured, second: Measured) -> str:
    """Why two models can't be compared, or ""."""
    if first.sample != second.sample:
        return "they saw different images"
    differing = [key for key, value in first.settings.items() if second.settings.get(key) != value]
    return f"they differ in {joined(differing)}" if differing else ""


def _in_widths(row: ComparisonRow) -> float:
    """How large a difference is against its interval."""
    width = (row.high or 0.0) - (row.low or 0.0)
    return abs(row.difference or 0.0) / width if width > 0 else 0.0
