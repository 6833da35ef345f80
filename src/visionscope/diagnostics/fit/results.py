"""What losses and outcomes come to: NLL_train beside the test error, networks compared in both."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from visionscope.core.finding import interval
from visionscope.core.sample import MINI_BATCH
from visionscope.core.table import column, long_table, schema_of, to_table, with_leading_of
from visionscope.diagnostics.fit.question import Fit
from visionscope.diagnostics.outcomes.pooling import right_columns
from visionscope.diagnostics.outcomes.rows import POINTS, ComparisonRow, flags_of, pixel_counts_of, positions_of
from visionscope.diagnostics.outcomes.statistics import Measured, comparison_row, measured_models
from visionscope.numerics.paired import (
    Difference,
    Values,
    holm,
    mean_interval,
    paired_means,
    paired_shares,
    wilson,
)
from visionscope.numerics.ranks import rank_correlation
from visionscope.numerics.segmentation import mean_iou, mean_iou_interval, pixel_accuracies

Row = Mapping[str, Any]
LOSS = "NLL_train (low and high from the ends of both intervals)"
GAIN = "accuracy on test images"
ORDER = "rank correlation of the test error with NLL_train, over networks"
"""What networks are compared in."""

_TARGETS = ("data", "augmentation", "targets", "label_smoothing")
_FEW_MODELS = 3  # of more an ordering is spoken of
_EVEN = 0.5  # of what is 1 for right and 0 for wrong


@dataclasses.dataclass(frozen=True)
class FitSummaryRow:
    """NLL_train and test error of one model."""

    nll_train: float = column("mean cross-entropy on augmented training images", "nat", title="NLL_train")
    nll_train_se: float | None = column(
        "its standard error, over mini-batches of 16 images; none for a single one",
        "nat",
        title="standard error of NLL_train",
    )
    train_images: int = column("training images in the mean")
    augmentation: str = column("of the training images: strong, weak or none", role="setting")
    targets: str = column("of the training images: labels, or mixed with label smoothing", role="convention")
    label_smoothing: float = column("share of each training target spread over all classes", role="setting")
    error: float = column(
        "share of test images whose top class is wrong; of masks the mean over images of the share of their pixels",
        "%",
        ends=("error_low", "error_high"),
    )
    error_low: float = column("lower end of its 95 % interval (Wilson; of masks bootstrap over images)", "%")
    error_high: float = column("upper end of its 95 % interval (Wilson; of masks bootstrap over images)", "%")
    nll_test: float = column("mean cross-entropy on clean test images", "nat", title="test NLL")
    test_images: int = column("test images in the mean")
    fraction: float | None = column(
        "share of the training images that the network was trained on, where it is known", role="convention"
    )
    mean_iou: float | None = column(
        "of masks: mean over classes of intersection over union, over test images",
        title="mean IoU",
        percent=True,
        ends=("mean_iou_low", "mean_iou_high"),
        optional=True,
    )
    mean_iou_low: float | None = column("lower end of its 95 % interval (bootstrap over images)", optional=True)
    mean_iou_high: float | None = column("upper end of its 95 % interval (bootstrap over images)", optional=True)


_MASKS_ALONE = ("mean_iou", "mean_iou_low", "mean_iou_high")


@dataclasses.dataclass(frozen=True)
class FitOutcomeRow:
    """What a network does on one image."""

    split: str = column("train: images as augmented for training; eval: clean test images")
    image: int = column("position of the image in its sample")
    cross_entropy: float = column("of its target: the label, or what Mixup or CutMix made of two", "nat")
    right: bool | None = column("whether its top class is its label; of a mixed image, the class of the larger share")
    pixel_accuracy: float | None = column("of a mask: share of its pixels that are right", optional=True)


def summary(asked: Fit, table: pa.Table) -> pa.Table:
    """NLL_train and test error per model; models of which a split is missing are left out."""
    found = _spans(table)
    train, test = asked.sample, asked.beside[0]
    whole = [key for key in dict.fromkeys(key[:2] for key in found) if {(*key, train), (*key, test)} <= found.keys()]
    rows = [_summed(found[*key, train], found[*key, test]) for key in whole]
    made = with_leading_of(to_table(FitSummaryRow, rows), [found[*key, train][0] for key in whole])
    return made if any(row.mean_iou is not None for row in rows) else made.drop_columns(list(_MASKS_ALONE))


def outcomes(asked: Fit, table: pa.Table) -> pa.Table:
    """A row per image."""
    found = list(_spans(table).values())
    pieces = (
        (
            rows[0],
            {
                "split": rows[0]["split"],
                "image": positions_of(rows),
                "cross_entropy": np.concatenate([np.array(row["cross_entropy"]) for row in rows]),
                **right_columns(rows),
            },
        )
        for rows in found
    )
    made = long_table(schema_of(FitOutcomeRow), pieces)
    masks = any(pixel_counts_of(rows) is not None for rows in found)
    return made if masks else made.drop_columns(["pixel_accuracy"])


def comparisons(asked: Fit, table: pa.Table) -> pa.Table:
    """Each two networks in training loss and in accuracy on test images; of several, whether one goes with the other.

    Accuracies are compared image by image, p raised by Holm's rule over all pairs. Training losses are told apart where
    their intervals are, which is stricter than an interval of their difference. Pairs and orderings are of networks
    whose training images and targets were made alike.
    """
    fits = summary(asked, table).to_pylist()
    on_test = table.filter(pc.equal(table["split"], asked.beside[0]))
    right = {str(one.first["model"]): one for one in measured_models(on_test, ("split",))}
    known = sorted((row for row in fits if row["model"] in right), key=lambda row: float(row["nll_train"]))
    pairs = [
        (low, high)
        for low, high in itertools.combinations(known, 2)
        if alike(low) == alike(high) and right[low["model"]].sample == right[high["model"]].sample
    ]
    gains = [_gain(right[low["model"]], right[high["model"]], asked.beside[0]) for low, high in pairs]
    raised = holm([one.p for one in gains])
    found: list[tuple[Row, ComparisonRow]] = []
    for (low, high), one, p in zip(pairs, gains, raised, strict=True):
        measured = right[low["model"]], right[high["model"]]
        found += [(low, _losses(low, high)), (low, comparison_row(GAIN, one, p, POINTS, *measured))]
    for key in dict.fromkeys(map(alike, fits)):
        rows = [row for row in fits if alike(row) == key]
        if len(rows) > _FEW_MODELS:
            found.append((rows[0], _ordering(rows)))
    return with_leading_of(to_table(ComparisonRow, [row for _, row in found]), [first for first, _ in found])


def _gain(first: Measured, second: Measured, split: str) -> Difference:
    one, other = first.values[split,], second.values[split,]
    return paired_means(one, other) if first.masks else paired_shares(one > _EVEN, other > _EVEN)


def alike(row: Row) -> tuple[Any, ...]:
    """What two networks must have in common for their training losses to be compared.

    Args:
        row: of a summary.
    """
    return tuple(row[key] for key in _TARGETS)


def _spans(table: pa.Table) -> dict[tuple[str, str, str], list[Row]]:
    """The rows of each model and split in the order of positions, by (model, job, split)."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in table.to_pylist():
        groups.setdefault((row["model"], row["job"], row["split"]), []).append(row)
    return {key: sorted(rows, key=lambda row: int(row["start"])) for key, rows in groups.items()}


