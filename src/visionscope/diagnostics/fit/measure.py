"""The passes over training images as augmented, and over clean test images."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from visionscope.core.diagnostic import Cost
from visionscope.core.objective import Objective
from visionscope.core.sample import SPAN, Batch
from visionscope.core.spans import span_of, spans_of
from visionscope.core.subject import Subject, objective_of
from visionscope.diagnostics.fit.question import Fit, FitRow
from visionscope.diagnostics.outcomes.passes import BATCH, Outcomes, batches, check_labels, passes, predict, sample_text


def parts(asked: Fit, subject: Subject) -> Sequence[str]:
    """Spans of 256 training images, then spans of 256 test images; refused without labels that the model knows."""
    names = (asked.sample, *asked.beside)
    for name in names:
        check_labels(subject, name)
    return [f"{name}-{span}" for name in names for span in spans_of(len(subject.samples[name]))]


def cost(asked: Fit, subject: Subject) -> Cost:
    """A forward pass per image."""
    counts = [len(subject.samples[name]) for name in (asked.sample, *asked.beside)]
    size = next(subject.samples[asked.sample].batches(0, 1, 1)).images.numel() * BATCH
    return Cost(
        passes=sum(counts) / sum(math.ceil(count / SPAN) for count in counts),
        memory=4 * size,
        advice=f"take fewer images (--fit.sample_size, now {asked.sample_size}, and --fit.test_size)",
    )


def measure(asked: Fit, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[FitRow]]]:
    """The row of each part."""
    objective = objective_of(subject, asked.name)
    for part in parts:
        yield part, [_row(subject, objective, part)]


def _row(subject: Subject, objective: Objective, part: str) -> FitRow:
    name, _, span = part.partition("-")
    start, stop = span_of(span)
    outcomes, values, mixed = Outcomes(subject), [], False
    with passes(subject):
        for batch in batches(subject, name, start, stop):
            logits = predict(subject, batch.images)
            top = _top_classes(batch).to(logits.device)
            nll = outcomes.add(logits, dataclasses.replace(batch, labels=top))
            if batch.partners is not None:
                mixed = True
                logits = logits.double().cpu()
                nll = objective.nll(logits, objective.targets(_on_cpu(batch), logits.shape[1]))
            values.append(nll.numpy())
    cross_entropy = np.concatenate(values)
    return FitRow(
        part=part,
        sample=sample_text(subject.samples[name]),
        start=start,
        images=len(cross_entropy),
        right=outcomes.right,
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
