"""How alike the tokens of one map are: over-smoothing (Wang et al. 2022)."""

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
class TokenSimilarityRow(PointRow):
    """How alike the tokens of one point's maps are."""

    cosine: float | None = column("cosine of two tokens of an image, mean over pairs", spread="cosine_error")
    cosine_error: float | None = column("its standard error over images")
    mean_share: float | None = column(
        "energy of the mean token, as a share of all energy", percent=True, spread="mean_share_error"
    )
    mean_share_error: float | None = column("its standard error over images")
    effective_rank: float | None = column(
        "exp(entropy) of the normalised eigenvalues of the tokens' Gram matrix", spread="effective_rank_error"
    )
    effective_rank_error: float | None = column("its standard error over images")
    rank_limit: int = column("the largest possible rank: positions or channels, whichever are fewer")
    follows: str = column("the point that holds what the branch received; empty where none does")
    change: float | None = column("cosine minus that of the point it follows", role="outcome")
    change_error: float | None = column("standard error of the mean paired difference over images")
    mean_share_change: float | None = column("mean_share minus that of the point it follows", percent=True)
    effective_rank_change: float | None = column("effective_rank minus that of the point it follows")
    change_note: str = column("why there is no change")
    note: str = column("why there is no value")


@dataclasses.dataclass(frozen=True)
class TokenSimilarityState:
    """Sums over the images of one part: of cosine, mean share and effective rank."""

    point: str = column("name of the point")
    start: int = column("position of the first image in the sample", role="hidden")
    images: int = column("images in the sums", role="count")
    sums: tuple[float, ...] = column("sum of each", packed=True)
    squares: tuple[float, ...] = column("sum of its squares", packed=True)
    change_images: int = column("images in the sums of changes")
    change_sums: tuple[float, ...] = column("sum of paired differences from the point it follows", packed=True)
    change_squares: tuple[float, ...] = column("sum of their squares", packed=True)


@later(
    measure=("observer",),
    results=("summary", "comparisons"),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenSimilarity:
    """How alike the tokens of an image are, point by point.

    Of each image's tokens at a point: the mean cosine of two of them; the share of energy that their mean holds
    (the DC share); and the effective rank, exp of the entropy of the normalised eigenvalues of their Gram matrix.
    Tokens that are all alike have 1, 100 % and 1.

    Wang et al. 2022 (Anti-Oversmoothing in Deep Vision Transformers) call it over-smoothing when the mean's share nears
    1, and show that self-attention alone leads there. The effective rank is that of Roy & Vetterli 2007 with
    eigenvalues of the Gram matrix (energies) instead of singular values. Nothing is centred: the mean is what tokens
    have in common. Prefix tokens are left out. Maps of convolutions are measured alike: a position's channels are its
    token. A change is measured image by image from the stream that the branch received (`visionscope.core.following`).
    """

    name: ClassVar[str] = "token_similarity"
    version: ClassVar[int] = 1
    row: ClassVar[type] = TokenSimilarityRow
    state_row: ClassVar[type] = TokenSimilarityState
    theme: ClassVar[str] = Theme.FEATURE_MAPS
    place: ClassVar[int] = 4

    def is_whole(self, part: str, rows: Sequence[TokenSimilarityState], points: Sequence[Point]) -> bool:
        return has_every_point(part, rows, points)
