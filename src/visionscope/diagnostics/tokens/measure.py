"""Sums over images of the norms of each point's tokens, and of which are outliers."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from visionscope.core.subject import Point
from visionscope.diagnostics.changes.finite import refuse_non_finite
from visionscope.diagnostics.changes.wholes import is_too_small
from visionscope.diagnostics.tokens.question import (
    DEVIATIONS,
    TokenNorms,
    TokensRow,
    TokensState,
    has_inside,
)
from visionscope.numerics.statistics import ImageSums, Sums, mean_and_error
from visionscope.numerics.tokens import outliers, token_norms

_PER_IMAGE = 6  # norm, largest, outlier share, that at the border, inside, their difference


def observer(asked: TokenNorms, points: Sequence[Point]) -> "TokensObserver":
    """A fresh observer of these points, in model order."""
    return TokensObserver(points)


class TokensObserver:
    """Collects each image's token norms: of the grid, then of the prefix tokens."""

    def __init__(self, points: Sequence[Point]):
        self._points = tuple(points)
        self._index = {point.name: index for index, point in enumerate(points)}
        self._grid = ImageSums(
            [_PER_IMAGE + 2 * point.grid[0] * point.grid[1] for point in points], [None] * len(points)
        )
        self._prefix = ImageSums([1 + point.prefix_tokens for point in points], [None] * len(points))

    def update(self, point: Point, maps: Tensor, positions: Tensor) -> None:
        if is_too_small(point):
            return
        images = positions.tolist()
        norms = token_norms(maps)
        values = norms.cpu().double().numpy()
        refuse_non_finite("tokens", point, maps, images, values)
        out = outliers(norms, DEVIATIONS).cpu().double().numpy()
        self._grid.put(self._index[point.name], images, np.hstack([_per_image(point.grid, values, out), values, out]))

    def update_beside(self, point: Point, tokens: Tensor, positions: Tensor) -> None:
        if is_too_small(point):
            return
        images = positions.tolist()
        values = token_norms(tokens.mT[..., None]).cpu().double().numpy()
        refuse_non_finite("tokens", point, tokens, images, values)
        means = values.mean(axis=1, keepdims=True)
        self._prefix.put(self._index[point.name], images, np.hstack([means, values]))

    def state(self) -> list[TokensState]:
        beside = {(index, sums.start): sums for index, sums in self._prefix.blocks()}
        states = []
        for index, sums in self._grid.blocks():
            per_image, norms, out = np.split(sums.total, _cuts(self._points[index].grid))
            prefix = beside.get((index, sums.start))
            states.append(
                TokensState(
                    self._points[index].name,
                    sums.start,
                    sums.images,
                    tuple(per_image.tolist()),
                    tuple(sums.squares[:_PER_IMAGE].tolist()),
                    tuple(norms.tolist()),
                    tuple(out.tolist()),
                    () if prefix is None else tuple(prefix.total.tolist()),
                    () if prefix is None else tuple(prefix.squares.tolist()),
                )
            )
        return states

    def load(self, rows: Sequence[Any]) -> None:
        for row in rows:
            index = self._index[row.point]
            total = np.array([*row.sums, *row.norms, *row.outliers])
            squares = np.zeros(len(total))  # of the positions none are kept
            squares[: len(row.squares)] = row.squares
            self._grid.load(index, _sums(row, total, squares))
            if row.prefix_sums:
                self._prefix.load(index, _sums(row, np.array(row.prefix_sums), np.array(row.prefix_squares)))

    def rows(self) -> Iterator[TokensRow]:
        yield from map(_row, self._points, self._grid.totals(), self._prefix.totals())


def _sums(row: TokensState, total: NDArray[np.float64], squares: NDArray[np.float64]) -> Sums:
    nothing = np.zeros(len(total))
    return Sums(row.start, row.images, total, squares, 0, nothing, nothing)


def _cuts(grid: tuple[int, int]) -> tuple[int, int]:
    return _PER_IMAGE, _PER_IMAGE + grid[0] * grid[1]


def _per_image(grid: tuple[int, int], norms: NDArray[np.float64], out: NDArray[np.float64]) -> NDArray[np.float64]:
    """(images, 6); without an inside, zeros that no row shows."""
    mean = norms.mean(axis=1)
    # A map of zeros has no largest token; all are alike.
    largest = np.divide(norms.max(axis=1), mean, out=np.ones_like(mean), where=mean > 0)
    apart = [np.zeros_like(mean)] * 3
    if has_inside(grid):
        border = np.ones(grid, dtype=bool)
        border[1:-1, 1:-1] = False
        at_border, inside = (out[:, places].mean(axis=1) for places in (border.ravel(), ~border.ravel()))
        apart = [at_border, inside, at_border - inside]
    return np.stack([mean, largest, out.mean(axis=1), *apart], axis=1)


def _row(point: Point, sums: Sums, prefix: Sums) -> TokensRow:
    values = [mean_and_error(sums.images, sums.total[place], sums.squares[place]) for place in range(_PER_IMAGE)]
    if not has_inside(point.grid):
        values[3:] = [(None, None)] * 3
    (norm, norm_error), (largest, largest_error), (share, share_error), (border, _), (inside, _), (apart, error) = (
        values
    )
    prefix_norm, prefix_error = mean_and_error(prefix.images, prefix.total[0], prefix.squares[0])
    _, norms, out = np.split(sums.total / max(sums.images, 1), _cuts(point.grid))
    known = sums.images > 0
    return TokensRow(
        point.name,
        str(point.kind),
        point.stage,
        point.depth,
        *point.grid,
        point.channels,
        sums.images,
        norm,
        norm_error,
        largest,
        largest_error,
        share,
        share_error,
        border,
        inside,
        apart,
        error,
        point.prefix_tokens,
        prefix_norm,
        prefix_error,
        tuple(norms.tolist()) if known else (),
        tuple(out.tolist()) if known else (),
        tuple((prefix.total[1:] / prefix.images).tolist()) if prefix.images else (),
        _note(point, sums.images),
    )


def _note(point: Point, images: int) -> str:
    if is_too_small(point):
        return "a single position stands out from nothing"
    return "" if images else "no image was seen"
