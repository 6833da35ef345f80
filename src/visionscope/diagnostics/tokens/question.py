"""How long the tokens are at each position, and which of them stand out (Darcet et al. 2024)."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from visionscope.core.diagnostic import Theme
from visionscope.core.later import later
from visionscope.core.spans import span_of
from visionscope.core.subject import Point
from visionscope.core.table import column
from visionscope.diagnostics.changes.rows import PointRow
from visionscope.diagnostics.changes.wholes import is_too_small

DEVIATIONS = 5.0
"""How many median absolute deviations above the median a norm must lie for its token to be an outlier."""


@dataclasses.dataclass(frozen=True)
class TokensRow(PointRow):
    """Token norms of one point."""

    norm: float | None = column("norm of a position's token over channels, mean over positions", spread="norm_error")
    norm_error: float | None = column("its standard error over images", "feature units")
    largest: float | None = column("largest norm of an image / its mean norm", spread="largest_error")
    largest_error: float | None = column("its standard error over images")
    outlier_share: float | None = column(
        f"share of the positions whose norm is above median + {DEVIATIONS:g} MAD of their image", percent=True
    )
    outlier_error: float | None = column("its standard error over images")
    border_share: float | None = column(
        "the same share among the positions at the edge of the map; null without an inside", percent=True
    )
    inside_share: float | None = column("the same share among the others", percent=True)
    border_difference: float | None = column("border_share less inside_share", percent=True)
    border_error: float | None = column("its standard error over images, of paired differences")
    prefix_tokens: int = column("class, distillation and register tokens")
    prefix_norm: float | None = column(
        "norm of a prefix token over channels, mean over them; null without one", spread="prefix_error"
    )
    prefix_error: float | None = column("its standard error over images", "feature units")
    norms: tuple[float, ...] = column(
        "mean norm at each position, row by row from the top", "feature units", packed=True
    )
    shares: tuple[float, ...] = column("share of images whose token there is an outlier", packed=True)
    prefix_norms: tuple[float, ...] = column(
        "mean norm of each prefix token, in the order in which they stand", "feature units", packed=True
    )
    note: str = column("why there is no value")


@dataclasses.dataclass(frozen=True)
class TokensState:
    """Sums over the images of one part."""

    point: str = column("name of the point")
    start: int = column("position of the first image in the sample", role="hidden")
    images: int = column("images in the sums", role="count")
    sums: tuple[float, ...] = column("sum of each number of an image: norm, largest, shares of outliers", packed=True)
    squares: tuple[float, ...] = column("sum of its squares", packed=True)
    norms: tuple[float, ...] = column("sum of the norms at each position", "feature units", packed=True)
    outliers: tuple[float, ...] = column("images whose token at each position is an outlier", packed=True)
    prefix_sums: tuple[float, ...] = column(
        "sum of the mean norm over prefix tokens, then of each one's; empty without any", "feature units", packed=True
    )
    prefix_squares: tuple[float, ...] = column("sum of their squares", packed=True)


@later(
    measure=("observer",),
    results=("summary", "comparisons", "outcomes"),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenNorms:
    """Norms of tokens, and outliers among them.

    The norm `|x_p|` over channels of the token at each position of a point, and the share of tokens whose norm lies
    above median + 5 MAD, with median and MAD (the median of `|norm - median|`, not scaled) over the positions of their
    own image. Of normally distributed norms 0.04 % do.

    Darcet et al. 2024 (Vision Transformers Need Registers) draw one line for a whole model, by eye, through a histogram
    over many images; a rule per image needs no eye and compares between networks. Class, distillation and register
    tokens are measured apart: they count in no median. Positions at the edge of the map are compared with the others of
    the same image. Maps of convolutions are measured alike: a position's channels are its token.
    """

    name: ClassVar[str] = "tokens"
    version: ClassVar[int] = 1
    row: ClassVar[type] = TokensRow
    state_row: ClassVar[type] = TokensState
    theme: ClassVar[str] = Theme.FEATURE_MAPS
    place: ClassVar[int] = 5

    def is_whole(self, part: str, rows: Sequence[TokensState], points: Sequence[Point]) -> bool:
        start, stop = span_of(part)
        expected = [
            (point.name, start, stop - start, point.grid[0] * point.grid[1])
            for point in points
            if not is_too_small(point)
        ]
        return sorted((row.point, row.start, row.images, len(row.norms)) for row in rows) == sorted(expected)


def has_inside(grid: tuple[int, int]) -> bool:
    """Whether a grid has positions that are not at its edge.

    Args:
        grid: rows and columns.
    """
    return min(grid) > 2
