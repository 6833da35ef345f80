"""How well a network fits its training images, against its error on test images (Park & Kim 2022, Fig. 5 and C.1)."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from visionscope.core.diagnostic import Cost
from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.objective import Objective
from visionscope.core.rules import MOST_IMAGES, check_rules, rule
from visionscope.core.sample import MINI_BATCH, SPAN, Batch
from visionscope.core.spans import span_of, spans_of
from visionscope.core.subject import Subject
from visionscope.core.table import column, to_table, with_leading_of
from visionscope.diagnostics import _outcomes
from visionscope.diagnostics._curvature import objective_of
from visionscope.diagnostics._outcomes import OutcomeRow
from visionscope.numerics.paired import Values, wilson


@dataclasses.dataclass(frozen=True)
class FitRow(OutcomeRow):
    """What a network does on a span of training or test images."""

    split: str = column("train: images as augmented for training; eval: clean test images")
    augmentation: str = column("how the images were changed: strong, weak or none")
    targets: str = column("labels: the class alone; mixed: of Mixup or CutMix, with label smoothing")
    label_smoothing: float = column("share of each target spread over all classes; 0 where targets are labels")
    fraction: float | None = column("share of the training images that the network was trained on, where it is known")
    cross_entropy: tuple[float, ...] = column("of each image, by position", "nat")


@dataclasses.dataclass(frozen=True)
class FitSummaryRow:
    """NLL_train and test error of one model."""

    nll_train: float = column("mean cross-entropy on augmented training images", "nat")
    nll_train_se: float | None = column(
        "its standard error, over mini-batches of 16 images; none for a single one", "nat"
    )
    train_images: int = column("training images in the mean")
    augmentation: str = column("of the training images: strong, weak or none")
    targets: str = column("of the training images: labels, or mixed with label smoothing")
    label_smoothing: float = column("share of each training target spread over all classes")
    error: float = column("share of test images whose top class is wrong", "%")
    error_low: float = column("lower end of its 95 % interval (Wilson)", "%")
    error_high: float = column("upper end of its 95 % interval (Wilson)", "%")
    nll_test: float = column("mean cross-entropy on clean test images", "nat")
    test_images: int = column("test images in the mean")
    fraction: float | None = column("share of the training images that the network was trained on, where it is known")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """NLL on augmented training images against the error on clean test images: does a network over-fit?

    The paper's Fig. 5: networks that fit their training images better have the smaller test error, so what is at fault
    with transformers on small data is not over-fitting. The training images are those of the frozen augmentation. Where
    Mixup or CutMix mixed them the NLL is the objective's, with soft targets and label smoothing; else it is
    -log softmax(logits)[label], as `visionscope train` tells it. What is right on a mixed image is the class of the
    larger share, as in the official code. Networks trained with `visionscope train --fraction` carry their share.

    Attributes:
        sample_size: how many training images.
        test_size: how many test images.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "fit"
    version: ClassVar[int] = 1
    row: ClassVar[type] = FitRow
    sample: ClassVar[str] = "train"
    beside: ClassVar[tuple[str, ...]] = ("eval",)
    ensembles: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16", "float16", "bfloat16")

    sample_size: int = rule(4096, least=1, most=MOST_IMAGES)
    test_size: int = rule(10_000, least=1, most=MOST_IMAGES)

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def images(self, available: int) -> int:
        """As many training images as asked, or as there are.

        Args:
            available: images of the split.

        Raises:
            DataError: when there are none.
        """
        return _outcomes.first_images(self.name, self.sample_size, available, "training image")

    def images_beside(self, available: int) -> int:
        """As many test images as asked, or as there are.

        Args:
            available: images of the split.

        Raises:
            DataError: when there are none.
        """
        return _outcomes.first_images(self.name, self.test_size, available, "test image")

    def parts(self, subject: Subject) -> Sequence[str]:
        """Spans of 256 training images, then spans of 256 test images.

        Args:
            subject: with its samples `train` and `eval`.

        Raises:
            NotApplicableError: without labels that the model knows.
        """
        names = (self.sample, *self.beside)
        for name in names:
            _outcomes.check_labels(subject, name)
        return [f"{name}-{span}" for name in names for span in spans_of(len(subject.samples[name]))]

    def cost(self, subject: Subject) -> Cost:
        """A forward pass per image.

        Args:
            subject: with its samples.
        """
        counts = [len(subject.samples[name]) for name in (self.sample, *self.beside)]
        size = next(subject.samples[self.sample].batches(0, 1, 1)).images.numel() * _outcomes.BATCH
        return Cost(
            passes=sum(counts) / sum(math.ceil(count / SPAN) for count in counts),
            memory=4 * size,
            advice=f"take fewer images (--fit.sample_size, now {self.sample_size}, and --fit.test_size)",
        )

    def measure(self, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[FitRow]]]:
        """The row of each part.

        Args:
            subject: with its samples `train` and `eval`, and its objective.
            parts: names from `parts`.

        Raises:
            ConfigError: when the subject has no objective.
            DataError: for an image or a label that can't be used, and a logit that is not finite.
        """
        objective = objective_of(subject, self.name)
        for part in parts:
            yield part, [_row(subject, objective, part)]

    def summary(self, table: pa.Table) -> pa.Table:
        """NLL_train and test error per model; see `FitSummaryRow`.

        Args:
            table: rows of one or more models, with the leading columns.
        """
        groups = _groups(table)
        return with_leading_of(to_table(FitSummaryRow, map(_summed, groups)), [rows[0] for rows in groups])

    def figure(self, table: pa.Table) -> Figure:
        """Test error against NLL_train, a point per model; both against the share of training images, where known.

        Args:
            table: rows of one or more models, with the column `model`.
        """
        found = [(rows[0]["model"], _summed(rows)) for rows in _groups(table)]
        panels = [_panel(found, "nll_train", "error", title="Error and training loss")]
        if len({some.fraction for _, some in found} - {None}) > 1:
            known = [(model, some) for model, some in found if some.fraction is not None]
            panels += [
                _panel(known, "fraction", "error", title="Error by training images"),
                _panel(known, "fraction", "nll_train", title="Training loss by training images"),
            ]
        if not found:
            caption = "Nothing to show: of no network both the training and the test images are done."
            return Figure(name="fit", title="Training loss and test error", caption=caption, panels=())
        train, test = (_counts(found, name) for name in ("train_images", "test_images"))
        changed = " or ".join(sorted({some.augmentation for _, some in found}))
        return Figure(
            name="fit",
            title="Training loss and test error",
            caption=(
                f"NLL of {train} training images (augmentation: {changed}) and error on {test} clean test images; "
                "whiskers: 95 % intervals of the error (Wilson). A network that over-fitted would lie to the left and "
                "high up: small training loss, large error."
            ),
            panels=tuple(panels),
        )


