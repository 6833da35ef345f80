"""Calibration over pixels: each image's pixels by confidence, kept as text beside its counts, and their sums."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visionscope.core.logits import of_pixels
from visionscope.core.sample import IGNORED
from visionscope.core.subject import Subject
from visionscope.diagnostics.outcomes.passes import batches, passes, predict, score_pixels
from visionscope.diagnostics.outcomes.rows import AFTER_PIXELS, pixel_text
from visionscope.numerics import calibration as measures
from visionscope.numerics.paired import Values
from visionscope.numerics.segmentation import Counts

FITTED_PIXELS = 64
"""Of each image that the temperature is fitted on, drawn from those that count."""
_NUMBERS = 3  # of a bin: pixels, sum of their confidences, right ones


class PixelSums:
    """What a span of images comes to at one temperature, image by image.

    Args:
        temperature: what the logits are divided by.
        bins: of confidence.
    """

    def __init__(self, temperature: float, bins: int) -> None:
        self._temperature, self._bins = temperature, bins
        self._counts: list[Counts] = []
        self._by_bin: list[Values] = []
        self._means: list[tuple[float, float, float]] = []
        self._by_class: list[Values] = []

    def add(self, counts: Counts, logits: Values, labels: measures.Classes) -> None:
        """Takes the pixels of an image that count.

        Args:
            counts: (1, 3, classes) from `score_pixels`.
            logits: (pixels, classes) in float64.
            labels: (pixels,).
        """
        log_p = measures.log_probabilities(logits, self._temperature)
        probabilities = np.exp(log_p)
        confidence, right = probabilities.max(1), logits.argmax(1) == labels
        own = measures.reliability(confidence, right, self._bins)
        nll, brier = measures.nll(log_p, labels), measures.brier(log_p, labels)
        self._counts.append(counts)
        self._by_bin.append(np.stack([own.images, own.confidence, own.right], 1).astype(np.float64))
        self._means.append((float(confidence.mean()), float(nll.mean()), float(brier.mean())))
        # Every image weighs as much, however many of its pixels count.
        self._by_class.append(measures.class_sums(probabilities, labels, self._bins) / len(labels))

    def columns(self) -> dict[str, Any]:
        """The columns of a `CalibrationRow` that hold what was measured."""
        by_bin = base64.b64encode(np.stack(self._by_bin).astype("<f8").tobytes()).decode("ascii")
        confidence, nll, brier = (tuple(some) for some in zip(*self._means, strict=True))
        probability, images = np.sum(self._by_class, axis=0)
        return {
            "right": f"{pixel_text(np.concatenate(self._counts))}{AFTER_PIXELS}{by_bin}",
            "images": len(self._means),
            "nll": float(np.mean(nll)),
            "top_5": "",
            "label": (),
            "predicted": (),
            "confidence": confidence,
            "cross_entropy": nll,
            "brier": brier,
            "class_probability": tuple(probability.ravel().tolist()),
            "class_images": tuple(images.ravel().tolist()),
        }


def measure_span(subject: Subject, name: str, start: int, stop: int, sums: Sequence[PixelSums]) -> None:
    """Passes a span of images and adds each to all sums.

    Args:
        subject: with its sample.
        name: of the sample.
        start: first position.
        stop: position after the last.
        sums: one for each temperature.
    """
    with passes(subject):
        for batch in batches(subject, name, start, stop):
            logits = predict(subject, batch.images)
            counts, _ = score_pixels(logits, batch, subject=subject)
            assert batch.labels is not None  # or `batches` would have raised
            for place, mask in enumerate(batch.labels):
                pixels = _counted(logits[place], mask)
                for one in sums:
                    one.add(counts[place : place + 1], *pixels)


def pixels_to_fit(subject: Subject, name: str, count: int) -> tuple[Values, measures.Classes]:
    """Logits (n, classes) and labels (n,) of `FITTED_PIXELS` pixels of each image, or all where there are fewer.

    Neighbouring pixels say nearly the same. They are drawn from the image's position, so that all models fit on the
    same ones.

    Args:
        subject: with its sample.
        name: of the sample.
        count: of its first images.
    """
    found: list[Values] = []
    labels: list[measures.Classes] = []
    with passes(subject):
        for batch in batches(subject, name, 0, count):
            logits = predict(subject, batch.images)
            score_pixels(logits, batch, subject=subject)  # refuses what is not finite, and masks that don't fit
            assert batch.labels is not None  # or `batches` would have raised
            for place, mask in enumerate(batch.labels):
                values, own = _counted(logits[place], mask)
                drawn = np.random.default_rng(int(batch.positions[place])).permutation(len(own))[:FITTED_PIXELS]
                found.append(values[drawn])
                labels.append(own[drawn])
    return np.concatenate(found), np.concatenate(labels)


def _counted(logits: Tensor, mask: Tensor) -> tuple[Values, measures.Classes]:
    """(pixels, classes) in float64 and (pixels,) of an image's pixels that count, resized as for the loss."""
    full = logits[None] if logits.dtype == torch.float64 else logits[None].float()
    resized = of_pixels(full, mask[None])[0]
    counts = mask != IGNORED
    return resized[:, counts].T.double().cpu().numpy(), mask[counts].cpu().numpy()


def bins_of(rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float64] | None:
    """(n, bins, 3) of each image the shares of its pixels in each bin, times confidence, and right.

    Args:
        rows: of `CalibrationRow`'s kind, in the order of positions.

    Returns:
        None where images have one class each.
    """
    found = []
    for row in rows:
        _, after, content = row["right"].partition(AFTER_PIXELS)
        if not after:
            return None
        found.append(np.frombuffer(base64.b64decode(content), dtype="<f8").reshape(row["images"], -1, _NUMBERS))
    counts: NDArray[np.float64] = np.concatenate(found).astype(np.float64)
    shares: NDArray[np.float64] = counts / counts[:, :, :1].sum(1, keepdims=True)
    return shares
