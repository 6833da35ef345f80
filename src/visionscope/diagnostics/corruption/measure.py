"""The passes of corrupted images, made on the fly or read from a published set."""

import base64
import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from visionscope.core.diagnostic import Cost
from visionscope.core.sample import SPAN, Batch, InputConfig, SampleLike
from visionscope.core.spans import span_of, spans_of
from visionscope.core.subject import Subject
from visionscope.data import embedded
from visionscope.data.corruption_types import MOVING
from visionscope.data.corruptions import (
    LEAST_SIZE,
    CorruptionWorkers,
    Pixels,
    libraries,
    maker,
    to_images,
    to_pixels,
)
from visionscope.data.jpeg import encoder, recompressed
from visionscope.data.published_corruptions import open_published
from visionscope.data.sample import Sample
from visionscope.diagnostics.corruption.question import Corruption, CorruptionRow
from visionscope.diagnostics.outcomes.passes import BATCH, check_labels, classes_of
from visionscope.diagnostics.outcomes.perturbing import outcomes_of
from visionscope.errors import ConfigError, NotApplicableError

CLEAN = ("", 0)
_SHOWN = 96  # pixels a side of a picture on the contact sheet
_COPIES = 12  # of a batch of images: what waits to be corrupted and looked at

Condition = tuple[str, int]


def identity(asked: Corruption) -> dict[str, Any]:
    """The fields that numbers depend on, with a published set's content, or the library, instead of the path.

    `reference`, which the summary alone reads, is none of them, and of severities and qualities one alone is.
    """
    fields = dataclasses.asdict(asked)
    del fields["reference"]
    del fields["severities" if asked.by_quality else "qualities"]
    if asked.by_quality:
        return {**fields, "maker": encoder()}
    if asked.folder:
        fields["folder"] = open_published(asked.folder, asked.types, asked.severities, None).fingerprint()
    else:
        fields["maker"] = maker()
        fields["libraries"] = libraries()
    return fields


def parts(asked: Corruption, subject: Subject) -> Sequence[str]:
    """Spans of 256 images, or of a published set the clean images and each type and severity."""
    input, asked = _input(subject), _asked_of(asked, subject)
    check_labels(subject, asked.sample)
    if asked.folder:
        found = open_published(asked.folder, asked.types, asked.severities, classes_of(subject, asked.sample))
        if asked.reference == "alexnet" and not found.is_tree:
            raise ConfigError("corruption.reference: alexnet's errors are on ImageNet-C, not on arrays; take none")
        return ["clean", *(f"{kind}-{severity}" for kind, severity in _conditions(asked))]
    if asked.by_quality:
        return spans_of(len(subject.samples[asked.sample]))
    maker()
    if min(input.size) < LEAST_SIZE:
        raise NotApplicableError(
            f"{subject.label}: corruptions are made of images of at least {LEAST_SIZE} pixels a side; "
            f"this network sees {input.size[0]} x {input.size[1]}"
        )
    return spans_of(len(subject.samples[asked.sample]))


def cost(asked: Corruption, subject: Subject) -> Cost:
    """A forward pass per image and condition; what waits between the workers and the network."""
    asked = _asked_of(asked, subject)
    sample = subject.samples[asked.sample]
    shown = next(iter(sample.batches(0, 1, 1))).images
    conditions = len(_conditions(asked))
    return Cost(
        passes=asked.images(len(sample)) if asked.folder else min(SPAN, len(sample)) * (1 + conditions),
        memory=_COPIES * BATCH * shown.numel() * shown.element_size(),
        advice=f"take fewer images (--corruption.sample_size, now {asked.sample_size}), types or severities",
    )


def measure(asked: Corruption, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[CorruptionRow]]]:
    """The rows of each part."""
    asked = _asked_of(asked, subject)
    if asked.folder:
        published = _Published(asked, subject)
        for part in parts:
            yield part, [published.row(part)]
        return
    with CorruptionWorkers(asked.seed) as workers:
        for part in parts:
            yield part, _span(asked, subject, part, workers)


def _asked_of(asked: Corruption, subject: Subject) -> Corruption:
    """What can be asked: of masks no corruption that moves what an image shows, as they would not move with it."""
    if not subject.readout.dense:
        return asked
    if asked.folder:
        raise NotApplicableError(
            f"{subject.label}: answers per pixel, and published corruptions have no masks; leave corruption.folder out"
        )
    types = tuple(kind for kind in asked.types if kind not in MOVING)
    if not types:
        raise NotApplicableError(
            f"{subject.label}: {', '.join(asked.types)} moves what an image shows away from its mask; take another type"
        )
    return dataclasses.replace(asked, types=types)


def _conditions(asked: Corruption) -> list[Condition]:
    return [(kind, severity) for kind in asked.types for severity in asked.levels]


