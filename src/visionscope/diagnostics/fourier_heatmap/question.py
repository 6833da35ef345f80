"""Error under each single vector of the Fourier basis (Yin et al., NeurIPS 2019, Fig. 3 and 4)."""

import dataclasses
from typing import ClassVar

from visionscope.core.later import later
from visionscope.core.rules import MOST_IMAGES, MOST_PIXELS, rule, seed_rule
from visionscope.core.table import column
from visionscope.diagnostics.outcomes.damage import Damage
from visionscope.diagnostics.outcomes.rows import ChangeRow, DamageRow


@dataclasses.dataclass(frozen=True)
class FourierVector:
    """The vector that was added."""

    row_frequency: int | None = column("vertical frequency i of the vector; none for the clean images", "per height")
    column_frequency: int | None = column("horizontal frequency j; (-i, -j) is the same vector", "per width")
    height: int = column("of the images", "pixel", role="convention")
    width: int = column("of the images", "pixel", role="convention")
    norm: float = column("its norm in each channel, in pixels of [0, 1], before clipping to them", role="convention")


@dataclasses.dataclass(frozen=True)
class FourierHeatmapRow(FourierVector, DamageRow):
    """What became of a span of images with one Fourier vector added, or as they are."""


@dataclasses.dataclass(frozen=True)
class FourierHeatmapSummaryRow(FourierVector, ChangeRow):
    """Accuracy with one Fourier vector added."""


@later(
    measure=("check", "cost", "measure"),
    results=("comparisons",),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class FourierHeatmap(Damage):
    """Error under noise of single frequencies, as a map.

    Fourier heat map: error on `clip(pixel + sign * norm * U_ij, 0, 1)` for real Fourier vectors U_ij of norm 1.

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
    version: ClassVar[int] = 2
    row: ClassVar[type] = FourierHeatmapRow
    condition: ClassVar[type] = FourierVector
    summary_row: ClassVar[type] = FourierHeatmapSummaryRow
    place: ClassVar[int] = 2
    ensembles: ClassVar[bool] = True
    dense: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16")

    half_size: int = rule(16, least=1, most=MOST_PIXELS)
    step: int = rule(2, least=1, most=MOST_PIXELS)
    norm: float | None = rule(None, above=0, most=1_000_000)
    seed: int = seed_rule()
    sample_size: int = rule(256, least=1, most=MOST_IMAGES)
