"""Accuracy under noise of one band of spatial frequencies (Park & Kim 2022, Fig. 2b)."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from visionscope.core.diagnostic import Cost
from visionscope.core.figure import Figure, Panel
from visionscope.core.grouping import images_text, rows_by_model
from visionscope.core.inputs import image_like
from visionscope.core.rules import MOST_IMAGES, check_rules, rule, seed_rule
from visionscope.core.sample import Batch
from visionscope.core.spans import spans_of
from visionscope.core.subject import Subject
from visionscope.core.table import column
from visionscope.diagnostics import _perturbed
from visionscope.diagnostics._outcomes import ChangeRow, OutcomeRow, check_labels, first_images
from visionscope.errors import NotApplicableError
from visionscope.numerics.noise import Mask, in_ring, ring_edges, ring_mask, unit_noise

_KEYS = ("frequency", "low", "high", "noise", "eps", "eps_in_pixels", "energy", "space", "share", "coverage")
_DIGITS = 6  # of a product that must come out the same for two networks
_CLEAN: dict[str, Any] = {
    **dict.fromkeys(("frequency", "low", "high")),
    **dict.fromkeys(("noise", "energy", "space"), "none"),
    **dict.fromkeys(("eps", "eps_in_pixels", "share", "rms"), 0.0),
}


@dataclasses.dataclass(frozen=True)
class FrequencyNoiseRow(OutcomeRow):
    """What became of a span of images under noise of one ring, or as they are."""

    frequency: float | None = column("centre of the ring; none for the clean images", "pi rad/pixel")
    low: float | None = column("lower end of the ring, inside it", "pi rad/pixel")
    high: float | None = column("upper end, outside unless it is 1 or more", "pi rad/pixel")
    noise: str = column("sign: +eps or -eps per number; gaussian; none for the clean images")
    eps: float = column("standard deviation of the noise before the ring is cut out, in units of `space`")
    eps_in_pixels: float = column(
        "eps in pixels of [0, 1], mean over channels; of networks that normalise alike the same"
    )
    energy: str = column("equal_eps: as the ring leaves it; equal_energy: scaled to rms eps sqrt(width) in each ring")
    space: str = column("normalised: added to the model's images; pixel: in pixels of [0, 1], not clipped either")
    share: float = column("share of the plane's frequencies that the ring holds")
    coverage: float = column("share of the plane's frequencies that all rings hold together; the others had no noise")
    rms: float = column("root mean square of the noise that was added, in the model's normalised units")


@dataclasses.dataclass(frozen=True)
class FrequencyNoiseSummaryRow(ChangeRow):
    """Accuracy under noise of one ring."""

    frequency: float = column("centre of the ring", "pi rad/pixel")
    low: float = column("lower end of the ring, inside it", "pi rad/pixel")
    high: float = column("upper end, outside unless it is 1 or more", "pi rad/pixel")
    noise: str = column("sign or gaussian")
    eps: float = column("standard deviation of the noise before the ring is cut out, in units of `space`")
    eps_in_pixels: float = column(
        "eps in pixels of [0, 1], mean over channels; of networks that normalise alike the same"
    )
    energy: str = column("equal_eps or equal_energy")
    space: str = column("normalised or pixel")
    share: float = column("share of the plane's frequencies that the ring holds")
    coverage: float = column("share of the plane's frequencies that all rings hold together; the others had no noise")
    rms: float = column("root mean square of the noise that was added, in the model's normalised units")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrequencyNoise:
    """Robustness against noise of one frequency band: accuracy on `x + F^-1(F(noise) * ring)`, ring by ring.

    A ring holds the frequencies whose larger component over both axes lies in [f - width / 2, f + width / 2); it is
    exact at any size. The rings 0.05, 0.15 ... 0.95 of width 0.1 hold each frequency once, the last the Nyquist
    frequency too. The paper's nine centres, 0.1 to 0.9, leave out the constant with all below 0.05 and all from 0.95
    on; the column `coverage` says how much is covered. An image has one noise, whatever the ring, so that rings differ
    by the mask alone. A larger ring holds more energy: with equal_eps, as in the paper, high frequencies get more
    noise; with equal_energy each ring's noise has the root mean square eps sqrt(width), which is what equal_eps gives
    a ring around 0.5. Nothing is clipped, as in the authors' example.

    The authors' code has square images of three channels and even size in mind, a ring that is not Hermitian, so that
    3.5 % of the energy is lost with the imaginary part, and a default width of 0.127.

    Attributes:
        frequencies: centres of the rings, in pi rad/pixel.
        width: of each ring, in pi rad/pixel.
        noise: sign, +eps or -eps as in the authors' example, or gaussian.
        eps: standard deviation of the noise before the ring is cut out.
        energy: equal_eps (the paper) or equal_energy.
        space: normalised, added to what the model is given (the authors' example), or pixel, in pixels of [0, 1], for
            networks that normalise differently.
        seed: of the noise.
        sample_size: how many images.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "frequency_noise"
    version: ClassVar[int] = 2
    row: ClassVar[type] = FrequencyNoiseRow
    sample: ClassVar[str] = "eval"
    ensembles: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16")

    frequencies: tuple[float, ...] = rule(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), least=0, most=1, count=(1, 1000), distinct=True
    )
    width: float = rule(0.1, above=0, most=2)
    noise: Literal["sign", "gaussian"] = "sign"
    eps: float = rule(0.7, above=0, most=1_000_000)
    energy: Literal["equal_eps", "equal_energy"] = "equal_eps"
    space: Literal["normalised", "pixel"] = "normalised"
    seed: int = seed_rule()
    sample_size: int = rule(1024, least=1, most=MOST_IMAGES)

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def images(self, available: int) -> int:
        """As many as asked, or as there are.

        Args:
            available: images in the sample.

        Raises:
            DataError: when there are none.
        """
        return first_images(self.name, self.sample_size, available)

    def parts(self, subject: Subject) -> Sequence[str]:
        """Spans of 256 images.

        Args:
            subject: with its sample `eval`.

        Raises:
            NotApplicableError: without labels, without the images' size, and for images so small that a ring is empty.
        """
        check_labels(subject, self.sample)
        self._masks(subject)
        return spans_of(len(subject.samples[self.sample]))

    def cost(self, subject: Subject) -> Cost:
        """A forward pass per ring and one for the clean images.

        Args:
            subject: with its sample.
        """
        advice = f"take fewer images (--frequency_noise.sample_size, now {self.sample_size}), fewer frequencies or bf16"
        return _perturbed.usual_cost(subject, self.sample, 1 + len(self.frequencies), advice)

    def measure(self, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[FrequencyNoiseRow]]]:
        """The rows of each part: the clean images first, then the rings.

        Args:
            subject: with its sample `eval`.
            parts: names from `parts`.

        Raises:
            DataError: for an image or a label that can't be used, and a logit that is not finite.
        """
        masks = self._masks(subject)
        for part in parts:
            noise = _Noise(self, masks, subject)
            found = _perturbed.outcomes(subject, self.sample, part, noise.added)
            yield part, [noise.row(place, outcome) for place, outcome in enumerate(found)]

    def summary(self, table: pa.Table) -> pa.Table:
        """Accuracy and what it lost, per model and ring; see `FrequencyNoiseSummaryRow`.

        Args:
            table: rows of one or more models, with the leading columns.
        """
        return _perturbed.summary(
            table, FrequencyNoiseSummaryRow, _KEYS, lambda row: row["frequency"] is None, _pooled_rms
        )

    def figure(self, table: pa.Table) -> Figure:
        """What each ring costs in accuracy, a curve per model.

        Args:
            table: rows of one or more models, with the column `model`.
        """
        summary = self.summary(table)
        rows, models = summary.to_pylist(), rows_by_model(summary)
        panel = Panel(
            model="",
            title="",
            x_label="frequency of the noise (pi rad/pixel)",
            y_label="change in accuracy (percentage points)",
            lines=tuple(_perturbed.change_line(model, own, "frequency") for model, own in models.items()),
        )
        return Figure(
            name="frequency_noise",
            title="Accuracy under noise of one frequency band",
            caption=_caption(rows, images_text(summary)),
            panels=(panel,),
        )

    def _masks(self, subject: Subject) -> list[Mask]:
        """The rings' masks; none may be empty."""
        size = _perturbed.input_of(subject).size
        masks = [ring_mask(size, *ring_edges(frequency, self.width)) for frequency in self.frequencies]
        for frequency, mask in zip(self.frequencies, masks, strict=True):
            if not mask.any():
                low, high = map(float, ring_edges(frequency, self.width))
                least = math.ceil(2000 / max(size)) / 1000
                raise NotApplicableError(
                    f"{subject.label}: no frequency of its images of {size[0]} x {size[1]} pixels lies in {low:g} to "
                    f"{high:g} pi rad/pixel; take --frequency_noise.width {least:g}"
                )
        return masks