def _summed(train: Sequence[Row], test: Sequence[Row]) -> FitSummaryRow:
    losses, test_losses = (np.concatenate([row["cross_entropy"] for row in some]) for some in (train, test))
    pixels = pixel_counts_of(test)
    more: dict[str, Any] = {}
    if pixels is None:
        right = int(flags_of(test).sum())
        share, (low, high) = right / len(test_losses), wilson(right, len(test_losses))
    else:
        shares = pixel_accuracies(pixels)
        share, (low, high) = float(shares.mean()), mean_interval(shares)
        ends = dict(zip(_MASKS_ALONE[1:], mean_iou_interval(pixels), strict=True))
        more = {"mean_iou": mean_iou(pixels), **ends}
    return FitSummaryRow(
        nll_train=float(losses.mean()),
        nll_train_se=_clustered_se(losses, positions_of(train) // MINI_BATCH),
        train_images=len(losses),
        **{name: train[0][name] for name in ("augmentation", "targets", "label_smoothing", "fraction")},
        error=100 * (1 - share),
        error_low=100 * (1 - high),
        error_high=100 * (1 - low),
        nll_test=float(test_losses.mean()),
        test_images=len(test_losses),
        **more,
    )


def _clustered_se(values: Values, group: NDArray[np.int64]) -> float | None:
    """Standard error of a mean whose values are independent between groups alone; None for a single group.

    `sqrt(m / (m - 1) sum_g (sum_{i in g} (x_i - mean))^2) / n`: images of a mini-batch share one ratio of mixing.
    """
    sums = np.bincount(group - group.min(), values - values.mean())[np.unique(group) - group.min()]
    groups = len(sums)
    return float(np.sqrt(groups / (groups - 1) * np.square(sums).sum()) / len(values)) if groups > 1 else None


def _losses(first: Row, second: Row) -> ComparisonRow:
    ends = [interval(row["nll_train"], row["nll_train_se"], _mini_batch_count(row) - 1) for row in (first, second)]
    low = high = None
    if ends[0] is not None and ends[1] is not None:
        low, high = ends[0][0] - ends[1][1], ends[0][1] - ends[1][0]
    return ComparisonRow(
        other=second["model"],
        number=LOSS,
        difference=first["nll_train"] - second["nll_train"],
        low=low,
        high=high,
        unit="nat",
        p=None,
        p_holm=None,
        images=first["train_images"],
        note="",
    )


def _mini_batch_count(row: Row) -> int:
    return -(-int(row["train_images"]) // MINI_BATCH)


def _ordering(rows: Sequence[Row]) -> ComparisonRow:
    rho, p = rank_correlation([row["nll_train"] for row in rows], [row["error"] for row in rows])
    return ComparisonRow(
        other="",
        number=ORDER,
        difference=rho,
        low=None,
        high=None,
        unit="",
        p=p,
        p_holm=p,
        images=len(rows),
        note="",
    )
