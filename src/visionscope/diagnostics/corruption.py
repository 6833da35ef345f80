"""Accuracy on images with noise, blur, weather and the traces of compression (Park & Kim 2022, "robustness")."""

import base64
import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from visionscope.core.diagnostic import Cost
from visionscope.core.figure import Figure
from visionscope.core.inputs import image_like
from visionscope.core.modes import evaluation_mode
from visionscope.core.rules import MOST_IMAGES, check_rules, rule, seed_rule
from visionscope.core.sample import SPAN, Batch, InputConfig, SampleLike
from visionscope.core.spans import span_of, spans_of
from visionscope.core.subject import Subject
from visionscope.core.table import column
from visionscope.data import embedded
from visionscope.data.corruptions import (
    LEAST_SIZE,
    SEVERITIES,
    TYPES,
    CorruptionWorkers,
    Pixels,
    libraries,
    maker,
    to_images,
    to_pixels,
)
from visionscope.data.published_corruptions import open_published
from visionscope.data.sample import Sample
from visionscope.diagnostics import _outcomes, _robustness
from visionscope.diagnostics._outcomes import OutcomeRow, first_images
from visionscope.errors import ConfigError, NotApplicableError

CLEAN = ("", 0)
_SHOWN = 96  # pixels a side of a picture on the contact sheet
_COPIES = 12  # of a batch of images: what waits to be corrupted and looked at

Condition = tuple[str, int]


