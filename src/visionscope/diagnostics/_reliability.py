"""What the rows of a calibration come to: every measure per model, and the reliability diagram."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.table import column, to_table, with_leading_of
from visionscope.diagnostics import _outcomes
from visionscope.numerics import calibration as measures
from visionscope.numerics.calibration import Interval, Share
from visionscope.numerics.paired import Flags, Values, wilson

_TITLES = {"none": "As the probabilities come", "temperature": "At the fitted temperature"}


@dataclasses.dataclass(frozen=True)
class CalibrationSummaryRow:
    """All measures of one model, as its probabilities come or at a temperature."""

    scaling: str = column("none: probabilities as they come; temperature: after the logits were divided by one")
    temperature: float = column("what the logits were divided by, 0.01 to 100")
    fit_images: int = column("images that the temperature was fitted on, none of them measured")
    bins: int = column("bins of confidence")
    images: int = column("images measured")
    accuracy: float = column("share of images whose top class is right")
    accuracy_low: float = column("lower end of its 95 % interval (Wilson)")
    accuracy_high: float = column("upper end of its 95 % interval (Wilson)")
    top_5: float = column("share of images whose label is among the 5 largest logits")
    top_5_low: float = column("lower end of its 95 % interval (Wilson)")
    top_5_high: float = column("upper end of its 95 % interval (Wilson)")
    confidence: float = column("mean probability of the top class")
    nll: float = column("mean cross-entropy", "nat")
    nll_low: float = column("lower end of its 95 % interval (bootstrap over images)", "nat")
    nll_high: float = column("upper end of its 95 % interval (bootstrap over images)", "nat")
    brier: float = column("mean over images of the squared distance between probabilities and label, 0 to 2")
    brier_low: float = column("lower end of its 95 % interval (bootstrap over images)")
    brier_high: float = column("upper end of its 95 % interval (bootstrap over images)")
    ece: float = column("expected calibration error: mean over images of |confidence - accuracy| of their bin")
    ece_low: float = column("lower end of its 95 % interval (basic bootstrap over images, widened to hold the value)")
    ece_high: float = column("upper end of its 95 % interval (basic bootstrap over images, widened to hold the value)")
    signed_ece: float = column("the same without the bars: above 0 over-confident, below 0 under-confident")
    signed_ece_low: float = column("lower end of its 95 % interval (bootstrap over images)")
    signed_ece_high: float = column("upper end of its 95 % interval (bootstrap over images)")
    adaptive_ece: float = column("ECE over bins of equal numbers of images")
    classwise_ece: float = column("mean over classes of the calibration error of the class's probability")
    acc_90: float | None = column("share right of the images of confidence above 0.9; none where there are no such")
    acc_90_low: float | None = column("lower end of its 95 % interval (Wilson)")
    acc_90_high: float | None = column("upper end of its 95 % interval (Wilson)")
    unc_90: float | None = column("share of confidence 0.9 or less of the wrong images; none where all are right")
    unc_90_low: float | None = column("lower end of its 95 % interval (Wilson)")
    unc_90_high: float | None = column("upper end of its 95 % interval (Wilson)")
    freq_90: float = column("share of images of confidence above 0.9")
    freq_90_low: float = column("lower end of its 95 % interval (Wilson)")
    freq_90_high: float = column("upper end of its 95 % interval (Wilson)")
    iou: float = column("mean over classes of right / (predicted as it + of it - right)")
    iou_90: float | None = column("IoU of the images of confidence above 0.9; none where there are no such")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Pooled:
    """All images of one model at one temperature."""

    first: Mapping[str, Any]
    right: Flags
    top_5: Flags
    label: measures.Classes
    predicted: measures.Classes
    confidence: Values
    scores: Values
    classwise_ece: float

    @property
    def bins(self) -> measures.Bins:
        return measures.reliability(self.confidence, self.right, self.first["bins"])


def summary(table: pa.Table) -> pa.Table:
    """Every measure with its interval, a row per model and scaling.

    Args:
        table: rows of one or more models, with the leading columns.
    """
    pooled = list(_pooled(table))
    rows = to_table(CalibrationSummaryRow, [_summed(some) for some in pooled])
    return with_leading_of(rows, [some.first for some in pooled])


def figure(table: pa.Table) -> Figure:
    """The reliability diagram and the share of images per bin, before and after the temperature.

    Args:
        table: rows of one or more models, with the column `model`.
    """
    pooled = list(_pooled(table))
    panels = [
        draw(title, [some for some in pooled if some.first["scaling"] == scaling])
        for draw in (_diagram, _shares)
        for scaling, title in _TITLES.items()
    ]
    counts = sorted({len(some.right) for some in pooled})
    fitted = sorted({some.first["fit_images"] for some in pooled})
    bins = sorted({some.first["bins"] for some in pooled})
    images, others, number = (" or ".join(f"{value:,}" for value in values) for values in (counts, fitted, bins))
    return Figure(
        name="calibration",
        title="Confidence and accuracy",
        caption=(
            f"Accuracy against mean confidence in {number} bins of equal width, over {images} clean test images; "
            "whiskers: 95 % intervals (Wilson). Points below the diagonal are over-confident, points above it "
            f"under-confident. The temperature was fitted on {others} other images of the same split."
        ),
        panels=tuple(panels),
    )


def _pooled(table: pa.Table) -> Iterator[_Pooled]:
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        groups.setdefault((row["model"], row["job"], row["scaling"]), []).append(row)
    for rows in groups.values():
        rows.sort(key=lambda row: int(row["start"]))
        joined = {
            name: np.concatenate([np.array(row[name]) for row in rows])
            for name in ("label", "predicted", "confidence", "cross_entropy", "brier")
        }
        flags = {
            name: np.concatenate([_outcomes.flags(row[name], row["images"]) for row in rows])
            for name in ("right", "top_5")
        }
        first = rows[0]
        sums = np.array([np.sum([row[name] for row in rows], axis=0) for name in ("class_probability", "class_images")])
        yield _Pooled(
            first=first,
            right=flags["right"],
            top_5=flags["top_5"],
            label=joined["label"].astype(np.int64),
            predicted=joined["predicted"].astype(np.int64),
            confidence=joined["confidence"],
            scores=np.stack([joined["cross_entropy"], joined["brier"]]),
            classwise_ece=measures.classwise_ece(sums.reshape(2, first["classes"], -1), len(joined["label"])),
        )


def _summed(some: _Pooled) -> CalibrationSummaryRow:
    first, images = some.first, len(some.right)
    bins = int(first["bins"])
    ece, signed_ece, (nll, brier) = measures.resampled(some.confidence, some.right, some.scores, bins=bins)
    sure = some.confidence > measures.CONFIDENT
    iou = measures.iou(some.predicted, some.label)
    assert iou is not None  # there are images
    values: dict[str, Any] = {
        **_with_ends("nll", nll),
        **_with_ends("brier", brier),
        **_with_ends("ece", ece),
        **_with_ends("signed_ece", signed_ece),
        **_share("accuracy", Share(int(some.right.sum()), images)),
        **_share("top_5", Share(int(some.top_5.sum()), images)),
        **_share("acc_90", measures.acc_90(some.confidence, some.right)),
        **_share("unc_90", measures.unc_90(some.confidence, some.right)),
        **_share("freq_90", measures.freq_90(some.confidence)),
    }
    return CalibrationSummaryRow(
        **{name: first[name] for name in ("scaling", "temperature", "fit_images", "bins")},
        **values,
        images=images,
        confidence=float(some.confidence.mean()),
        adaptive_ece=measures.adaptive_ece(some.confidence, some.right, bins),
        classwise_ece=some.classwise_ece,
        iou=iou,
        iou_90=measures.iou(some.predicted[sure], some.label[sure]),
    )


def _with_ends(name: str, found: Interval) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _share(name: str, share: Share) -> dict[str, float | None]:
    low, high = wilson(share.count, share.of) if share.of else (None, None)
    return {name: share.value, f"{name}_low": low, f"{name}_high": high}


def _diagram(title: str, models: Sequence[_Pooled]) -> Panel:
    even = Line(name="as confident as right", x=(0.0, 1.0), y=(0.0, 1.0), role="reference")
    return Panel(
        model="",
        title=title,
        x_label="mean confidence",
        y_label="accuracy",
        lines=(even, *(_curve(some) for some in models)),
        group="reliability",
    )


def _curve(some: _Pooled) -> Line:
    bins = some.bins
    places = np.flatnonzero(bins.images)
    ends = [wilson(int(bins.right[at]), int(bins.images[at])) for at in places]
    return Line(
        name=some.first["model"],
        x=_floats(bins.confidence[places] / bins.images[places]),
        y=_floats(bins.right[places] / bins.images[places]),
        low=tuple(low for low, _ in ends),
        high=tuple(high for _, high in ends),
        hover=tuple(f"{bins.right[at]:,} right of {bins.images[at]:,} images" for at in places),
    )


def _shares(title: str, models: Sequence[_Pooled]) -> Panel:
    lines = []
    for some in models:
        bins, count = some.bins, int(some.first["bins"])
        lines.append(
            Line(
                name=some.first["model"],
                x=_floats((np.arange(count) + 0.5) / count),
                y=_floats(bins.images / bins.images.sum()),
            )
        )
    return Panel(
        model="",
        title=title,
        x_label="confidence (middle of the bin)",
        y_label="share of images",
        lines=tuple(lines),
        group="images by confidence",
    )


def _floats(values: Values) -> tuple[float, ...]:
    return tuple(map(float, values))
