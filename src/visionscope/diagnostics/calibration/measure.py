"""The passes whose probabilities are looked at, and those that the temperature is fitted on."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from visionscope.core.diagnostic import Cost
from visionscope.core.sample import SPAN
from visionscope.core.spans import span_of, spans_of
from visionscope.core.subject import Subject
from visionscope.diagnostics.calibration.pixels import PixelSums, measure_span, pixels_to_fit
from visionscope.diagnostics.calibration.question import Calibration, CalibrationRow
from visionscope.diagnostics.outcomes.passes import BATCH, batches, check_labels, passes, predict, sample_text, score
from visionscope.diagnostics.outcomes.rows import bits
from visionscope.numerics import calibration as measures
from visionscope.numerics.paired import Values

_TOP = 5


def parts(asked: Calibration, subject: Subject) -> Sequence[str]:
    """Spans of 256 images; refused without labels that the model knows."""
    check_labels(subject, asked.sample)
    return spans_of(len(subject.samples[asked.sample]))


def cost(asked: Calibration, subject: Subject) -> Cost:
    """A forward pass per image, the temperature's images shared out over the parts."""
    images, beside = (len(subject.samples[name]) for name in (asked.sample, *asked.beside))
    size = next(subject.samples[asked.sample].batches(0, 1, 1)).images.numel() * BATCH
    return Cost(
        passes=min(SPAN, images) * (1 + beside / images),
        memory=4 * size,
        advice=f"take fewer images (--calibration.sample_size, now {asked.sample_size})",
    )


def measure(asked: Calibration, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[CalibrationRow]]]:
    """The rows of each part, as the probabilities come and at the temperature, which is fitted once."""
    beside = asked.beside[0]
    count = len(subject.samples[beside])
    if subject.readout.dense:
        yield from _of_pixels(asked, subject, parts, count)
        return
    logits, labels = _logits(subject, beside, 0, count)
    temperature = measures.fit_temperature(logits, labels)
    for part in parts:
        logits, labels = _logits(subject, asked.sample, *span_of(part))
        yield (
            part,
            [
                _row(asked, subject, part, logits, labels, scaling=scaling, temperature=value, fit_images=count)
                for scaling, value in (("none", 1.0), ("temperature", temperature))
            ],
        )


def _of_pixels(
    asked: Calibration, subject: Subject, parts: Sequence[str], count: int
) -> Iterator[tuple[str, list[CalibrationRow]]]:
    """The same of a network that answers per pixel."""
    temperature = measures.fit_temperature(*pixels_to_fit(subject, asked.beside[0], count))
    for part in parts:
        start, stop = span_of(part)
        scales = (("none", 1.0), ("temperature", temperature))
        sums = [PixelSums(value, asked.bins) for _, value in scales]
        measure_span(subject, asked.sample, start, stop, sums)
        yield (
            part,
            [
                CalibrationRow(
                    part=part,
                    sample=sample_text(subject.samples[asked.sample]),
                    start=start,
                    scaling=scaling,
                    temperature=value,
                    fit_images=count,
                    bins=asked.bins,
                    classes=subject.readout.classes,
                    **one.columns(),
                )
                for (scaling, value), one in zip(scales, sums, strict=True)
            ],
        )


def _row(
    asked: Calibration,
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
    by_class = measures.class_sums(probabilities, labels, asked.bins)
    return CalibrationRow(
        part=part,
        sample=sample_text(subject.samples[asked.sample]),
        start=span_of(part)[0],
        images=len(labels),
        right=bits(predicted == labels),
        nll=float(cross_entropy.mean()),
        scaling=scaling,
        temperature=temperature,
        fit_images=fit_images,
        bins=asked.bins,
        classes=logits.shape[1],
        top_5=bits(measures.among_top(logits, labels, _TOP)),
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
    with passes(subject):
        for batch in batches(subject, name, start, stop):
            assert batch.labels is not None  # or `batches` would have raised
            found.append(predict(subject, batch.images))
            labels.append(batch.labels)
            positions.append(batch.positions)
    logits, known = torch.cat(found), torch.cat(labels)
    score(logits, known, subject=subject, positions=torch.cat(positions))
    return logits.double().cpu().numpy(), known.cpu().numpy()


def _floats(values: Values | measures.Classes) -> tuple[float, ...]:
    return tuple(map(float, values))
