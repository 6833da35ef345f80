"""The passes of images with noise of one ring of frequencies."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visionscope.core.diagnostic import Cost
from visionscope.core.inputs import image_like
from visionscope.core.sample import Batch
from visionscope.core.subject import Subject
from visionscope.diagnostics.frequency_noise.question import FrequencyNoise, FrequencyNoiseRow
from visionscope.diagnostics.outcomes.perturbing import Pixels, input_of, outcomes_of, usual_cost
from visionscope.errors import NotApplicableError
from visionscope.numerics.noise import Mask, in_ring, ring_edges, ring_mask, unit_noise

_DIGITS = 6  # of a product that must come out the same for two networks
_CLEAN: dict[str, Any] = {
    **dict.fromkeys(("frequency", "low", "high")),
    **dict.fromkeys(("noise", "energy", "space"), "none"),
    **dict.fromkeys(("eps", "eps_in_pixels", "share", "rms"), 0.0),
}


def check(asked: FrequencyNoise, subject: Subject) -> None:
    """Refuses images of unknown size, and so small ones that a ring is empty."""
    masks_of(asked, subject)


def cost(asked: FrequencyNoise, subject: Subject) -> Cost:
    """A forward pass per ring and one for the clean images."""
    return usual_cost(asked, subject, 1 + len(asked.frequencies), "fewer frequencies or bf16")


def measure(
    asked: FrequencyNoise, subject: Subject, parts: Sequence[str]
) -> Iterator[tuple[str, list[FrequencyNoiseRow]]]:
    """The rows of each part: the clean images first, then the rings."""
    masks = masks_of(asked, subject)
    for part in parts:
        noise = _Noise(asked, masks, subject)
        found = outcomes_of(subject, asked.sample, part, noise.added)
        yield part, [noise.row(place, outcome) for place, outcome in enumerate(found)]


def masks_of(asked: FrequencyNoise, subject: Subject) -> list[Mask]:
    """Which frequencies each ring holds.

    Args:
        asked: names the rings.
        subject: with the size of its images.

    Returns:
        Per ring (height, width) of bool.

    Raises:
        NotApplicableError: for a ring that holds none, and where the size is unknown.
    """
    size = input_of(subject).size
    masks = [ring_mask(size, *ring_edges(frequency, asked.width)) for frequency in asked.frequencies]
    for frequency, mask in zip(asked.frequencies, masks, strict=True):
        if not mask.any():
            low, high = map(float, ring_edges(frequency, asked.width))
            least = math.ceil(2000 / max(size)) / 1000
            raise NotApplicableError(
                f"{subject.label}: no frequency of its images of {size[0]} x {size[1]} pixels lies in {low:g} to "
                f"{high:g} π rad/pixel; take --frequency_noise.width {least:g}"
            )
    return masks


class _Noise:
    """The noise of one span: one white noise per image, cut into rings."""

    def __init__(self, asked: FrequencyNoise, masks: Sequence[Mask], subject: Subject) -> None:
        config = input_of(subject)
        like = image_like(subject.model, (len(config.mean), *config.size))
        self._asked, self._size = asked, masks[0].shape
        self._shares = [float(mask.mean()) for mask in masks]
        self._coverage = float(np.logical_or.reduce(masks).mean())
        self._squares = [0.0] * len(masks)
        self._numbers = 0
        half = self._size[1] // 2 + 1
        self._weights = [
            torch.from_numpy(mask[:, :half]).to(like) * self._factor(share)
            for mask, share in zip(masks, self._shares, strict=True)
        ]
        self._std = Pixels.of(subject).std if asked.space == "pixel" else None
        std = input_of(subject).std
        unit = 1.0 if asked.space == "pixel" else sum(std) / len(std)
        self._eps_in_pixels = round(asked.eps * unit, _DIGITS)

    def added(self, batch: Batch) -> Iterator[Tensor]:
        """The images as they are, then with the noise of each ring."""
        images, asked = batch.images, self._asked
        yield images
        white = unit_noise(asked.noise, asked.seed, batch.positions.tolist(), tuple(images.shape[1:])).to(images)
        spectrum = torch.fft.rfft2(white if self._std is None else white / self._std)
        self._numbers += images.numel()
        for place, weights in enumerate(self._weights):
            noise = in_ring(spectrum, weights, (self._size[0], self._size[1]))
            # image by image: one float32 sum over all would lose digits
            self._squares[place] += float(noise.square().sum((1, 2, 3)).double().sum())
            yield images + noise

    def row(self, place: int, outcome: dict[str, Any]) -> FrequencyNoiseRow:
        """The row of the clean images at 0, of the rings from 1 on."""
        asked = self._asked
        if not place:
            return FrequencyNoiseRow(**outcome, **_CLEAN, coverage=self._coverage)
        frequency = asked.frequencies[place - 1]
        low, high = map(float, ring_edges(frequency, asked.width))
        return FrequencyNoiseRow(
            **outcome,
            frequency=frequency,
            low=max(0.0, low),
            high=min(1.0, high),
            noise=asked.noise,
            eps=asked.eps,
            eps_in_pixels=self._eps_in_pixels,
            energy=asked.energy,
            space=asked.space,
            share=self._shares[place - 1],
            coverage=self._coverage,
            rms=math.sqrt(self._squares[place - 1] / self._numbers),
        )

    def _factor(self, share: float) -> float:
        """White noise of variance 1 has the variance `share` in the ring."""
        asked = self._asked
        return asked.eps * (math.sqrt(asked.width / share) if asked.energy == "equal_energy" else 1.0)
