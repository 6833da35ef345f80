"""The passes in which attention is read, and which attention can be."""

from collections.abc import Iterator, Sequence

import torch

from visionscope.core.diagnostic import Cost
from visionscope.core.inputs import weight_type
from visionscope.core.sample import SPAN
from visionscope.core.spans import spans_of
from visionscope.core.subject import Kind, Subject
from visionscope.diagnostics.attention.question import AttentionHeads, AttentionRow
from visionscope.diagnostics.attention.reading import Reading, shape_of_images
from visionscope.diagnostics.outcomes.passes import BATCH
from visionscope.errors import ConfigError, NotApplicableError, nearest
from visionscope.tracing.attention import Attention, find_attention

_PASSES = 1.5  # of a bare forward pass: what a batch of a small transformer takes with its attention written out
_COPIES = 4  # of the largest attention's probabilities at a time: scores, probabilities, two products of them


def parts(asked: AttentionHeads, subject: Subject) -> Sequence[str]:
    """Spans of 256 images, and the one image whose maps are wanted."""
    found = attentions_of(subject)
    count = asked.images(len(subject.samples[asked.sample]))
    if asked.image is None:
        return spans_of(count)
    if asked.image >= count:
        raise ConfigError(f"attention.image: must be 0 to {count - 1} for the sample's images; got {asked.image}")
    names = [one.point.name for one in found if not one.note]
    if asked.map_point and asked.map_point not in names:
        raise ConfigError(
            f"attention.map_point: {subject.label} has no msa point {asked.map_point!r} that can be read."
            f"{nearest(asked.map_point, names)}"
        )
    return (*spans_of(count), f"image-{asked.image:04d}")


def cost(asked: AttentionHeads, subject: Subject) -> Cost:
    """A forward pass per image, which writes attention out, and the largest attention of a batch."""
    sizes = [
        one.heads * one.queries.positions.shape[0] * one.queries.count * one.keys.count
        for one in attentions_of(subject)
        if one.queries is not None and one.keys is not None
    ]
    return Cost(
        passes=float(min(SPAN, asked.images(len(subject.samples[asked.sample])))) * _PASSES,
        memory=_COPIES * BATCH * max(sizes) * max(weight_type(subject.model).itemsize, 4),
        advice=f"take fewer images (--attention.sample_size, now {asked.sample_size}) or smaller ones",
    )


def measure(asked: AttentionHeads, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[AttentionRow]]]:
    """The rows of each part, the points in model order, after each point's heads their mean."""
    found = attentions_of(subject)
    for part in parts:
        yield part, list(Reading(subject, asked.sample, found, part).rows())


def attentions_of(subject: Subject) -> tuple[Attention, ...]:
    """The attentions of a subject's msa points, with notes on those that can't be read.

    Args:
        subject: with its trace and its images.

    Raises:
        NotApplicableError: when there is none, or none can be read.
    """
    if subject.trace is None:
        raise ConfigError(f"attention: needs the trace of {subject.label}")
    if not any(one.stream.kind is Kind.MSA for one in subject.trace.residuals):
        raise NotApplicableError(f"{subject.label}: has no self-attention (no residual branch of kind msa)")
    example = torch.zeros(1, *shape_of_images(subject))
    found = find_attention(subject.model, subject.trace, example)
    if not any(one.is_readable for one in found):
        raise NotApplicableError(f"{subject.label}: none of its attention can be read; {found[0].note}")
    return found