def _span(asked: Corruption, subject: Subject, part: str, workers: CorruptionWorkers) -> list[CorruptionRow]:
    input, conditions = _input(subject), _conditions(asked)
    origin = encoder() if asked.by_quality else maker()

    def changed(batch: Batch) -> Iterator[Tensor]:
        yield batch.images
        for damaged in _corrupted(asked, workers, to_pixels(batch.images, input), batch.positions.tolist()):
            yield to_images(damaged, input).to(batch.images)

    found = outcomes_of(subject, asked.sample, part, changed, channels_last=False)
    pictures = [""] * len(found)
    if span_of(part)[0] == 0:
        sheet = _sheet(asked, subject)
        seen = [sheet, *_corrupted(asked, workers, sheet, [0])]
        pictures = [_picture(to_pixels(to_images(pixels, input), input)) for pixels in seen]
    return [
        CorruptionRow(**outcome, corruption=kind, severity=severity, origin=origin, paired=True, picture=picture)
        for (kind, severity), outcome, picture in zip([CLEAN, *conditions], found, pictures, strict=True)
    ]


def _corrupted(
    asked: Corruption, workers: CorruptionWorkers, pixels: Pixels, positions: Sequence[int]
) -> Iterator[Pixels]:
    """The images under each condition."""
    if asked.by_quality:
        return (recompressed(pixels, quality) for quality in asked.levels)
    return workers.corrupted(pixels, positions, _conditions(asked))


def _sheet(asked: Corruption, subject: Subject) -> Pixels:
    """(1, row, column, channel): the image of the contact sheet, of the network's size."""
    input = _input(subject)
    if asked.with_images:
        return to_pixels(_first(subject.samples[asked.sample]), input)
    height, width = input.size
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return embedded.draw("test", [0], size=side)[:, top : top + height, left : left + width]


class _Published:
    """What the parts of one published set share: the set, and which clean images belong to it."""

    def __init__(self, asked: Corruption, subject: Subject) -> None:
        self._asked, self._subject = asked, subject
        self._set = open_published(asked.folder, asked.types, asked.severities, classes_of(subject, asked.sample))
        self._clean = self._paired_sample()

    def row(self, part: str) -> CorruptionRow:
        """Measures the clean images, or those of one type and severity."""
        kind, _, severity = part.partition("-")
        condition = CLEAN if part == "clean" else (kind, int(severity))
        if condition != CLEAN:
            sample: SampleLike = self._sample(*condition)
        else:
            sample = self._clean or self._subject.samples[self._asked.sample]
        subject = dataclasses.replace(self._subject, samples={"images": sample})
        [outcome] = outcomes_of(
            subject, "images", part, lambda batch: [batch.images], span=(0, len(sample)), channels_last=False
        )
        shown = self._asked.with_images
        return CorruptionRow(
            **outcome,
            corruption=condition[0],
            severity=condition[1],
            origin="published",
            paired=self._clean is not None,
            picture=_picture(to_pixels(_first(sample), _input(subject))) if shown else "",
        )

    def _sample(self, kind: str, severity: int) -> Sample:
        asked, input = self._asked, dataclasses.replace(_input(self._subject), crop=1.0)
        return Sample(self._set.source(kind, severity), input, asked.sample_size, asked.seed)

    def _paired_sample(self) -> Sample | None:
        """The clean images that the set was made from, where the study's data are seen to hold them."""
        source = getattr(self._subject.samples[self._asked.sample], "source", None)
        damaged = self._sample(self._asked.types[0], self._asked.severities[0])
        if source is None or len(source) != len(damaged.source):
            return None
        for index in map(int, damaged.indices):
            if source.label(index) != damaged.source.label(index):
                return None
            if self._set.is_tree and Path(source.name(index)).stem != Path(damaged.source.name(index)).stem:
                return None
        return Sample(source, _input(self._subject), self._asked.sample_size, self._asked.seed)


def _input(subject: Subject) -> InputConfig:
    if subject.input is None:
        raise NotApplicableError(f"{subject.label}: corruptions need the images' mean and standard deviation")
    if len(subject.input.mean) not in (1, 3):
        raise NotApplicableError(
            f"{subject.label}: corruptions are made of photographs, in colour or grey; this network's images have "
            f"{len(subject.input.mean)} channels"
        )
    return subject.input


def _first(sample: SampleLike) -> Tensor:
    """(1, channel, height, width)."""
    return next(iter(sample.batches(0, 1, 1))).images


def _picture(pixels: Pixels) -> str:
    image = Image.fromarray(np.ascontiguousarray(pixels[0]))
    image.thumbnail((_SHOWN, _SHOWN))
    stored = io.BytesIO()
    image.save(stored, "PNG", optimize=True)
    return base64.b64encode(stored.getvalue()).decode("ascii")
