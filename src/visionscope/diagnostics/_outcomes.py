"""Which images a network gets right, clean or changed: kept per image, so that every difference is a paired one."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from visionscope.core.inputs import image_like, place_of
from visionscope.core.logits import Readout
from visionscope.core.modes import evaluation_mode
from visionscope.core.sample import Batch, SampleLike
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING, column
from visionscope.data.sample import Sample
from visionscope.errors import DataError, NotApplicableError
from visionscope.numerics.paired import Difference, Flags, holm, paired_shares, wilson

SIGNIFICANT = 0.05
BATCH = 32
_DIGITS = 12


@dataclasses.dataclass(frozen=True)
class OutcomeRow:
    """What became of a span of images under one condition; a diagnostic's row adds columns that name the condition."""

    part: str = column("span of images, or the set of them, that it was measured with")
    sample: str = column("first 12 hexadecimal digits of the images' digest; paired comparisons need it in common")
    start: int = column("position of the span's first image")
    images: int = column("images in the span")
    right: str = column("which of them are right, as hexadecimal digits of 4 images each, the first image foremost")
    nll: float = column("mean cross-entropy of their labels", "nat")


@dataclasses.dataclass(frozen=True)
class ChangeRow:
    """Accuracy under one condition and what it lost against the clean images; a summary's row adds the condition."""

    images: int = column("images in the means")
    accuracy: float = column("share of images whose top class is right")
    accuracy_low: float = column("lower end of its 95 % interval (Wilson)")
    accuracy_high: float = column("upper end of its 95 % interval (Wilson)")
    nll: float = column("mean cross-entropy", "nat")
    change: float = column("accuracy less that of the clean images", "percentage points")
    change_low: float = column("lower end of its 95 % interval, paired over images", "percentage points")
    change_high: float = column("upper end of its 95 % interval, paired over images", "percentage points")
    p: float = column("chance of such a change where there is none (McNemar, exact)")
    p_holm: float = column("p raised by Holm's rule for all conditions of the model; below 0.05 the change counts")


@dataclasses.dataclass(frozen=True)
class Pooled:
    """All images of one model under one condition.

    Attributes:
        first: a row that it was made from, with the leading columns.
        sample: the images' digest.
        right: (n,) by position.
        nll: mean cross-entropy.
    """

    first: Mapping[str, Any]
    sample: str
    right: Flags
    nll: float


def first_images(name: str, asked: int, available: int, kind: str = "image") -> int:
    """As many images as asked, or as there are.

    Args:
        name: of the diagnostic, for the error.
        asked: at least 1.
        available: in the sample.
        kind: what they are, for the error.

    Raises:
        DataError: when there are none.
    """
    if not available:
        raise DataError(f"{name}: needs at least one {kind}; the data have none")
    return min(asked, available)


