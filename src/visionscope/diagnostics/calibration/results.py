"""What the rows of a calibration come to: every measure per model, differences, what was said of each image."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from visionscope.core.table import column, long_table, schema_of, to_table, with_leading_of
from visionscope.diagnostics.calibration.pixels import bins_of
from visionscope.diagnostics.calibration.question import Calibration
from visionscope.diagnostics.outcomes.pooling import images_of
from visionscope.diagnostics.outcomes.rows import ComparisonRow, flags_of, pixel_counts_of, positions_of
from visionscope.diagnostics.outcomes.statistics import Measured, Number, compared, comparison_row
from visionscope.numerics import calibration as measures
from visionscope.numerics.calibration import Interval, Share
from visionscope.numerics.paired import Flags, Values, paired_means, wilson
from visionscope.numerics.segmentation import mean_iou, mean_iou_interval, most_common, pixel_accuracies

NLL, SURE = "NLL", "mean confidence less accuracy"
"""What models are compared in: of each image its cross-entropy, and its confidence less whether it is right."""
COOLED = "NLL at the temperature less NLL as the probabilities come"

_PER_IMAGE = ("label", "predicted", "confidence", "cross_entropy", "brier")
_BY_CLASS = ("class_probability", "class_images")
_ROUNDING = 1e-9
_SURE = ("acc_90", "unc_90", "freq_90")


@dataclasses.dataclass(frozen=True)
class CalibrationSummaryRow:
    """All measures of one model, as its probabilities come or at a temperature."""

    scaling: str = column("none: probabilities as they come; temperature: after the logits were divided by one")
    temperature: float = column("what the logits were divided by, 0.01 to 100")
    fit_images: int = column("images that the temperature was fitted on, none of them measured", role="convention")
    bins: int = column("bins of confidence", role="convention")
    images: int = column("images measured", role="count")
    accuracy: float = column(
        "share of images whose top class is right", role="outcome", percent=True, ends=("accuracy_low", "accuracy_high")
    )
    accuracy_low: float = column("lower end of its 95 % interval (Wilson; of masks bootstrap over images)")
    accuracy_high: float = column("upper end of its 95 % interval (Wilson; of masks bootstrap over images)")
    top_5: float | None = column(
        "share of images whose label is among the 5 largest logits", percent=True, ends=("top_5_low", "top_5_high")
    )
    top_5_low: float | None = column("lower end of its 95 % interval (Wilson)")
    top_5_high: float | None = column("upper end of its 95 % interval (Wilson)")
    confidence: float = column("mean probability of the top class", percent=True)
    nll: float = column("mean cross-entropy", "nat", title="NLL", role="outcome", ends=("nll_low", "nll_high"))
    nll_low: float = column("lower end of its 95 % interval (bootstrap over images)", "nat")
    nll_high: float = column("upper end of its 95 % interval (bootstrap over images)", "nat")
    brier: float = column(
        "mean over images of the squared distance between probabilities and label, 0 to 2",
        ends=("brier_low", "brier_high"),
    )
    brier_low: float = column("lower end of its 95 % interval (bootstrap over images)")
    brier_high: float = column("upper end of its 95 % interval (bootstrap over images)")
    ece: float = column(
        "expected calibration error: mean over images of |confidence - accuracy| of their bin",
        title="ECE",
        percent=True,
        ends=("ece_low", "ece_high"),
    )
    ece_low: float = column("lower end of its 95 % interval (basic bootstrap over images, widened to hold the value)")
    ece_high: float = column("upper end of its 95 % interval (basic bootstrap over images, widened to hold the value)")
    signed_ece: float = column(
        "the same without the bars: above 0 over-confident, below 0 under-confident",
        title="signed ECE",
        percent=True,
        ends=("signed_ece_low", "signed_ece_high"),
    )
    signed_ece_low: float = column("lower end of its 95 % interval (bootstrap over images)")
    signed_ece_high: float = column("upper end of its 95 % interval (bootstrap over images)")
    adaptive_ece: float | None = column("ECE over bins of equal numbers of images", title="adaptive ECE", percent=True)
    classwise_ece: float = column(
        "mean over classes of the calibration error of the class's probability", title="classwise ECE", percent=True
    )
    acc_90: float | None = column(
        "share right of the images of confidence above 0.9; none where there are no such",
        title="Acc-90",
        percent=True,
        ends=("acc_90_low", "acc_90_high"),
    )
    acc_90_low: float | None = column("lower end of its 95 % interval (Wilson)")
    acc_90_high: float | None = column("upper end of its 95 % interval (Wilson)")
    unc_90: float | None = column(
        "share of confidence 0.9 or less of the wrong images; none where all are right",
        title="Unc-90",
        percent=True,
        ends=("unc_90_low", "unc_90_high"),
    )
    unc_90_low: float | None = column("lower end of its 95 % interval (Wilson)")
    unc_90_high: float | None = column("upper end of its 95 % interval (Wilson)")
    freq_90: float | None = column(
        "share of images of confidence above 0.9", title="Freq-90", percent=True, ends=("freq_90_low", "freq_90_high")
    )
    freq_90_low: float | None = column("lower end of its 95 % interval (Wilson)")
    freq_90_high: float | None = column("upper end of its 95 % interval (Wilson)")
    iou: float = column(
        "mean over classes of right / (predicted as it + of it - right); of masks pixels are added up over images",
        title="IoU",
        percent=True,
        ends=("iou_low", "iou_high"),
    )
    iou_90: float | None = column(
        "IoU of the images of confidence above 0.9; none where there are no such", title="IoU-90", percent=True
    )
    iou_low: float | None = column("of masks: lower end of its 95 % interval (bootstrap over images)", optional=True)
    iou_high: float | None = column("of masks: upper end of its 95 % interval (bootstrap over images)", optional=True)
    commonest: float | None = column(
        "of masks: accuracy of always answering the commonest class", percent=True, role="convention", optional=True
    )


_MASKS_ALONE = ("iou_low", "iou_high", "commonest")


@dataclasses.dataclass(frozen=True)
class CalibrationOutcomeRow:
    """What a network says of one image, as its probabilities come or at a temperature."""

    scaling: str = column("none: probabilities as they come; temperature: after the logits were divided by one")
    temperature: float = column("what the logits were divided by, 0.01 to 100")
    image: int = column("position of the image in its sample")
    label: int | None = column("class index of the image")
    predicted: int | None = column("class index of its largest logit")
    confidence: float = column("probability of that class")
    cross_entropy: float = column("-log of the label's probability", "nat")
    brier: float = column("sum over classes of (probability - 1 for the label, 0 for others) squared")
    right: bool | None = column("whether the predicted class is the label")
    top_5: bool | None = column("whether the label is among the 5 largest logits")
    pixel_accuracy: float | None = column("of a mask: share of its pixels that are right", optional=True)


@dataclasses.dataclass(frozen=True)
class CalibrationBinRow:
    """The images of one model in one bin of confidence, as its probabilities come or at a temperature."""

    scaling: str = column("none: probabilities as they come; temperature: after the logits were divided by one")
    low: float = column("lower end of the bin, which does not belong to it; the bins are of equal width")
    images: int = column(
        "images whose confidence is in the bin, of masks those with such pixels; bins without any have no row",
        role="count",
    )
    confidence: float = column("their mean confidence", percent=True)
    accuracy: float = column("share of them that are right", percent=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pooled:
    """All images of one model at one temperature.

    Attributes:
        rows: the spans that they were made from, in the order of positions, with the columns that were asked for.
        right: (n,) which images are right; of masks the share of their pixels.
        top_5: (n,) of which the label is among the 5 largest logits.
        label: (n,) class indices.
        predicted: (n,) class indices.
        confidence: (n,) probability of the predicted class.
        cross_entropy: (n,) in nats.
        brier: (n,) squared distance between probabilities and label.
        pixel_bins: (n, bins, 3) of masks, from `pixels.bins_of`; else None.
    """

    rows: Sequence[Mapping[str, Any]]
    right: Flags | Values
    top_5: Flags
    label: measures.Classes
    predicted: measures.Classes
    confidence: Values
    cross_entropy: Values
    brier: Values
    pixel_bins: Values | None = None

    @property
    def first(self) -> Mapping[str, Any]:
        """The row of the first span."""
        return self.rows[0]

    @property
    def bins(self) -> measures.Bins:
        """The images by their confidence, or the shares of their pixels."""
        if self.pixel_bins is not None:
            return measures.Bins(**dict(zip(("images", "confidence", "right"), self.pixel_bins.sum(0).T, strict=True)))
        return measures.reliability(self.confidence, self.right.astype(np.bool_), self.first["bins"])


def pooled(table: pa.Table, *, by_class: bool = False) -> Iterator[Pooled]:
    """The spans of each model and scaling, put together in the order of positions.

    Args:
        table: rows of one or more models, with the leading columns.
        by_class: whether `rows` hold the sums by class, which are many.
    """
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in (table if by_class else table.drop_columns(_BY_CLASS)).to_pylist():
        groups.setdefault((row["model"], row["job"], row["scaling"]), []).append(row)
    for rows in groups.values():
        rows.sort(key=lambda row: int(row["start"]))
        values = {name: np.concatenate([np.array(row[name]) for row in rows]) for name in _PER_IMAGE}
        for name in ("label", "predicted"):
            values[name] = values[name].astype(np.int64)
        pixels = pixel_counts_of(rows)
        if pixels is None:
            yield Pooled(rows=rows, right=flags_of(rows), top_5=flags_of(rows, "top_5"), **values)
        else:
            none, shares = np.zeros(0, dtype=np.bool_), pixel_accuracies(pixels)
            yield Pooled(rows=rows, right=shares, top_5=none, pixel_bins=bins_of(rows), **values)


def summary(asked: Calibration, table: pa.Table) -> pa.Table:
    """Every measure with its interval, a row per model and scaling."""
    found = list(pooled(table, by_class=True))
    rows = to_table(
        CalibrationSummaryRow, [(_summed if some.pixel_bins is None else _summed_pixels)(some) for some in found]
    )
    made = with_leading_of(rows, [some.first for some in found])
    return made if any(some.pixel_bins is not None for some in found) else made.drop_columns(list(_MASKS_ALONE))


def outcomes(asked: Calibration, table: pa.Table) -> pa.Table:
    """A row per image and scaling."""
    found = list(pooled(table))
    pieces = (
        (
            some.first,
            {
                **{name: some.first[name] for name in ("scaling", "temperature")},
                **{name: getattr(some, name) for name in (*_PER_IMAGE, "right", "top_5")},
                "pixel_accuracy": None,
                "image": positions_of(some.rows),
                **({} if some.pixel_bins is None else _of_masks(some)),
            },
        )
        for some in found
    )
    made = long_table(schema_of(CalibrationOutcomeRow), pieces)
    masks = any(some.pixel_bins is not None for some in found)
    return made if masks else made.drop_columns(["pixel_accuracy"])


def _of_masks(some: Pooled) -> dict[str, Any]:
    return {**dict.fromkeys(("label", "predicted", "right", "top_5")), "pixel_accuracy": some.right}


def by_bin(table: pa.Table) -> pa.Table:
    """The reliability diagram (Fig. F.1a) in numbers: a row per model, scaling and bin that holds images.

    Args:
        table: rows of one or more models, with the leading columns.
    """
    found = [(some.first, row) for some in pooled(table) for row in _bin_rows(some)]
    rows = to_table(CalibrationBinRow, [row for _, row in found])
    return with_leading_of(rows, [first for first, _ in found])


def _bin_rows(some: Pooled) -> Iterator[CalibrationBinRow]:
    bins = some.bins
    for place in np.flatnonzero(bins.images):
        images = bins.images[place]
        held = images if some.pixel_bins is None else np.count_nonzero(some.pixel_bins[:, place, 0])
        yield CalibrationBinRow(
            scaling=some.first["scaling"],
            low=float(place / len(bins.images)),
            images=int(held),
            confidence=float(bins.confidence[place] / images),
            accuracy=float(bins.right[place] / images),
        )


def comparisons(asked: Calibration, table: pa.Table) -> pa.Table:
    """What the temperature does to the NLL of each model, and each two models as their probabilities come.

    The signed calibration error is the mean over images of confidence less correctness: two models differ in it by a
    mean of differences image by image, as in their NLL.
    """
    scaled: dict[str, dict[str, Measured]] = {"none": {}, "temperature": {}}
    for some in pooled(table):
        scaled[some.first["scaling"]][some.first["model"]] = Measured(
            first=some.first,
            sample=images_of(some.rows),
            settings={},
            values={(NLL,): some.cross_entropy, (SURE,): some.confidence - some.right},
        )
    own: list[tuple[Measured, ComparisonRow]] = []
    for name, plain in scaled["none"].items():
        if name in scaled["temperature"]:
            found = paired_means(scaled["temperature"][name].values[NLL,], plain.values[NLL,])
            own.append((plain, comparison_row(COOLED, found, found.p, "nat", plain)))
    within = with_leading_of(to_table(ComparisonRow, [row for _, row in own]), [plain.first for plain, _ in own])
    numbers = [
        Number(name=SURE, value=lambda one: one.values[SURE,]),
        Number(name=NLL, value=lambda one: one.values[NLL,], unit="nat"),
    ]
    return pa.concat_tables([within, compared(list(scaled["none"].values()), numbers)])


def _summed(some: Pooled) -> CalibrationSummaryRow:
    first, images, right = some.first, len(some.right), some.right.astype(np.bool_)
    bins = int(first["bins"])
    scores = np.stack([some.cross_entropy, some.brier])
    ece, signed_ece, (nll, brier) = measures.resampled(some.confidence, right, scores, bins=bins)
    sums = np.array([np.sum([row[name] for row in some.rows], axis=0) for name in _BY_CLASS])
    sure = some.confidence > measures.CONFIDENT
    iou = measures.iou(some.predicted, some.label)
    assert iou is not None  # there are images
    values: dict[str, Any] = {
        **_with_ends("nll", nll),
        **_with_ends("brier", brier),
        **_with_ends("ece", ece),
        **_with_ends("signed_ece", signed_ece),
        **_share("accuracy", Share(int(right.sum()), images)),
        **_share("top_5", Share(int(some.top_5.sum()), images)),
        **_share("acc_90", measures.acc_90(some.confidence, right)),
        **_share("unc_90", measures.unc_90(some.confidence, right)),
        **_share("freq_90", measures.freq_90(some.confidence)),
    }
    return CalibrationSummaryRow(
        **{name: first[name] for name in ("scaling", "temperature", "fit_images", "bins")},
        **values,
        images=images,
        confidence=float(some.confidence.mean()),
        adaptive_ece=measures.adaptive_ece(some.confidence, right, bins),
        classwise_ece=measures.classwise_ece(sums.reshape(2, first["classes"], -1), images),
        iou=iou,
        iou_90=measures.iou(some.predicted[sure], some.label[sure]),
    )


def _summed_pixels(some: Pooled) -> CalibrationSummaryRow:
    """The same of masks: every image weighs as much, and every pixel of it."""
    first, bins, by_image = some.first, some.bins, some.pixel_bins
    pixels = pixel_counts_of(some.rows)
    assert by_image is not None  # or `_summed` would have been called
    assert pixels is not None
    scores = np.stack([some.cross_entropy, some.brier, some.right.astype(np.float64)])
    ece, signed_ece, (nll, brier, accuracy) = measures.resampled_gaps(by_image[:, :, 1] - by_image[:, :, 2], scores)
    sums = np.array([np.sum([row[name] for row in some.rows], axis=0) for name in _BY_CLASS])
    low, high = mean_iou_interval(pixels)
    values: dict[str, Any] = {
        **_with_ends("nll", nll),
        **_with_ends("brier", brier),
        **_with_ends("ece", ece),
        **_with_ends("signed_ece", signed_ece),
        **_with_ends("accuracy", accuracy),
        **dict.fromkeys(f"{name}{end}" for name in ("top_5", *_SURE) for end in ("", "_low", "_high")),
        **_sure(bins),
    }
    return CalibrationSummaryRow(
        **{name: first[name] for name in ("scaling", "temperature", "fit_images", "bins")},
        **values,
        images=len(some.right),
        confidence=float(some.confidence.mean()),
        adaptive_ece=None,
        classwise_ece=measures.classwise_ece(sums.reshape(2, first["classes"], -1), len(some.right)),
        iou=mean_iou(pixels),
        iou_low=low,
        iou_high=high,
        iou_90=None,
        commonest=most_common(pixels),
    )


def _sure(bins: measures.Bins) -> dict[str, float | None]:
    """Acc-90, Unc-90 and Freq-90 from the bins, where 0.9 is an end of one."""
    first = round(measures.CONFIDENT * len(bins.images))
    if abs(first - measures.CONFIDENT * len(bins.images)) > _ROUNDING:
        return {}
    images, right = (float(some.sum()) for some in (bins.images, bins.right))
    sure, sure_right = (float(some[first:].sum()) for some in (bins.images, bins.right))
    wrong = images - right
    return {
        "acc_90": sure_right / sure if sure else None,
        "unc_90": (wrong - (sure - sure_right)) / wrong if wrong > 0 else None,
        "freq_90": sure / images,
    }


def _with_ends(name: str, found: Interval) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _share(name: str, share: Share) -> dict[str, float | None]:
    low, high = wilson(share.count, share.of) if share.of else (None, None)
    return {name: share.value, f"{name}_low": low, f"{name}_high": high}
