"""How much the feature maps vary over space, point by point (Park & Kim 2022, Fig. 9 and D.1)."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from visionscope.core.diagnostic import Theme
from visionscope.core.later import later
from visionscope.core.subject import Point
from visionscope.core.table import column
from visionscope.diagnostics.changes.rows import PointRow
from visionscope.diagnostics.changes.wholes import has_every_point


@dataclasses.dataclass(frozen=True)
class VarianceRow(PointRow):
    """Spatial variance of one point's feature maps."""

    variance: float | None = column("unbiased variance over positions, mean over channels and images", "feature units²")
    standard_error: float | None = column("of the mean over images", "feature units²")
    follows: str = column("the point that holds what the branch received; empty where none does")
    change: float | None = column("variance minus that of the point it follows", "feature units²", role="outcome")
    change_error: float | None = column("standard error of the mean paired difference over images", "feature units²")
    change_note: str = column("why there is no change")
    note: str = column("why there is no value")


@dataclasses.dataclass(frozen=True)
class VarianceState:
    """Sums over the images of one part."""

    point: str = column("name of the point")
    start: int = column("position of the first image in the sample", role="hidden")
    images: int = column("images in the sums", role="count")
    total: float = column("sum of variances", "feature units²")
    squares: float = column("sum of their squares")
    change_images: int = column("images in the sums of changes")
    change_total: float = column("sum of paired differences from the point it follows", "feature units²")
    change_squares: float = column("sum of their squares")


@later(
    measure=("observer",),
    results=("summary", "comparisons"),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Variance:
    """Variance of the feature maps over space.

    Feature-map variance: over positions, per channel and image, unbiased; then the mean over channels and images.

    As in the authors' notebook (torch.var over height and width), over a sample instead of one batch. The change is
    measured image by image from the stream that the branch received, where a point of the same grid and channels holds
    it (`visionscope.core.following`): the stem counts as what the first block of a plain transformer changes.
    """

    name: ClassVar[str] = "variance"
    version: ClassVar[int] = 3
    row: ClassVar[type] = VarianceRow
    state_row: ClassVar[type] = VarianceState
    theme: ClassVar[str] = Theme.FEATURE_MAPS
    place: ClassVar[int] = 1

    def is_whole(self, part: str, rows: Sequence[VarianceState], points: Sequence[Point]) -> bool:
        return has_every_point(part, rows, points)