def bits(right: Tensor | Flags) -> str:
    """Flags as hexadecimal digits, the first flag foremost; the last digit is filled up with zeros.

    Args:
        right: (n,) of bool.
    """
    flags = np.asarray(right.cpu() if isinstance(right, Tensor) else right, dtype=bool)
    return np.packbits(flags).tobytes().hex()[: -(-len(flags) // 4)]


def flags(text: str, images: int) -> Flags:
    """The flags that `bits` wrote.

    Args:
        text: hexadecimal digits.
        images: how many flags.
    """
    packed = np.frombuffer(bytes.fromhex(text + "0" * (len(text) % 2)), dtype=np.uint8)
    return np.unpackbits(packed, count=images).astype(bool)


def sample_text(sample: SampleLike) -> str:
    """What the column `sample` holds: of the images alone, where models differ in size and normalisation.

    Args:
        sample: any.
    """
    return str(getattr(sample, "image_digest", sample.digest))[:_DIGITS]


def check_labels(subject: Subject, name: str) -> None:
    """Refuses data without labels that the model knows, before anything is computed.

    All labels of a sample are looked at, where that needs no image to be read; else the first one.

    Args:
        subject: with its sample.
        name: of the sample.

    Raises:
        NotApplicableError: when an image has none.
        DataError: when a label can't be read.
    """
    sample = subject.samples[name]
    if isinstance(sample, Sample):
        labels = [sample.source.label(int(index)) for index in sample.indices]
        missing, known = None in labels, len(sample.source.classes)
        largest = max((label for label in labels if label is not None), default=0)
        classes = subject.readout.classes
        if not missing and largest >= classes > 0:
            rule = f"labels must be 0 to {classes - 1}{_alone(subject.readout)}"
            raise NotApplicableError(f"{subject.label}: {rule}; got {largest}")
    else:
        missing, known = next(iter(sample.batches(0, 1, 1))).labels is None, 0
    if missing:
        have = f"the images' are of {known} classes" if known else "the images have none that the model knows"
        raise NotApplicableError(
            f"{subject.label}: needs labels; {have}, the model's head has {_classes(subject, name)}"
            f"{_alone(subject.readout)}"
        )


def _alone(readout: Readout) -> str:
    return " (its single logit is read as class 1 against class 0)" if readout.columns == 1 else ""


def _classes(subject: Subject, name: str) -> int:
    """How many classes the head has."""
    images = next(iter(subject.samples[name].batches(0, 1, 1))).images
    images = images.to(image_like(subject.model, images.shape[1:]))
    with passes(subject), evaluation_mode(subject.model):
        return subject.readout.logits(subject.model(images)).shape[1]


def batches(subject: Subject, name: str, start: int, stop: int, batch_size: int | None = None) -> Iterator[Batch]:
    """The images of a span with their labels, on the model's device and of its type.

    Args:
        subject: with its sample.
        name: of the sample.
        start: first position.
        stop: position after the last.
        batch_size: images at a time; `BATCH` by default.

    Raises:
        DataError: for an image that can't be read or has no label that the model knows.
    """
    like = None
    for batch in subject.samples[name].batches(start, stop, batch_size or BATCH):
        if batch.labels is None:
            first = int(batch.positions[0])
            raise DataError(f"labels: image {first} or one after it has none that {subject.label} knows")
        like = image_like(subject.model, batch.images.shape[1:]) if like is None else like
        yield dataclasses.replace(batch, images=batch.images.to(like), labels=batch.labels.to(like.device))


@contextmanager
def passes(subject: Subject) -> Iterator[None]:
    """A context for forward passes alone: no gradients, autocast where the subject's precision is bf16.

    Args:
        subject: its precision counts.
    """
    bf16 = subject.precision == "bf16"
    with torch.no_grad(), torch.autocast(place_of(subject.model).type, torch.bfloat16, enabled=bf16):
        yield


def predict(subject: Subject, images: Tensor) -> Tensor:
    """Logits (batch, classes) of the subject.

    Args:
        subject: its model.
        images: (batch, channel, height, width), on its device, of its type.
    """
    return subject.readout.logits(subject.model(images))


def score(logits: Tensor, labels: Tensor, *, subject: Subject, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Which images are right, and their cross-entropy `-log softmax(logits)[label]`.

    The top class is the one with the largest logit, the lowest of several. Computed in at least float32.

    Args:
        logits: (batch, classes).
        labels: (batch,).
        subject: for the error.
        positions: (batch,) for the error.

    Returns:
        (batch,) of bool and (batch,) in nats, float64, both on the CPU.

    Raises:
        DataError: for a label that the model doesn't know, and a logit that is not finite.
    """
    full = logits.double() if logits.dtype == torch.float64 else logits.float()
    bad = ~full.isfinite().all(1)
    if bool(bad.any()):
        place = int(positions[int(bad.nonzero()[0, 0])])
        raise DataError(f"{subject.label}: a logit of image {place} is not finite")
    if int(labels.max()) >= full.shape[1] or int(labels.min()) < 0:
        worst = int(labels.max()) if int(labels.max()) >= full.shape[1] else int(labels.min())
        rule = f"labels: must be 0 to {full.shape[1] - 1} for {subject.label}"
        raise DataError(f"{rule}{_alone(subject.readout)}; got {worst}")
    own = full.gather(1, labels[:, None])
    lower = torch.arange(full.shape[1], device=full.device) < labels[:, None]
    beaten = ((full > own) | ((full == own) & lower)).any(1)
    nll = -full.log_softmax(1).gather(1, labels[:, None])[:, 0]
    return ~beaten.cpu(), nll.double().cpu()


def pooled(table: pa.Table, keys: Sequence[str]) -> dict[tuple[Any, ...], Pooled]:
    """The spans of each model under each condition, put together in the order of positions.

    Args:
        table: rows of `OutcomeRow`'s kind with the leading columns.
        keys: the columns that name the condition.

    Returns:
        By (model, job, *condition), in the order of the table.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        groups.setdefault((row["model"], row["job"], *(row[key] for key in keys)), []).append(row)
    found = {}
    for key, rows in groups.items():
        rows.sort(key=lambda row: int(row["start"]))
        images = sum(row["images"] for row in rows)
        found[key] = Pooled(
            first={name: rows[0][name] for name in (*LEADING, *keys)},
            sample=rows[0]["sample"],
            right=np.concatenate([flags(row["right"], row["images"]) for row in rows]),
            nll=sum(row["nll"] * row["images"] for row in rows) / images,
        )
    return found


def accuracy_of(some: Pooled) -> dict[str, float | int]:
    """The columns of a `ChangeRow` that say how accurate one condition is.

    Args:
        some: all its images.
    """
    images = len(some.right)
    low, high = wilson(int(some.right.sum()), images)
    share = float(some.right.mean())
    return {"images": images, "accuracy": share, "accuracy_low": low, "accuracy_high": high, "nll": some.nll}


def changes(damaged: Sequence[Pooled], clean: Pooled) -> list[dict[str, float | int]]:
    """The columns of a `ChangeRow` for every condition of one model, whose p are raised together.

    Args:
        damaged: one per condition, over the same images as `clean`.
        clean: without any change.
    """
    found = [paired_shares(some.right, clean.right) for some in damaged]
    raised = holm([one.p for one in found])
    return [
        {**accuracy_of(some), **_points(one), "p": one.p, "p_holm": p}
        for some, one, p in zip(damaged, found, raised, strict=True)
    ]


def _points(one: Difference) -> dict[str, float]:
    values: Iterable[tuple[str, float]] = (
        ("change", one.value),
        ("change_low", one.low),
        ("change_high", one.high),
    )
    return {name: 100 * value for name, value in values}
