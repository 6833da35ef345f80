"""How far a network's confidence can be trusted, as its probabilities come and after one temperature (Fig. F.1)."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import torch

from visionscope.core.diagnostic import Cost
from visionscope.core.figure import Figure
from visionscope.core.rules import MOST_IMAGES, check_rules, rule
from visionscope.core.sample import SPAN
from visionscope.core.spans import span_of, spans_of
from visionscope.core.subject import Subject
from visionscope.core.table import column
from visionscope.diagnostics import _outcomes, _reliability
from visionscope.diagnostics._outcomes import OutcomeRow
from visionscope.errors import DataError
from visionscope.numerics import calibration as measures
from visionscope.numerics.paired import Values

_BESIDE = 5  # at most a fifth of the images serves the temperature
_TOP = 5


@dataclasses.dataclass(frozen=True)
class CalibrationRow(OutcomeRow):
    """What a network says of a span of images, at one temperature."""

    scaling: str = column("none: probabilities as they come; temperature: after the logits were divided by one")
    temperature: float = column("what the logits were divided by, 0.01 to 100")
    fit_images: int = column("images that the temperature was fitted on, none of them among these")
    bins: int = column("bins of confidence, of equal width, that include their upper end")
    classes: int = column("classes of the head")
    top_5: str = column("which labels are among the 5 largest logits, written as the column right")
    label: tuple[float, ...] = column("class index of each image, by position")
    predicted: tuple[float, ...] = column("class index of its largest logit")
    confidence: tuple[float, ...] = column("probability of that class")
    cross_entropy: tuple[float, ...] = column("-log of the label's probability", "nat")
    brier: tuple[float, ...] = column("sum over classes of (probability - 1 for the label, 0 for others) squared")
    class_probability: tuple[float, ...] = column(
        "by class and within it by bin: sum of the class's probability over the images whose probability is in the bin"
    )
    class_images: tuple[float, ...] = column("by class and within it by bin: how many of those are of the class")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """NLL, Brier score, accuracies and calibration errors on clean test images, and the reliability diagram.

    As they come and at the temperature (Guo et al. 2017) of smallest NLL over `fit_size` images of the same split that
    are not among those measured. Bins are (low, high] with 0 in the first, so that an image of confidence 1.0 counts
    with its confidence; the official code drops it. Every measure is one over all images, where the official code
    averages over batches. Logarithms are taken of log-softmax in float64.

    Attributes:
        sample_size: how many images are measured.
        fit_size: how many others the temperature is fitted on; at most a fifth of those that there are.
        bins: of confidence.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "calibration"
    version: ClassVar[int] = 1
    row: ClassVar[type] = CalibrationRow
    sample: ClassVar[str] = "eval"
    beside: ClassVar[tuple[str, ...]] = ("calibration",)
    ensembles: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16", "float16", "bfloat16")

    sample_size: int = rule(10_000, least=1, most=MOST_IMAGES)
    fit_size: int = rule(1_000, least=1, most=MOST_IMAGES)
    bins: int = rule(measures.BINS, least=1, most=10_000)

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def images(self, available: int) -> int:
        """As many as asked, or as the temperature leaves over.

        Args:
            available: images of the split.

        Raises:
            DataError: when there are fewer than 5.
        """
        return min(self.sample_size, available - self.images_beside(available))

    def images_beside(self, available: int) -> int:
        """How many images the temperature is fitted on: as many as asked, at most a fifth.

        Args:
            available: images of the split.

        Raises:
            DataError: when there are fewer than 5.
        """
        if available < _BESIDE:
            raise DataError(
                f"calibration: needs at least {_BESIDE} images, one of them for the temperature; "
                f"the data have {available}"
            )
        return min(self.fit_size, available // _BESIDE)

    def parts(self, subject: Subject) -> Sequence[str]:
        """Spans of 256 images.

        Args:
            subject: with its sample `eval`.

        Raises:
            NotApplicableError: without labels that the model knows.
        """
        _outcomes.check_labels(subject, self.sample)
        return spans_of(len(subject.samples[self.sample]))

    def cost(self, subject: Subject) -> Cost:
        """A forward pass per image, the temperature's images shared out over the parts.

        Args:
            subject: with its samples.
        """
        images, beside = (len(subject.samples[name]) for name in (self.sample, *self.beside))
        size = next(subject.samples[self.sample].batches(0, 1, 1)).images.numel() * _outcomes.BATCH
        return Cost(
            passes=min(SPAN, images) * (1 + beside / images),
            memory=4 * size,
            advice=f"take fewer images (--calibration.sample_size, now {self.sample_size})",
        )

    def measure(self, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[CalibrationRow]]]:
        """The rows of each part, as the probabilities come and at the temperature, which is fitted once.

        Args:
            subject: with its samples `eval` and `calibration`.
            parts: names from `parts`.

        Raises:
            DataError: for an image or a label that can't be used, and a logit that is not finite.
        """
        beside = self.beside[0]
        count = len(subject.samples[beside])
        logits, labels = _logits(subject, beside, 0, count)
        temperature = measures.fit_temperature(logits, labels)
        for part in parts:
            start, stop = span_of(part)
            logits, labels = _logits(subject, self.sample, start, stop)
            yield (
                part,
                [
                    self._row(subject, part, logits, labels, scaling=scaling, temperature=value, fit_images=count)
                    for scaling, value in (("none", 1.0), ("temperature", temperature))
                ],
            )

    def summary(self, table: pa.Table) -> pa.Table:
        """Every measure with its interval, a row per model and scaling; see `CalibrationSummaryRow`.

        Args:
            table: rows of one or more models, with the leading columns.
        """
        return _reliability.summary(table)

    def figure(self, table: pa.Table) -> Figure:
        """The reliability diagram and the share of images per bin, before and after the temperature.

        Args:
            table: rows of one or more models, with the column `model`.
        """
        return _reliability.figure(table)

    def _row(
        self,
        subject: Subject,
        part: str,
        logits: Values,
        labels: measures.Classes,
        *,
        scaling: str,
        temperature: float,
        fit_images: int,
    ) -> CalibrationRow:
        log_p = measures.log_probabilities(logits, temperature)
        probabilities, predicted = np.exp(log_p), logits.argmax(1)
        cross_entropy = measures.nll(log_p, labels)
        by_class = measures.class_sums(probabilities, labels, self.bins)
        return CalibrationRow(
            part=part,
            sample=_outcomes.sample_text(subject.samples[self.sample]),
            start=span_of(part)[0],
            images=len(labels),
            right=_outcomes.bits(predicted == labels),
            nll=float(cross_entropy.mean()),
            scaling=scaling,
            temperature=temperature,
            fit_images=fit_images,
            bins=self.bins,
            classes=logits.shape[1],
            top_5=_outcomes.bits(measures.among_top(logits, labels, _TOP)),
            label=_floats(labels),
            predicted=_floats(predicted),
            confidence=_floats(probabilities.max(1)),
            cross_entropy=_floats(cross_entropy),
            brier=_floats(measures.brier(log_p, labels)),
            class_probability=_floats(by_class[0].ravel()),
            class_images=_floats(by_class[1].ravel()),
        )


def _logits(subject: Subject, name: str, start: int, stop: int) -> tuple[Values, measures.Classes]:
    """Logits (n, classes) of some images of a sample, in float64, and their labels (n,); both have been checked."""
    found, labels, positions = [], [], []
    with _outcomes.passes(subject):
        for batch in _outcomes.batches(subject, name, start, stop):
            assert batch.labels is not None  # or `batches` would have raised
            found.append(_outcomes.predict(subject, batch.images))
            labels.append(batch.labels)
            positions.append(batch.positions)
    logits, known = torch.cat(found), torch.cat(labels)
    _outcomes.score(logits, known, subject=subject, positions=torch.cat(positions))
    return logits.double().cpu().numpy(), known.cpu().numpy()


def _floats(values: Values | measures.Classes) -> tuple[float, ...]:
    return tuple(map(float, values))
