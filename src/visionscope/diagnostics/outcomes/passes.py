"""The passes that outcomes come from: labels checked before, logits checked after."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from visionscope.core.inputs import image_like, place_of
from visionscope.core.logits import Readout, check_answers, has_masks, of_pixels
from visionscope.core.modes import evaluation_mode
from visionscope.core.objective import Objective, check_each_counts
from visionscope.core.sample import DENSE_AXES, MASK_AXES, Batch, SampleLike
from visionscope.core.spans import spans_of
from visionscope.core.subject import Subject
from visionscope.data.sample import Sample
from visionscope.diagnostics.outcomes.damage import Damage
from visionscope.diagnostics.outcomes.rows import bits, pixel_text
from visionscope.errors import DataError, NotApplicableError
from visionscope.numerics.segmentation import Counts, counts_of

BATCH = 32
_DIGITS = 12


def sample_text(sample: SampleLike) -> str:
    """What the column `sample` holds: of the images alone, where models differ in size and normalisation.

    Args:
        sample: any.
    """
    return str(getattr(sample, "image_digest", sample.digest))[:_DIGITS]


def parts(asked: Damage, subject: Subject) -> Sequence[str]:
    """Spans of 256 images; refused without labels, and where the question itself does not apply."""
    check_labels(subject, asked.sample)
    asked.check(subject)
    return spans_of(len(subject.samples[asked.sample]))


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
    if subject.readout.dense:  # but for the first, masks are read with their images, and checked then
        check_answers(subject.label, subject.readout, sample)
        if next(iter(sample.batches(0, 1, 1))).labels is None:
            known = len(sample.source.classes) if isinstance(sample, Sample) else 0
            have = f"are of {known} classes" if known else "are of other classes"
            raise NotApplicableError(
                f"{subject.label}: the masks {have}, the model's head has {subject.readout.classes}: "
                f"MODEL?num_classes={known or 'N'} makes another"
            )
        return
    if isinstance(sample, Sample) and not has_masks(sample):
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
            f"{subject.label}: needs labels; {have}, the model's head has {classes_of(subject, name)}"
            f"{_alone(subject.readout)}"
        )


def _alone(readout: Readout) -> str:
    return " (its single logit is read as class 1 against class 0)" if readout.columns == 1 else ""


def classes_of(subject: Subject, name: str) -> int:
    """How many classes the head has, by a pass of one image that leaves the model as it was.

    Args:
        subject: with its sample.
        name: of the sample.
    """
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


def score_pixels(logits: Tensor, batch: Batch, *, subject: Subject) -> tuple[Counts, Tensor]:
    """How many pixels of each image and class are right, and each image's mean cross-entropy over them.

    The top class of a pixel is the one with the largest logit, the lowest of several, after the logits were resized to
    the mask. One image at a time, as many classes of a large image take much memory.

    Args:
        logits: (batch, classes, height, width).
        batch: with masks.
        subject: for the error.

    Returns:
        (batch, 3, classes) pixels right, predicted as the class and of it; (batch,) in nats, float64, on the CPU.

    Raises:
        DataError: for masks that don't fit or have no pixel that counts, and a logit that is not finite.
    """
    full = logits.double() if logits.dtype == torch.float64 else logits.float()
    plain, classes = Objective(), logits.shape[1]
    masks = plain.targets(batch, classes).to(full.device)
    check_each_counts(batch)
    bad = ~full.isfinite().flatten(1).all(1)
    if bool(bad.any()):
        place = int(batch.positions[int(bad.nonzero()[0, 0])])
        raise DataError(f"{subject.label}: a logit of image {place} is not finite")
    counts, losses = [], []
    for place in range(len(full)):
        one, mask = full[place : place + 1], masks[place : place + 1]
        resized = of_pixels(one, mask)
        counts.append(counts_of(resized.argmax(1), mask, classes))
        losses.append(plain.nll(resized, mask).double().cpu())
    return np.concatenate(counts), torch.cat(losses)


class Outcomes:
    """What becomes of the images of a part under one condition, batch by batch: of labels, or of masks.

    Attributes:
        classes: that the network chooses among.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._right: list[Tensor] = []
        self._counts: list[Counts] = []
        self._nll: list[Tensor] = []
        self.classes = 0

    def add(self, logits: Tensor, batch: Batch) -> Tensor:
        """Takes the logits of some images, with their labels or masks.

        Args:
            logits: (batch, classes) or (batch, classes, height, width).
            batch: of the images.

        Returns:
            (batch,) their cross-entropy in nats.

        Raises:
            DataError: as `score` and `score_pixels` do.
        """
        assert batch.labels is not None  # or `batches` would have raised
        self.classes = logits.shape[1]
        if logits.ndim == DENSE_AXES or batch.labels.ndim == MASK_AXES:
            counts, nll = score_pixels(logits, batch, subject=self._subject)
            self._counts.append(counts)
        else:
            right, nll = score(logits, batch.labels, subject=self._subject, positions=batch.positions)
            self._right.append(right)
        self._nll.append(nll)
        return nll

    @property
    def nll(self) -> Tensor:
        """(images,) the cross-entropy of each image in nats."""
        return torch.cat(self._nll)

    @property
    def right(self) -> str:
        """What the column `right` of an `OutcomeRow` holds."""
        return pixel_text(np.concatenate(self._counts)) if self._counts else bits(torch.cat(self._right))
