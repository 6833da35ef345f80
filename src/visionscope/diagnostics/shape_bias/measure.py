"""The images whose shape and texture disagree, and what a network decides on them."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visionscope.core.diagnostic import Cost
from visionscope.core.sample import SPAN
from visionscope.core.spans import span_of, spans_of
from visionscope.core.subject import Subject
from visionscope.data import conflict
from visionscope.diagnostics.outcomes.passes import BATCH, batches, passes, predict, sample_text, score
from visionscope.diagnostics.outcomes.rows import bits
from visionscope.diagnostics.shape_bias.question import ShapeBias, ShapeBiasRow
from visionscope.errors import DataError, NotApplicableError


def identity(asked: ShapeBias) -> dict[str, Any]:
    """The fields, with the names of the folder's images, which tell their textures, instead of its path."""
    return {**dataclasses.asdict(asked), "folder": conflict.names_digest(asked.folder) if asked.folder else ""}


def source(asked: ShapeBias, spec: str, num_classes: int | None) -> Any:
    """The images it reads; refused where there are no cue-conflict images for these data and this head."""
    return conflict.open_conflict(asked.folder, spec, num_classes)


def parts(asked: ShapeBias, subject: Subject) -> Sequence[str]:
    """Spans of 256 images; refused where images don't tell the class of their texture."""
    _cues_of(subject)
    return spans_of(len(subject.samples[asked.sample]))


def cost(asked: ShapeBias, subject: Subject) -> Cost:
    """A forward pass per image."""
    sample = subject.samples[asked.sample]
    shown = next(iter(sample.batches(0, 1, 1))).images
    return Cost(
        passes=min(SPAN, len(sample)),
        memory=2 * BATCH * shown.numel() * shown.element_size(),
        advice=f"take fewer images (--shape_bias.sample_size, now {asked.sample_size})",
    )


def measure(asked: ShapeBias, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[ShapeBiasRow]]]:
    """The row of each part."""
    source, indices = _cues_of(subject)
    for part in parts:
        start, stop = span_of(part)
        textures = torch.tensor([source.texture(int(index)) for index in indices[start:stop]])
        yield part, [_row(asked, subject, part, textures, tuple(source.classes))]


def _row(asked: ShapeBias, subject: Subject, part: str, textures: Tensor, classes: tuple[str, ...]) -> ShapeBiasRow:
    start, stop = span_of(part)
    by_shape, by_texture, nll, labels, way = [], [], [], [], ""
    for batch in batches(subject, asked.sample, start, stop):
        assert batch.labels is not None
        with passes(subject):
            logits = predict(subject, batch.images)
        scores, way = _scores(logits, len(classes), subject.label)
        own = textures[batch.positions - start].to(batch.labels)
        right, losses = score(scores, batch.labels, subject=subject, positions=batch.positions)
        by_shape.append(right)
        by_texture.append(score(scores, own, subject=subject, positions=batch.positions)[0])
        nll.append(losses)
        labels += batch.labels.tolist()
    return ShapeBiasRow(
        part=part,
        sample=sample_text(subject.samples[asked.sample]),
        start=start,
        images=stop - start,
        right=bits(torch.cat(by_shape)),
        nll=float(torch.cat(nll).mean()),
        texture=bits(torch.cat(by_texture)),
        shapes=bytes(labels).hex(),
        classes=classes,
        decision=way,
    )


def entry_level_scores(logits: Tensor) -> Tensor:
    """The logarithm of the mean probability of each of the 16 entry-level classes.

    Args:
        logits: (batch, 1000).

    Returns:
        (batch, 16).
    """
    logs = (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(1)
    means = [logs[:, list(indices)].logsumexp(1) - np.log(len(indices)) for indices in conflict.ENTRY_LEVEL.values()]
    return torch.stack(means, dim=1)


def _scores(logits: Tensor, classes: int, label: str) -> tuple[Tensor, str]:
    """Logits between the images' classes, and how they came about."""
    if logits.shape[1] == classes:
        return logits, "between the classes of the head"
    if (logits.shape[1], classes) == (conflict.IMAGENET, len(conflict.ENTRY_LEVEL)):
        return entry_level_scores(logits), "mean probability of the ImageNet classes of each of 16"
    raise DataError(f"{label}: the head must have {classes} classes for these images; it has {logits.shape[1]}")


def _cues_of(subject: Subject) -> tuple[Any, Sequence[int]]:
    """The source that knows textures, and the index in it of each position."""
    sample = subject.samples["conflict"]
    source, indices = getattr(sample, "source", None), getattr(sample, "indices", None)
    if indices is None or not hasattr(source, "texture"):
        raise NotApplicableError(
            f"{subject.label}: shape_bias needs images that tell the class of their texture: data embedded, or a "
            "folder of cue-conflict images"
        )
    return source, indices