@dataclasses.dataclass(frozen=True)
class CorruptionRow(OutcomeRow):
    """Which images a network gets right under one corruption."""

    corruption: str = column("type of the corruption; empty for the clean images")
    severity: int = column("1 to 5; 0 for the clean images")
    origin: str = column(
        "published (its images are those of the literature), or the library that made them and its version: its "
        "parameters differ from the published ones, so that its numbers are not comparable with the literature"
    )
    paired: bool = column("whether the clean rows are about the same images")
    picture: str = column("PNG (base64) of one small image under this corruption, else empty")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corruption:
    """Robustness: the mean accuracy over 15 types of corruption in 5 severities (Hendrycks & Dietterich 2019).

    As in Park & Kim (2022) it is the mean of 75 accuracies, no mCE and not normalised by AlexNet. Images are read from
    a published set, or made on the fly by torch-uncertainty from the pixels that the network would see, after resizing
    and cropping, rounded to 8 bits. What it draws depends on the seed, the image's position, type and severity. Some of
    its parameters differ from the published ones (a plain motion blur, stronger glass blur, other brightness), and they
    are ImageNet-C's at every size: small images suffer far more than in CIFAR-10-C (a blur over 10 pixels to each side
    is most of 32). A network for grey images sees colours corrupted, then made grey, as it would see a published set.
    So only published sets are comparable with the literature; the column `origin` says which it was.

    Published images come at the size after cropping, so that they are resized to the network's size, where that is
    another, and not cropped again. The same images are taken of each type and severity. They are compared with the
    clean images of the study's data one by one where these have the same number of images with the same labels (and
    names, where both have files); elsewhere changes are not told.

    Attributes:
        folder: a published set: TYPE.npy and labels.npy (CIFAR-10-C, CIFAR-100-C) or `TYPE/SEVERITY/CLASS/*.JPEG`
            (ImageNet-C); empty makes the images on the fly.
        types: which of the 15, as the published sets name them.
        severities: which of 1 to 5.
        sample_size: how many images.
        seed: of what is drawn, and of which images of a published set are taken.
        reference: alexnet adds the mean corruption error, which means something for ImageNet-C alone: the mean over
            types of the errors' sum over severities, divided by AlexNet's.
        with_images: show the first image of your data on the contact sheet instead of a drawn one; of a published set
            there is no other.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "corruption"
    version: ClassVar[int] = 1
    row: ClassVar[type] = CorruptionRow
    sample: ClassVar[str] = "eval"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16", "float16", "bfloat16")
    ensembles: ClassVar[bool] = True

    folder: str = ""
    types: tuple[str, ...] = rule(tuple(TYPES), choices=tuple(TYPES), count=(1, len(TYPES)), distinct=True)
    severities: tuple[int, ...] = rule(SEVERITIES, choices=SEVERITIES, count=(1, len(SEVERITIES)), distinct=True)
    sample_size: int = rule(1024, least=1, most=MOST_IMAGES)
    seed: int = seed_rule()
    reference: Literal["none", "alexnet"] = "none"
    with_images: bool = False

    def __post_init__(self) -> None:
        check_rules(self, self.name)
        if self.reference == "alexnet" and not self.folder:
            raise ConfigError(
                "corruption.reference: alexnet's errors are on ImageNet-C; name its folder (corruption.folder) or "
                "take none"
            )

    def identity(self) -> dict[str, Any]:
        """The fields that numbers depend on, with a published set's content, or the library, instead of the path.

        `reference`, which the summary alone reads, is none of them.

        Raises:
            DataError: when something is missing in the published set.
        """
        fields = dataclasses.asdict(self)
        del fields["reference"]
        if self.folder:
            fields["folder"] = open_published(self.folder, self.types, self.severities, None).fingerprint()
        else:
            fields["maker"] = maker()
            fields["libraries"] = libraries()
        return fields

    def images(self, available: int) -> int:
        """As many as asked, or as there are.

        Args:
            available: images in the sample.

        Raises:
            DataError: when there are none.
        """
        return first_images(self.name, self.sample_size, available)

    def parts(self, subject: Subject) -> Sequence[str]:
        """Spans of 256 images, or of a published set the clean images and each type and severity.

        Args:
            subject: with its sample `eval`.

        Raises:
            NotApplicableError: without labels, for images that are neither in colour nor grey or have fewer than 16
                pixels a side, and where images can't be made because the extra is not installed.
            DataError: for a published set that lacks something or does not fit the model.
            ConfigError: for AlexNet's errors where the set is not ImageNet-C.
        """
        input = _input(subject)
        _outcomes.check_labels(subject, self.sample)
        if self.folder:
            found = open_published(self.folder, self.types, self.severities, _classes(subject))
            if self.reference == "alexnet" and not found.is_tree:
                raise ConfigError(
                    "corruption.reference: alexnet's errors are on ImageNet-C, which is no arrays; take none"
                )
            return ["clean", *(f"{kind}-{severity}" for kind, severity in self._conditions())]
        maker()
        if min(input.size) < LEAST_SIZE:
            raise NotApplicableError(
                f"{subject.label}: corruptions are made of images of at least {LEAST_SIZE} pixels a side; "
                f"this network sees {input.size[0]} x {input.size[1]}"
            )
        return spans_of(len(subject.samples[self.sample]))

    def cost(self, subject: Subject) -> Cost:
        """A forward pass per image and condition; what waits between the workers and the network.

        Args:
            subject: with its sample.
        """
        sample = subject.samples[self.sample]
        shown = next(iter(sample.batches(0, 1, 1))).images
        conditions = len(self._conditions())
        return Cost(
            passes=self.images(len(sample)) if self.folder else min(SPAN, len(sample)) * (1 + conditions),
            memory=_COPIES * _outcomes.BATCH * shown.numel() * shown.element_size(),
            advice=f"take fewer images (--corruption.sample_size, now {self.sample_size}), types or severities",
        )

    def measure(self, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[CorruptionRow]]]:
        """The rows of each part.

        Args:
            subject: with its sample `eval`.
            parts: names from `parts`.

        Raises:
            DataError: for an image or a label that can't be used.
            ConfigError: when the worker processes die.
        """
        if self.folder:
            published = _Published(self, subject)
            for part in parts:
                yield part, [published.row(part)]
            return
        with CorruptionWorkers(self.seed) as workers:
            for part in parts:
                yield part, self._span(subject, part, workers)

    def summary(self, table: pa.Table) -> pa.Table:
        """Accuracies with intervals per cell, per type and over all; see `_robustness.RobustnessRow`.

        Args:
            table: rows of one or more models, with the leading columns.
        """
        return _robustness.summary(table, reference=self.reference)

    def figure(self, table: pa.Table) -> Figure:
        """Accuracy per type and severity, against severity, and what the corruptions look like.

        Args:
            table: rows of one or more models, with the column `model`.
        """
        return _robustness.figure(table)

    def _conditions(self) -> list[Condition]:
        return [(kind, severity) for kind in self.types for severity in self.severities]

    def _span(self, subject: Subject, part: str, workers: CorruptionWorkers) -> list[CorruptionRow]:
        input, conditions = _input(subject), self._conditions()
        start, stop = span_of(part)
        tallies = {condition: _Tally() for condition in [CLEAN, *conditions]}
        for batch in _outcomes.batches(subject, self.sample, start, stop):
            tallies[CLEAN].look(subject, batch)
            pixels = to_pixels(batch.images, input)
            made = workers.corrupted(pixels, batch.positions.tolist(), conditions)
            for condition, damaged in zip(conditions, made, strict=True):
                images = to_images(damaged, input).to(batch.images)
                tallies[condition].look(subject, dataclasses.replace(batch, images=images))
        pictures = dict.fromkeys(tallies, "")
        if start == 0:
            sheet = self._sheet(subject)
            seen = [sheet, *workers.corrupted(sheet, [0], conditions)]
            shown = [to_pixels(to_images(pixels, input), input) for pixels in seen]
            pictures = {condition: _picture(pixels[0]) for condition, pixels in zip(tallies, shown, strict=True)}
        sample = _outcomes.sample_text(subject.samples[self.sample])
        return [
            tally.row(
                part=part, sample=sample, start=start, condition=condition, origin=maker(), paired=True,
                picture=pictures[condition],
            )
            for condition, tally in tallies.items()
        ]  # fmt: skip

    def _sheet(self, subject: Subject) -> Pixels:
        """(1, row, column, channel): the image of the contact sheet, of the network's size."""
        input = _input(subject)
        if self.with_images:
            return to_pixels(next(iter(subject.samples[self.sample].batches(0, 1, 1))).images, input)
        height, width = input.size
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        return embedded.draw("test", [0], size=side)[:, top : top + height, left : left + width]