def _row(subject: Subject, objective: Objective, part: str) -> FitRow:
    name, _, span = part.partition("-")
    start, stop = span_of(span)
    right, values, mixed = [], [], False
    with _outcomes.passes(subject):
        for batch in _outcomes.batches(subject, name, start, stop):
            logits = _outcomes.predict(subject, batch.images)
            top = _top_classes(batch).to(logits.device)
            hits, nll = _outcomes.score(logits, top, subject=subject, positions=batch.positions)
            if batch.partners is not None:
                mixed = True
                logits = logits.double().cpu()
                nll = objective.nll(logits, objective.targets(_on_cpu(batch), logits.shape[1]))
            right.append(hits.numpy())
            values.append(nll.numpy())
    cross_entropy = np.concatenate(values)
    return FitRow(
        part=part,
        sample=_outcomes.sample_text(subject.samples[name]),
        start=start,
        images=len(cross_entropy),
        right=_outcomes.bits(np.concatenate(right)),
        nll=float(cross_entropy.mean()),
        split=name,
        augmentation=subject.augmentation if name == Fit.sample else "none",
        targets="mixed" if mixed else "labels",
        label_smoothing=objective.label_smoothing if mixed else 0.0,
        fraction=subject.fraction,
        cross_entropy=tuple(map(float, cross_entropy)),
    )


