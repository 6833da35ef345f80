"""How far, how widely and how differently the heads of self-attention look (Dosovitskiy et al. 2021, Fig. 7)."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pyarrow as pa
import torch

from visionscope.core.diagnostic import Cost
from visionscope.core.figure import Figure
from visionscope.core.inputs import weight_type
from visionscope.core.rules import MOST_IMAGES, check_rules, rule
from visionscope.core.sample import SPAN
from visionscope.core.spans import spans_of
from visionscope.core.subject import Kind, Subject
from visionscope.diagnostics import _heads, _outcomes
from visionscope.diagnostics._outcomes import first_images
from visionscope.diagnostics._reading import AttentionRow, Reading
from visionscope.errors import ConfigError, NotApplicableError, nearest
from visionscope.tracing.attention import Attention, find_attention

_PASSES = 1.5  # of a bare forward pass: what a batch of a small transformer takes with its attention written out
_COPIES = 4  # of the largest attention's probabilities at a time: scores, probabilities, two products of them


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionHeads:
    """Attention of msa points, head by head: mean attention distance, entropy and head diversity.

    Mean attention distance is `sum_k p_qk |x_q - x_k|` in pixels of the input, averaged over the grid's queries and
    over images (Dosovitskiy et al. 2021, Fig. 7 and 11; Raghu et al. 2021, Fig. 1). Prefix tokens lie nowhere: they ask
    nothing here, and what is given to them is left out and the rest divided by its sum. Inside windows, positions are
    those in the window. Shifted windows that wrap around the image's edge are measured as they lie in the rolled map;
    the model's mask keeps what comes from the other edge apart. Keys on a coarser grid lie at the centre of what they
    cover. Padding counts neither as query nor, for distances, as key.

    Entropy is `-sum_k p_qk log p_qk` over all keys, prefix tokens included. Diversity of a head is the mean over the
    other heads and all queries of 1 - cosine similarity of their distributions; Chen et al. 2022 (The Principle of
    Diversity) compare whole flattened maps, in which queries that look sharply outweigh the others.

    Linear and cross-covariance attention, and class tokens that ask alone, have no such distributions over places: a
    note says so.

    Attributes:
        sample_size: how many images of the sample.
        image: position in the sample of one image whose maps are kept and drawn; none by default.
        map_point: name of the point whose maps are drawn; the last by default.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "attention"
    version: ClassVar[int] = 1
    row: ClassVar[type] = AttentionRow
    sample: ClassVar[str] = "eval"
    needs_logits: ClassVar[bool] = False
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16", "float16", "bfloat16")

    sample_size: int = rule(1024, least=1, most=MOST_IMAGES)
    image: int | None = rule(None, least=0, most=MOST_IMAGES)
    map_point: str = rule("", longest=1000)

    def __post_init__(self) -> None:
        check_rules(self, self.name)
        if self.image is not None and self.image >= self.sample_size:
            raise ConfigError(
                f"attention.image: must be 0 to {self.sample_size - 1}, below sample_size; got {self.image}"
            )

    def identity(self) -> dict[str, Any]:
        """The fields that the spans' numbers depend on: asking for the map of an image computes that image alone."""
        return {"sample_size": self.sample_size}

    def images(self, available: int) -> int:
        """As many as asked, or as there are.

        Args:
            available: images in the sample.

        Raises:
            DataError: when there are none.
        """
        return first_images(self.name, self.sample_size, available)

    def parts(self, subject: Subject) -> Sequence[str]:
        """Spans of 256 images, and the one image whose maps are wanted.

        Args:
            subject: with its trace.

        Raises:
            NotApplicableError: when none of its points has attention that can be read.
            ConfigError: for an image that the sample does not have, or a point that the model does not have.
        """
        found = attentions_of(subject)
        count = self.images(len(subject.samples[self.sample]))
        if self.image is None:
            return spans_of(count)
        if self.image >= count:
            raise ConfigError(f"attention.image: must be 0 to {count - 1} for the sample's images; got {self.image}")
        names = [one.point.name for one in found if not one.note]
        if self.map_point and self.map_point not in names:
            raise ConfigError(
                f"attention.map_point: {subject.label} has no msa point {self.map_point!r} that can be read."
                f"{nearest(self.map_point, names)}"
            )
        return (*spans_of(count), f"image-{self.image:04d}")

    def cost(self, subject: Subject) -> Cost:
        """A forward pass per image, which writes attention out, and the largest attention of a batch.

        Args:
            subject: with its trace.
        """
        sizes = [
            one.heads * one.queries.positions.shape[0] * one.queries.count * one.keys.count
            for one in attentions_of(subject)
            if one.queries is not None and one.keys is not None
        ]
        return Cost(
            passes=float(min(SPAN, self.images(len(subject.samples[self.sample])))) * _PASSES,
            memory=_COPIES * _outcomes.BATCH * max(sizes) * max(weight_type(subject.model).itemsize, 4),
            advice=f"take fewer images (--attention.sample_size, now {self.sample_size}) or smaller ones",
        )

    def measure(self, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[AttentionRow]]]:
        """The rows of each part, the points in model order, after each point's heads their mean.

        Args:
            subject: with its sample and its trace.
            parts: names from `parts`.

        Raises:
            DataError: for an image that can't be read, or whose attention is not finite.
        """
        found = attentions_of(subject)
        for part in parts:
            yield part, list(Reading(subject, self.sample, found, part).rows())

    def summary(self, table: pa.Table) -> pa.Table:
        """Per model, point and head the means over all images with their standard errors; see `HeadSummaryRow`.

        Args:
            table: rows of one or more models, with the leading columns.
        """
        return _heads.summary(table)

    def figure(self, table: pa.Table) -> Figure:
        """Distance per head, entropy and diversity against depth, and the maps of the one image where it was asked.

        Args:
            table: rows of one or more models, with the column `model`.
        """
        return _heads.figure(table, map_point=self.map_point)


def attentions_of(subject: Subject) -> tuple[Attention, ...]:
    """The attentions of a subject's msa points, with notes on those that can't be read.

    Args:
        subject: with its trace and the size of its images.

    Raises:
        NotApplicableError: when there is none, or none can be read.
    """
    if subject.input is None or subject.trace is None:
        raise ConfigError(f"attention: needs the size of the images and the trace of {subject.label}")
    if not any(one.stream.kind is Kind.MSA for one in subject.trace.residuals):
        raise NotApplicableError(f"{subject.label}: has no self-attention (no residual branch of kind msa)")
    example = torch.zeros(1, len(subject.input.mean), *subject.input.size)
    found = find_attention(subject.model, subject.trace, example)
    if not any(one.is_readable for one in found):
        raise NotApplicableError(f"{subject.label}: none of its attention can be read; {found[0].note}")
    return found
