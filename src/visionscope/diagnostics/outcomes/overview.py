"""Accuracies and differences of outcomes for the overview."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_of
from visionscope.core.measure import ACCURACY, MEAN_IOU, PIXEL_ACCURACY, Measure, measure
from visionscope.diagnostics.outcomes.damage import Damage
from visionscope.diagnostics.outcomes.pooling import pooled
from visionscope.diagnostics.outcomes.statistics import SIGNIFICANT, accuracy_of

Row = Mapping[str, Any]


def clean_accuracies(asked: Damage, table: pa.Table) -> list[Measure]:
    """The accuracy of each model on its unchanged images, with the chance level 1 / classes.

    Args:
        asked: names the changes.
        table: rows of `OutcomeRow`'s kind with the leading columns.
    """
    keys = asked.keys()
    clean = [some for some in pooled(table, keys).values() if some.first[keys[0]] == asked.unchanged]
    return [one for some in clean for one in accuracies({**some.first, **accuracy_of(some)})]


def accuracies(row: Row) -> list[Measure]:
    """The accuracy that a row tells; of masks pixel accuracy and mean IoU.

    Args:
        row: with the leading columns and those of `statistics.accuracy_of`.
    """
    if row.get("mean_iou") is None:
        return [accuracy(row)]
    told = [
        (
            PIXEL_ACCURACY,
            "accuracy",
            100 * row["chance"],
            "mean over images of the share of their pixels that are right",
        ),
        (MEAN_IOU, "mean_iou", None, "mean over classes of intersection over union, pixels added up over images"),
    ]
    return [
        measure(row, name, column, factor=100, unit="%", chance=chance, meaning=meaning)
        for name, column, chance, meaning in told
    ]


def accuracy(row: Row) -> Measure:
    """The accuracy that a row tells, with the chance level 1 / classes where the row knows how many there are.

    Args:
        row: with the leading columns, `accuracy`, its ends, `images` and perhaps `classes`.
    """
    classes = row.get("classes")
    chance = 100 / classes if classes else None
    return measure(row, ACCURACY, "accuracy", factor=100, unit="%", chance=chance)


def significant_pairs(tables: Tables, wanted: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """The pairs of models that differ significantly in a number, p raised by Holm's rule.

    Args:
        tables: of one diagnostic.
        wanted: from the name of a number, whether it counts.
    """
    compared = rows_of(tables, "comparisons")
    for row in compared:
        known = row["p_holm"] is not None and row["p_holm"] < SIGNIFICANT
        if row["other"] and wanted(row["number"]) and known:
            yield row["model"], row["other"]
