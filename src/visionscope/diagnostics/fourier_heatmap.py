"""Error under each single vector of the Fourier basis (Yin et al., NeurIPS 2019, Fig. 3 and 4)."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
from torch import Tensor

from visionscope.core.diagnostic import Cost
from visionscope.core.figure import Figure, Heat, Panel
from visionscope.core.grouping import images_text, rows_by_model
from visionscope.core.rules import MOST_IMAGES, MOST_PIXELS, check_rules, rule, seed_rule
from visionscope.core.sample import Batch
from visionscope.core.spans import spans_of
from visionscope.core.subject import Subject
from visionscope.core.table import column
from visionscope.diagnostics import _perturbed
from visionscope.diagnostics._outcomes import ChangeRow, OutcomeRow, check_labels, first_images
from visionscope.numerics.noise import canonical, fourier_vector, unit_noise

_KEYS = ("row_frequency", "column_frequency", "height", "width", "norm")
_SMALL = 64  # pixels
_RMS_SMALL, _RMS_LARGE = 4 / 32, 15.7 / 224
_NORM = "its norm in each channel, in pixels of [0, 1], before clipping to them"


@dataclasses.dataclass(frozen=True)
class FourierHeatmapRow(OutcomeRow):
    """What became of a span of images with one Fourier vector added, or as they are."""

    row_frequency: int | None = column("vertical frequency i of the vector; none for the clean images", "per height")
    column_frequency: int | None = column("horizontal frequency j; (-i, -j) is the same vector", "per width")
    height: int = column("of the images", "pixel")
    width: int = column("of the images", "pixel")
    norm: float = column(_NORM)


@dataclasses.dataclass(frozen=True)
class FourierHeatmapSummaryRow(ChangeRow):
    """Accuracy with one Fourier vector added."""

    row_frequency: int = column("vertical frequency i of the vector", "per height")
    column_frequency: int = column("horizontal frequency j; (-i, -j) is the same vector", "per width")
    height: int = column("of the images", "pixel")
    width: int = column("of the images", "pixel")
    norm: float = column(_NORM)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FourierHeatmap:
    """Fourier heat map: error on `clip(pixel + sign * norm * U_ij, 0, 1)` for real Fourier vectors U_ij of norm 1.

    As in Yin et al. the sign is drawn for each image and channel, and the noise is added to pixels of [0, 1], before
    the model's normalisation: `norm` means the same for every model. An image keeps its signs from vector to vector,
    so that these differ by the frequency alone. The paper's norm is 4 for images of 32 pixels and 15.7 for 224: 0.125
    and 0.07 per pixel. The authors' code ignores the norm where signs are drawn; ours does not. Images of any height
    and width; a pair (i, j) and (-i, -j) is one vector and measured once.

    Attributes:
        half_size: the largest frequency to either side of zero; what the image can't hold is left out.
        step: between neighbouring frequencies; 1 for every one, which takes as many more passes as there are more.
        norm: of the vector in each channel; by default the paper's root mean square per pixel, 0.125 (4 on 32 x 32)
            for images of up to 64 pixels, and 0.07 (15.7 on 224 x 224) for larger ones.
        seed: of the signs.
        sample_size: how many images.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "fourier_heatmap"
    version: ClassVar[int] = 1
    row: ClassVar[type] = FourierHeatmapRow
    sample: ClassVar[str] = "eval"
    ensembles: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16")

    half_size: int = rule(16, least=1, most=MOST_PIXELS)
    step: int = rule(2, least=1, most=MOST_PIXELS)
    norm: float | None = rule(None, above=0, most=1_000_000)
    seed: int = seed_rule()
    sample_size: int = rule(256, least=1, most=MOST_IMAGES)

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
            NotApplicableError: without labels, or without the images' size and normalisation.
        """
        check_labels(subject, self.sample)
        _perturbed.input_of(subject)
        return spans_of(len(subject.samples[self.sample]))

    def cost(self, subject: Subject) -> Cost:
        """A forward pass per vector and one for the clean images.

        Args:
            subject: with its sample.
        """
        vectors = len(self._vectors(_perturbed.input_of(subject).size))
        advice = (
            f"take fewer images (--fourier_heatmap.sample_size, now {self.sample_size}), "
            f"a larger step (--fourier_heatmap.step, now {self.step}) or bf16"
        )
        return _perturbed.usual_cost(subject, self.sample, 1 + vectors, advice)

    def measure(self, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[FourierHeatmapRow]]]:
        """The rows of each part: the clean images first, then the vectors.

        Args:
            subject: with its sample `eval`.
            parts: names from `parts`.

        Raises:
            DataError: for an image or a label that can't be used, and a logit that is not finite.
        """
        size = _perturbed.input_of(subject).size
        frequencies, norm = self._vectors(size), self._norm(size)
        pixels = _perturbed.Pixels.of(subject)

        def changed(batch: Batch) -> Iterator[Tensor]:
            yield batch.images
            clean = pixels.of_images(batch.images)
            signs = unit_noise("sign", self.seed, batch.positions.tolist(), (clean.shape[1], 1, 1)).to(clean)
            for frequency in frequencies:
                vector = fourier_vector(size, frequency).to(clean)
                yield pixels.normalised((clean + signs * (norm * vector)).clamp(0, 1))

        for part in parts:
            found = _perturbed.outcomes(subject, self.sample, part, changed)
            conditions = [(None, None, 0.0), *((row, across, norm) for row, across in frequencies)]
            rows = [
                FourierHeatmapRow(
                    **outcome, row_frequency=row, column_frequency=across, height=size[0], width=size[1], norm=used
                )
                for (row, across, used), outcome in zip(conditions, found, strict=True)
            ]
            yield part, rows

    def summary(self, table: pa.Table) -> pa.Table:
        """Accuracy and what it lost, per model and vector; see `FourierHeatmapSummaryRow`.

        Args:
            table: rows of one or more models, with the leading columns.
        """
        return _perturbed.summary(table, FourierHeatmapSummaryRow, _KEYS, lambda row: row["row_frequency"] is None)

    def figure(self, table: pa.Table) -> Figure:
        """The error under each vector, zero frequency in the centre, a map per model.

        Args:
            table: rows of one or more models, with the column `model`.
        """
        summary = self.summary(table)
        panels = tuple(_map(model, rows) for model, rows in rows_by_model(summary).items())
        norms = sorted({row["norm"] for row in summary.to_pylist()})
        caption = (
            f"Error in % over {images_text(summary)}, each with one real Fourier vector added to its pixels of [0, 1], "
            f"clipped to them: norm {' or '.join(f'{norm:.3g}' for norm in norms)} in each channel, sign drawn for "
            "each image and channel. Zero frequency is in the centre; (i, j) and (-i, -j) are one vector. Titles give "
            "the error on the clean images."
        )
        return Figure(name="fourier_heatmap", title="Fourier heat map", caption=caption, panels=panels)

    def _vectors(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """The frequencies that name a vector each, zero first."""
        rows, columns = (self._axis(length) for length in size)
        named = {canonical(size, (row, column)) for row in rows for column in columns}
        return sorted(named, key=lambda at: (max(map(abs, at)), at))

    def _axis(self, length: int) -> list[int]:
        """Multiples of the step on both sides of zero, as far as asked and as the image goes."""
        most = min(self.half_size, length // 2) // self.step
        return [self.step * place for place in range(-most, most + 1)]

    def _norm(self, size: tuple[int, int]) -> float:
        if self.norm is not None:
            return self.norm
        return (_RMS_SMALL if max(size) <= _SMALL else _RMS_LARGE) * math.sqrt(size[0] * size[1])


def _map(model: str, rows: Sequence[Mapping[str, Any]]) -> Panel:
    """The half-plane that was measured, and its mirror image."""
    size = rows[0]["height"], rows[0]["width"]
    errors = {(row["row_frequency"], row["column_frequency"]): 100 * (1 - row["accuracy"]) for row in rows}
    up, across = (sorted({abs(at[axis]) for at in errors}) for axis in (0, 1))
    vertical, horizontal = ([*(-k for k in reversed(some) if k), *some] for some in (up, across))
    values = tuple(tuple(errors.get(canonical(size, (i, j)), math.nan) for j in horizontal) for i in vertical)
    clean = rows[0]["accuracy"] - rows[0]["change"] / 100
    heat = Heat(
        values=values,
        names_x=tuple(f"horizontal {j:d}" for j in horizontal),
        names_y=tuple(f"vertical {i:d}" for i in vertical),
    )
    return Panel(
        model=model,
        title=f"{model}: error in % ({100 * (1 - clean):.1f} without noise)",
        x_label=f"periods per width, {horizontal[0]:d} to {horizontal[-1]:d}",
        y_label=f"periods per height, {vertical[0]:d} to {vertical[-1]:d}",
        heat=heat,
        group="fourier_heatmap",
    )
