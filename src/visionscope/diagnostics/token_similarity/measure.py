"""Sums over images of how alike each point's tokens are."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from visionscope.core.following import Before, before
from visionscope.core.subject import Point
from visionscope.diagnostics.changes.finite import refuse_non_finite
from visionscope.diagnostics.changes.stored import columns_of, sums_of
from visionscope.diagnostics.changes.wholes import is_too_small
from visionscope.diagnostics.token_similarity.question import (
    TokenSimilarity,
    TokenSimilarityRow,
    TokenSimilarityState,
)
from visionscope.numerics.statistics import ImageSums, Sums, mean_and_error
from visionscope.numerics.tokens import token_likeness


def observer(asked: TokenSimilarity, points: Sequence[Point]) -> "TokenSimilarityObserver":
    """A fresh observer of these points, in model order."""
    return TokenSimilarityObserver(points)


class TokenSimilarityObserver:
    """Collects each image's cosine, mean share and effective rank."""

    def __init__(self, points: Sequence[Point]):
        self._points = tuple(points)
        self._index = {point.name: index for index, point in enumerate(points)}
        self._before = before(points)
        self._sums = ImageSums([3] * len(points), [one.index for one in self._before])

    def update(self, point: Point, maps: Tensor, positions: Tensor) -> None:
        if is_too_small(point):
            return
        images = positions.tolist()
        values = token_likeness(maps).cpu().double().numpy()
        refuse_non_finite("token_similarity", point, maps, images, values)
        self._sums.put(self._index[point.name], images, values)

    def state(self) -> list[TokenSimilarityState]:
        return [
            TokenSimilarityState(point=self._points[index].name, **columns_of(sums))
            for index, sums in self._sums.blocks()
        ]

    def load(self, rows: Sequence[Any]) -> None:
        for row in rows:
            self._sums.load(self._index[row.point], sums_of(row))

    def rows(self) -> Iterator[TokenSimilarityRow]:
        yield from map(_row, self._points, self._before, self._sums.totals())


def _row(point: Point, other: Before, sums: Sums) -> TokenSimilarityRow:
    cosine, share, rank = zip(sums.total, sums.squares, strict=True)
    change, share_change, rank_change = zip(sums.change_total, sums.change_squares, strict=True)
    note = "" if sums.images else "no image was seen"
    return TokenSimilarityRow(
        point.name,
        str(point.kind),
        point.stage,
        point.depth,
        *point.grid,
        point.channels,
        sums.images,
        *mean_and_error(sums.images, *cosine),
        *mean_and_error(sums.images, *share),
        *mean_and_error(sums.images, *rank),
        min(point.grid[0] * point.grid[1], point.channels),
        point.follows,
        *mean_and_error(sums.change_images, *change),
        mean_and_error(sums.change_images, *share_change)[0],
        mean_and_error(sums.change_images, *rank_change)[0],
        other.note,
        "a single position has nothing to be like" if is_too_small(point) else note,
    )
