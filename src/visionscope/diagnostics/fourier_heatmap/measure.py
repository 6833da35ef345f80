"""The passes of images with one Fourier vector added."""

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from visionscope.core.diagnostic import Cost
from visionscope.core.sample import Batch
from visionscope.core.subject import Subject
from visionscope.diagnostics.fourier_heatmap.question import FourierHeatmap, FourierHeatmapRow
from visionscope.diagnostics.outcomes.perturbing import Pixels, input_of, outcomes_of, usual_cost
from visionscope.numerics.frequencies import canonical
from visionscope.numerics.noise import fourier_vector, unit_noise

_SMALL = 64  # pixels
_RMS_SMALL, _RMS_LARGE = 4 / 32, 15.7 / 224


def check(asked: FourierHeatmap, subject: Subject) -> None:
    """Refuses images of unknown size and normalisation."""
    input_of(subject)


def cost(asked: FourierHeatmap, subject: Subject) -> Cost:
    """A forward pass per vector and one for the clean images."""
    vectors = len(vectors_of(asked, input_of(subject).size))
    return usual_cost(asked, subject, 1 + vectors, f"a larger step (--fourier_heatmap.step, now {asked.step}) or bf16")


def measure(
    asked: FourierHeatmap, subject: Subject, parts: Sequence[str]
) -> Iterator[tuple[str, list[FourierHeatmapRow]]]:
    """The rows of each part: the clean images first, then the vectors."""
    size = input_of(subject).size
    frequencies, norm = vectors_of(asked, size), norm_of(asked, size)
    pixels = Pixels.of(subject)

    def changed(batch: Batch) -> Iterator[Tensor]:
        yield batch.images
        clean = pixels.of_images(batch.images)
        signs = unit_noise("sign", asked.seed, batch.positions.tolist(), (clean.shape[1], 1, 1)).to(clean)
        for frequency in frequencies:
            vector = fourier_vector(size, frequency).to(clean)
            yield pixels.normalised((clean + signs * (norm * vector)).clamp(0, 1))

    for part in parts:
        found = outcomes_of(subject, asked.sample, part, changed)
        conditions = [(None, None, 0.0), *((row, across, norm) for row, across in frequencies)]
        yield (
            part,
            [
                FourierHeatmapRow(
                    **outcome, row_frequency=row, column_frequency=across, height=size[0], width=size[1], norm=used
                )
                for (row, across, used), outcome in zip(conditions, found, strict=True)
            ],
        )


def vectors_of(asked: FourierHeatmap, size: tuple[int, int]) -> list[tuple[int, int]]:
    """The frequencies that name a vector each, zero first.

    Args:
        asked: how far they go, in which steps.
        size: height and width of the images.
    """

    def axis(length: int) -> list[int]:
        most = min(asked.half_size, length // 2) // asked.step
        return [asked.step * place for place in range(-most, most + 1)]

    named = {canonical(size, (row, column)) for row in axis(size[0]) for column in axis(size[1])}
    return sorted(named, key=lambda at: (max(map(abs, at)), at))


def norm_of(asked: FourierHeatmap, size: tuple[int, int]) -> float:
    """The norm of each vector: as asked, or the paper's per pixel.

    Args:
        asked: with a norm or None.
        size: height and width of the images.
    """
    if asked.norm is not None:
        return asked.norm
    return (_RMS_SMALL if max(size) <= _SMALL else _RMS_LARGE) * math.sqrt(size[0] * size[1])