def _on_cpu(batch: Batch) -> Batch:
    fields = {name: getattr(batch, name) for name in ("labels", "partners", "shares")}
    return dataclasses.replace(batch, **{name: value.cpu() for name, value in fields.items() if value is not None})


def _top_classes(batch: Batch) -> Tensor:
    """The class of the larger share of each target: the image's own, or its partner's where that has more."""
    batch = _on_cpu(batch)
    assert batch.labels is not None  # or `batches` would have raised
    if batch.shares is None or batch.partners is None:
        return batch.labels
    return torch.where(batch.shares >= 0.5, batch.labels, batch.partners)


def _groups(table: pa.Table) -> list[list[dict[str, Any]]]:
    """The rows of each model in the order of positions; models of which a split is missing are left out."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        groups.setdefault((row["model"], row["job"]), []).append(row)
    whole = [rows for rows in groups.values() if len({row["split"] for row in rows}) > 1]
    return [sorted(rows, key=lambda row: (row["split"] != Fit.sample, row["start"])) for rows in whole]


def _summed(rows: Sequence[dict[str, Any]]) -> FitSummaryRow:
    train, test = ([row for row in rows if (row["split"] == Fit.sample) == wanted] for wanted in (True, False))
    losses, test_losses = (np.concatenate([row["cross_entropy"] for row in some]) for some in (train, test))
    right = sum(int(_outcomes.flags(row["right"], row["images"]).sum()) for row in test)
    low, high = wilson(right, len(test_losses))
    return FitSummaryRow(
        nll_train=float(losses.mean()),
        nll_train_se=_clustered_se(losses, np.concatenate([_mini_batches(row) for row in train])),
        train_images=len(losses),
        **{name: train[0][name] for name in ("augmentation", "targets", "label_smoothing", "fraction")},
        error=100 * (1 - right / len(test_losses)),
        error_low=100 * (1 - high),
        error_high=100 * (1 - low),
        nll_test=float(test_losses.mean()),
        test_images=len(test_losses),
    )


def _mini_batches(row: dict[str, Any]) -> NDArray[np.int64]:
    return np.arange(row["start"], row["start"] + row["images"]) // MINI_BATCH


def _clustered_se(values: Values, group: NDArray[np.int64]) -> float | None:
    """Standard error of a mean whose values are independent between groups alone; None for a single group.

    `sqrt(m / (m - 1) sum_g (sum_{i in g} (x_i - mean))^2) / n`: images of a mini-batch share one ratio of mixing.
    """
    sums = np.bincount(group - group.min(), values - values.mean())[np.unique(group) - group.min()]
    groups = len(sums)
    return float(np.sqrt(groups / (groups - 1) * np.square(sums).sum()) / len(values)) if groups > 1 else None


_LABELS = {
    "nll_train": "NLL of augmented training images (nat)",
    "error": "test error (%)",
    "fraction": "share of the training images",
}


def _panel(found: Sequence[tuple[str, FitSummaryRow]], x: str, y: str, *, title: str) -> Panel:
    lines = []
    for model, some in found:
        share = "" if some.fraction is None else f", trained on {some.fraction:.4g} of the images"
        lines.append(
            Line(
                name=model,
                x=(getattr(some, x),),
                y=(getattr(some, y),),
                low=(some.error_low,) if y == "error" else None,
                high=(some.error_high,) if y == "error" else None,
                hover=(f"{model}: NLL {some.nll_train:.3f}, error {some.error:.2f} %{share}",),
                role="points",
            )
        )
    return Panel(model="", title=title, x_label=_LABELS[x], y_label=_LABELS[y], lines=tuple(lines))


def _counts(found: Sequence[tuple[str, FitSummaryRow]], name: str) -> str:
    return " or ".join(f"{count:,}" for count in sorted({getattr(some, name) for _, some in found}))