class _Noise:
    """The noise of one span: one white noise per image, cut into rings."""

    def __init__(self, asked: FrequencyNoise, masks: Sequence[Mask], subject: Subject) -> None:
        config = _perturbed.input_of(subject)
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
        self._std = _perturbed.Pixels.of(subject).std if asked.space == "pixel" else None
        std = _perturbed.input_of(subject).std
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


def _pooled_rms(rows: Sequence[Any]) -> dict[str, float]:
    squares = sum(row["rms"] ** 2 * row["images"] for row in rows)
    return {"rms": math.sqrt(squares / sum(row["images"] for row in rows))}


def _caption(rows: Sequence[dict[str, Any]], images: str) -> str:
    first = rows[0]
    ends = min(row["coverage"] for row in rows)
    kind = "+eps or -eps per number" if first["noise"] == "sign" else "Gaussian"
    added = "normalised images" if first["space"] == "normalised" else "pixels of [0, 1]"
    energy = (
        f"a ring of more frequencies holds more of it (rms {min(row['rms'] for row in rows):.2f} to "
        f"{max(row['rms'] for row in rows):.2f} in normalised units; on small images it jumps from ring to ring)"
        if first["energy"] == "equal_eps"
        else f"scaled to one rms in all rings ({first['rms']:.2f} in normalised units)"
    )
    left = f" The rings hold {100 * ends:.0f} % of all frequencies; the others had no noise." if ends < 1 else ""
    return (
        f"Change in accuracy over {images} when noise of one ring of frequencies is added to the {added}, unclipped: "
        f"white noise ({kind}, eps {first['eps']:g}) cut to the ring; {energy}. Bars: 95 % intervals, paired over "
        f"images; grey: p (McNemar, Holm over the rings) of 0.05 or more.{left}"
    )
