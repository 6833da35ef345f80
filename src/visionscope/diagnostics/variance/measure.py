"""Sums over images of the spatial variance of each point's maps."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from visionscope.core.following import before
from visionscope.core.subject import Point
from visionscope.diagnostics.changes.finite import refuse_non_finite
from visionscope.diagnostics.changes.wholes import is_too_small
from visionscope.diagnostics.variance.question import Variance, VarianceRow, VarianceState
from visionscope.numerics.moments import spatial_variance
from visionscope.numerics.statistics import ImageSums, Sums, mean_and_error


def observer(asked: Variance, points: Sequence[Point]) -> "VarianceObserver":
    """A fresh observer of these points, in model order."""
    return VarianceObserver(points)


class VarianceObserver:
    """Collects each image's spatial variance."""

    def __init__(self, points: Sequence[Point]):
        self._points = tuple(points)
        self._index = {point.name: index for index, point in enumerate(points)}
        self._before = before(points)
        self._sums = ImageSums([1] * len(points), [one.index for one in self._before])

    def update(self, point: Point, maps: Tensor, positions: Tensor) -> None:
        if is_too_small(point):
            return
        images = positions.tolist()
        values = spatial_variance(maps).cpu().double().numpy()
        refuse_non_finite("variance", point, maps, images, values)
        self._sums.put(self._index[point.name], images, values[:, None])

    def state(self) -> list[VarianceState]:
        return [
            VarianceState(
                self._points[index].name,
                sums.start,
                sums.images,
                float(sums.total[0]),
                float(sums.squares[0]),
                sums.change_images,
                float(sums.change_total[0]),
                float(sums.change_squares[0]),
            )
            for index, sums in self._sums.blocks()
        ]

    def load(self, rows: Sequence[Any]) -> None:
        for row in rows:
            self._sums.load(
                self._index[row.point],
                Sums(
                    row.start,
                    row.images,
                    np.array([row.total]),
                    np.array([row.squares]),
                    row.change_images,
                    np.array([row.change_total]),
                    np.array([row.change_squares]),
                ),
            )

    def rows(self) -> Iterator[VarianceRow]:
        for point, other, sums in zip(self._points, self._before, self._sums.totals(), strict=True):
            mean, error = mean_and_error(sums.images, sums.total[0], sums.squares[0])
            change, change_error = mean_and_error(sums.change_images, sums.change_total[0], sums.change_squares[0])
            head = (point.name, str(point.kind), point.stage, point.depth, *point.grid, point.channels, sums.images)
            note = _note(point, sums.images)
            moved = (point.follows, change, change_error, other.note)
            yield VarianceRow(*head, mean, error, *moved, note)


def _note(point: Point, images: int) -> str:
    if is_too_small(point):
        return "a single position has no spatial variance"
    return "" if images else "no image was seen"