class _Tally:
    """Which images of a part are right under one condition, and their cross-entropy."""

    def __init__(self) -> None:
        self._right: list[torch.Tensor] = []
        self._nll: list[torch.Tensor] = []

    def look(self, subject: Subject, batch: Batch) -> None:
        """Passes a batch on."""
        assert batch.labels is not None
        with _outcomes.passes(subject):
            logits = _outcomes.predict(subject, batch.images)
        right, nll = _outcomes.score(logits, batch.labels, subject=subject, positions=batch.positions)
        self._right.append(right)
        self._nll.append(nll)

    def row(
        self, *, part: str, sample: str, start: int, condition: Condition, origin: str, paired: bool, picture: str
    ) -> CorruptionRow:
        """What became of them all."""
        right = torch.cat(self._right)
        return CorruptionRow(
            part=part,
            sample=sample,
            start=start,
            images=len(right),
            right=_outcomes.bits(right),
            nll=float(torch.cat(self._nll).mean()),
            corruption=condition[0],
            severity=condition[1],
            origin=origin,
            paired=paired,
            picture=picture,
        )


class _Published:
    """What the parts of one published set share: the set, and which clean images belong to it."""

    def __init__(self, asked: Corruption, subject: Subject) -> None:
        self._asked, self._subject = asked, subject
        self._set = open_published(asked.folder, asked.types, asked.severities, _classes(subject))
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
        tally, picture = _Tally(), ""
        for batch in _outcomes.batches(subject, "images", 0, len(sample)):
            if self._asked.with_images and not int(batch.positions[0]):
                picture = _picture(to_pixels(batch.images[:1], _input(subject))[0])
            tally.look(subject, batch)
        return tally.row(
            part=part, sample=_outcomes.sample_text(sample), start=0, condition=condition, origin="published",
            paired=self._clean is not None, picture=picture,
        )  # fmt: skip

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


def _classes(subject: Subject) -> int:
    """Classes of the model's head, by a pass of one image that leaves the model as it was."""
    shown = next(iter(subject.samples["eval"].batches(0, 1, 1))).images
    with evaluation_mode(subject.model), _outcomes.passes(subject):
        like = image_like(subject.model, shown.shape[1:])
        return int(_outcomes.predict(subject, shown.to(like)).shape[1])


def _picture(pixels: Pixels) -> str:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((_SHOWN, _SHOWN))
    stored = io.BytesIO()
    image.save(stored, "PNG", optimize=True)
    return base64.b64encode(stored.getvalue()).decode("ascii")
