"""How alike the representations at two points are: mini-batch linear CKA (Park & Kim 2022, Fig. 10a and D.3)."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from visionscope.core.diagnostic import Theme
from visionscope.core.later import later
from visionscope.core.rules import check_rules, rule
from visionscope.core.sample import SPAN
from visionscope.core.spans import span_of
from visionscope.core.subject import Point
from visionscope.core.table import column


@dataclasses.dataclass(frozen=True)
class SimilarityRow:
    """CKA of two points of one model."""

    point_x: str = column("name of one point")
    point_y: str = column("name of the other point")
    kind_x: str = column("what the branch of point_x does")
    kind_y: str = column("what the branch of point_y does")
    stage_x: int = column("stage of point_x, 0 = stem")
    stage_y: int = column("stage of point_y, 0 = stem")
    depth_x: float = column("depth of point_x, 0 to 1")
    depth_y: float = column("depth of point_y, 0 to 1")
    cka: float | None = column(
        "linear CKA, unbiased HSIC summed over groups; null where a point does not vary", spread="standard_error"
    )
    standard_error: float | None = column("jackknife over groups; null below 4 groups")
    groups: int = column("groups of images in the sums", role="count")
    group: int = column("images per group", role="count")
    dropped: int = column("images left out, because their group is incomplete", role="count")


@dataclasses.dataclass(frozen=True)
class BetweenRow(SimilarityRow):
    """CKA of a point of one model (x) with a point of another (y)."""

    model_x: str = column("label of the model of point_x")
    model_y: str = column("label of the model of point_y")


@dataclasses.dataclass(frozen=True)
class SimilarityState:
    """Gram matrix of one point over one group of images."""

    point: str = column("name of the point")
    group_index: int = column("first sample position of the group / images per group")
    size: int = column("images seen of the group")
    gram: tuple[float, ...] = column(
        "inner products of features minus the group's mean, row by row; empty if incomplete", packed=True
    )


@later(
    measure=("observer", "between"),
    results=("comparisons",),
    figure=("figure", "between_figure"),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Similarity:
    """Linear CKA between all pairs of points.

    Linear CKA between all pairs of points, from mini-batches with the unbiased HSIC (Nguyen et al. 2021).

    A mini-batch is a group of `group` images, neighbours by position in the sample: the batches in which images are
    loaded, and their order, do not change it. Sums over groups come before the ratio. A remainder that fills no group
    is dropped, and counted. The paper gives no formula, batch size or code; these are the standard ones.

    Attributes:
        group: images per group, a power of two from 4 to 256, so that groups fill the parts of 256 images.

    Raises:
        ConfigError: for another group.
    """

    name: ClassVar[str] = "similarity"
    version: ClassVar[int] = 1
    row: ClassVar[type] = SimilarityRow
    state_row: ClassVar[type] = SimilarityState
    between_row: ClassVar[type] = BetweenRow
    theme: ClassVar[str] = Theme.FEATURE_MAPS
    place: ClassVar[int] = 2

    group: int = rule(
        32,
        choices=tuple(size for size in range(4, SPAN + 1) if SPAN % size == 0),
        words=f"a power of two from 4 to {SPAN}",
    )

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def is_whole(self, part: str, rows: Sequence[SimilarityState], points: Sequence[Point]) -> bool:
        start, stop = span_of(part)
        groups = [(first // self.group, min(self.group, stop - first)) for first in range(start, stop, self.group)]
        expected = sorted((point.name, *group) for group in groups for point in points)
        return sorted((row.point, row.group_index, row.size) for row in rows) == expected
