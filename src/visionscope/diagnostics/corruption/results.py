"""What the accuracies under corruptions come to: cells, types, the mean over all, which of two networks keeps more."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from visionscope.core.table import column, to_table, with_leading_of
from visionscope.data.corruption_types import ALEXNET_ERRORS, JPEG
from visionscope.diagnostics.corruption.question import Corruption
from visionscope.diagnostics.outcomes.fairness import relative_loss, unlike
from visionscope.diagnostics.outcomes.pooling import Pooled, pooled
from visionscope.diagnostics.outcomes.rows import ABOVE_CHANCE, MASKS_ALONE
from visionscope.diagnostics.outcomes.statistics import (
    Number,
    accuracy_of,
    changes,
    compared,
    measured_models,
    shared_conditions,
)
from visionscope.numerics.paired import Values, holm, paired_means

ALL = "all"
ROBUSTNESS = "robustness"
LOSS = "loss against clean images"
_CLEAN = ("", 0)
_UNPAIRED = dict.fromkeys(("change", "change_low", "change_high", "p", "p_holm"))


@dataclasses.dataclass(frozen=True)
class RobustnessRow:
    """Accuracy of one model under one corruption, one type in all severities, or all of them."""

    corruption: str = column("type; empty for the clean images, `all` for the mean over all: the robustness")
    severity: int | None = column("1 to 5, of `jpeg` the quality, 0 for the clean images; None for the mean over all")
    images: int = column("images in the means", role="count")
    accuracy: float = column(
        "share of images whose top class is right, of masks the mean share of their pixels; of several cells the mean",
        role="outcome",
        percent=True,
        ends=("accuracy_low", "accuracy_high"),
    )
    accuracy_low: float = column("lower end of its 95 % interval (Wilson; bootstrap over images for means over cells)")
    accuracy_high: float = column("upper end of its 95 % interval")
    nll: float = column("mean cross-entropy", "nat", title="NLL", role="outcome")
    chance: float = column(
        "accuracy of guessing: 1 / classes that the network chooses among; of masks that of always the commonest class",
        percent=True,
        role="convention",
    )
    change: float | None = column(
        "accuracy less that of the clean images",
        "percentage points",
        role="outcome",
        ends=("change_low", "change_high"),
    )
    change_low: float | None = column("lower end of its 95 % interval, paired over images", "percentage points")
    change_high: float | None = column("upper end of its 95 % interval, paired over images", "percentage points")
    p: float | None = column(
        "chance of such a change where there is none (McNemar, exact; for means over cells images' values exchanged)",
        role="hidden",
    )
    p_holm: float | None = column(
        "p raised by Holm's rule for all cells of the model, for all types, or alone", title="p (Holm)", role="chance"
    )
    error: float = column("1 - accuracy", role="hidden")
    mce: float | None = column(
        "errors' sum over severities by AlexNet's, the mean over types; None where not asked for",
        title="mCE",
        percent=True,
    )
    mean_iou: float | None = column(
        "of masks: mean over classes of intersection over union; none for means over cells",
        title="mean IoU",
        percent=True,
        role="outcome",
        ends=("mean_iou_low", "mean_iou_high"),
        optional=True,
    )
    mean_iou_low: float | None = column("lower end of its 95 % interval (bootstrap over images)", optional=True)
    mean_iou_high: float | None = column("upper end of its 95 % interval (bootstrap over images)", optional=True)
    mean_iou_change: float | None = column(
        "mean IoU less that of the clean images",
        "percentage points",
        role="outcome",
        ends=("mean_iou_change_low", "mean_iou_change_high"),
        optional=True,
    )
    mean_iou_change_low: float | None = column(
        "lower end of its 95 % interval (bootstrap over images, each drawn with both)",
        "percentage points",
        optional=True,
    )
    mean_iou_change_high: float | None = column(
        "upper end of its 95 % interval (bootstrap over images, each drawn with both)",
        "percentage points",
        optional=True,
    )
    intact_low: float | None = column(
        "of masks: chance plus the lower end of the 95 % interval of what each clean image's accuracy is above the "
        "commonest class's share of it",
        role="hidden",
        optional=True,
    )
    origin: str = column(
        "published, or the library that made the images; only the former compare with the literature", role="convention"
    )
    paired: bool = column("whether changes are over the same images; else they are not told", role="convention")


@dataclasses.dataclass(frozen=True)
class Cells:
    """All conditions of one job.

    Attributes:
        clean: without any corruption.
        damaged: by type and severity.
        origin: of the images.
        paired: whether the clean ones are the same.
    """

    clean: Pooled
    damaged: Mapping[tuple[str, int], Pooled]
    origin: str
    paired: bool

    @property
    def types(self) -> list[str]:
        """In the order of the table."""
        return list(dict.fromkeys(kind for kind, _ in self.damaged))

    @property
    def severities(self) -> list[int]:
        """The mildest first: severities in rising order, qualities in falling order."""
        return sorted({severity for _, severity in self.damaged}, reverse=self.by_quality)

    @property
    def by_quality(self) -> bool:
        """Whether these are qualities of JPEG."""
        return any(kind == JPEG for kind, _ in self.damaged)

    def mean(self, keys: Sequence[tuple[str, int]]) -> Values:
        """(n,) for each image, the share of these conditions under which it is right."""
        found: Values = np.mean([self.damaged[key].right for key in keys], axis=0, dtype=np.float64)
        return found


def summary(asked: Corruption, table: pa.Table) -> pa.Table:
    """A row for the clean images, for each cell, each type and all of them, per model.

    The interval of a mean over cells is the bootstrap's over images, whose outcomes in all cells are drawn together:
    that of the 75 cells' mean is wider than 75 times as many images would make it.
    """
    found = [(cells.clean.first, row) for cells in cells_of(table) for row in _rows(cells, asked.reference)]
    made = with_leading_of(to_table(RobustnessRow, [row for _, row in found]), [first for first, _ in found])
    return made if any(row.mean_iou is not None for _, row in found) else made.drop_columns(list(MASKS_ALONE))


def comparisons(asked: Corruption, table: pa.Table) -> pa.Table:
    """Each two models in robustness over the corruptions that all were asked about, and in what these cost.

    Only of networks about as accurate on clean images, and above chance. Costs are shares of the accuracy above chance,
    where the clean images are the same ones.
    """
    models = measured_models(table, ("corruption", "severity"), ("origin",), clean=_CLEAN)
    common = shared_conditions(models, _CLEAN)
    numbers = []
    if common:
        numbers.append(Number(name=ROBUSTNESS, value=lambda one: one.mean(common)))
        if all(table.column("paired").to_pylist()):
            numbers.append(Number(name=LOSS, value=lambda one: relative_loss(one, one.mean(common)), unit=ABOVE_CHANCE))
    return compared(models, numbers, unlike)


def cells_of(table: pa.Table) -> list[Cells]:
    """The conditions of each job; those whose clean images are not done yet are left out.

    Args:
        table: rows of one or more models, with the leading columns.
    """
    found: dict[tuple[str, str], dict[tuple[str, int], Pooled]] = {}
    for (model, job, kind, severity), some in pooled(table, ("corruption", "severity")).items():
        found.setdefault((model, job), {})[kind, severity] = some
    jobs = []
    for damaged in found.values():
        clean = damaged.pop(_CLEAN, None)
        if clean is not None and damaged:
            jobs.append(Cells(clean, damaged, origin=clean.first["origin"], paired=clean.first["paired"]))
    return jobs


def _rows(cells: Cells, reference: str) -> list[RobustnessRow]:
    def made(
        corruption: str, severity: int | None, values: Mapping[str, Any], mce: float | None = None
    ) -> RobustnessRow:
        error = 1 - values["accuracy"]
        return RobustnessRow(
            corruption=corruption,
            severity=severity,
            error=error,
            mce=mce,
            origin=cells.origin,
            paired=cells.paired,
            **{**_UNPAIRED, **values},
        )

    rows = [made(*_CLEAN, accuracy_of(cells.clean))]
    keys = list(cells.damaged)
    if cells.paired:
        each = changes(list(cells.damaged.values()), cells.clean)
    else:
        each = [accuracy_of(some) for some in cells.damaged.values()]
    rows += [made(kind, severity, values) for (kind, severity), values in zip(keys, each, strict=True)]
    groups = {kind: [key for key in keys if key[0] == kind] for kind in cells.types}
    errors = {
        kind: _corruption_error(cells, group) if reference == "alexnet" else None for kind, group in groups.items()
    }
    means = [mean_of(cells, group) for group in groups.values()]
    raised = holm([values["p"] for values in means]) if cells.paired else [None] * len(means)
    for kind, values, p in zip(groups, means, raised, strict=True):
        rows.append(made(kind, None, {**values, "p_holm": p}, errors[kind]))
    overall = mean_of(cells, keys)
    known = [error for error in errors.values() if error is not None]
    mce = sum(known) / len(known) if known else None
    return [*rows, made(ALL, None, {**overall, "p_holm": overall.get("p")}, mce)]


def mean_of(cells: Cells, keys: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """The columns of a `RobustnessRow` that say how accurate a model is in the mean over cells, without p (Holm).

    Args:
        cells: of one job.
        keys: of the cells.
    """
    values = cells.mean(keys)
    share = paired_means(values, np.zeros_like(values))
    found: dict[str, Any] = {
        "images": len(values),
        "accuracy": share.value,
        "accuracy_low": share.low,
        "accuracy_high": share.high,
        "nll": sum(cells.damaged[key].nll for key in keys) / len(keys),
        "chance": cells.clean.chance,
    }
    if cells.paired:
        change = paired_means(values, cells.clean.right.astype(np.float64))
        found |= {
            "change": 100 * change.value,
            "change_low": 100 * change.low,
            "change_high": 100 * change.high,
            "p": change.p,
        }
    return found


def _corruption_error(cells: Cells, keys: Sequence[tuple[str, int]]) -> float:
    """CE of one type: the errors' sum over severities by AlexNet's sum over the same."""
    own = sum(1 - float(cells.damaged[key].right.mean()) for key in keys)
    return own / sum(ALEXNET_ERRORS[kind][severity - 1] for kind, severity in keys)


def words(kind: str) -> str:
    """A type as people write it.

    Args:
        kind: its name.
    """
    return kind.replace("_", " ").replace("jpeg", "JPEG")
