"""Gram matrices of each point's maps, and the CKA of pairs of points from them."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visionscope.core.subject import Point
from visionscope.diagnostics.similarity.question import BetweenRow, Similarity, SimilarityRow, SimilarityState
from visionscope.errors import ConfigError, StoreError, VisionscopeError
from visionscope.numerics.cka import Array, centred_gram, compare
from visionscope.numerics.layouts import empty_maps, working_type


def observer(asked: Similarity, points: Sequence[Point]) -> "SimilarityObserver":
    """A fresh observer of these points, in model order."""
    return SimilarityObserver(asked, points)


class SimilarityObserver:
    """Collects a Gram matrix per point and group.

    A group that the batch holds whole is reduced at once; maps of others wait, which costs memory: let the loading
    batch be a multiple of the group.
    """

    def __init__(self, settings: Similarity, points: Sequence[Point]):
        self._group = settings.group
        self._points = tuple(points)
        self._index = {point.name: index for index, point in enumerate(points)}
        self._grams: dict[tuple[int, int], Array] = {}  # by group, point
        self._waiting: dict[tuple[int, int], _Waiting] = {}
        self._incomplete: dict[tuple[int, int], int] = {}  # images, from loaded parts

    def update(self, point: Point, maps: Tensor, positions: Tensor) -> None:
        place = positions.tolist()
        for group in sorted({position // self._group for position in place}):
            chosen = torch.tensor([row for row, position in enumerate(place) if position // self._group == group])
            slots = torch.tensor([position % self._group for position in place if position // self._group == group])
            key = (group, self._index[point.name])
            if len(chosen) == self._group and key not in self._waiting:
                self._finish(key, point, _pick(maps, chosen[slots.argsort()]))
                continue
            waiting = self._waiting.setdefault(key, _Waiting(maps, self._group))
            waiting.put(slots, _pick(maps, chosen))
            if waiting.seen.all():
                self._finish(key, point, self._waiting.pop(key).maps)

    def _finish(self, key: tuple[int, int], point: Point, maps: Tensor) -> None:
        gram = centred_gram(maps).cpu().double().numpy()
        if not np.isfinite(gram).all():
            finite = torch.isfinite(maps).flatten(1)
            first = int((~finite).sum(1).gt(0).int().argmax())
            count = int((~finite[first]).sum())
            position = key[0] * self._group + first
            what = f"{count} non-finite values" if count else f"values too large for {working_type(maps)}"
            raise VisionscopeError(f"similarity at {point.name!r}: {what} in image position {position}")
        self._grams[key] = gram

    def state(self) -> list[SimilarityState]:
        # Of each incomplete group only how many images it has.
        rows = [
            SimilarityState(self._points[point].name, group, self._group, tuple(gram.ravel().tolist()))
            for (group, point), gram in self._grams.items()
        ]
        rows += [
            SimilarityState(self._points[point].name, group, images, ())
            for (group, point), images in self._left_over().items()
        ]
        return sorted(rows, key=lambda row: (row.group_index, self._index[row.point]))

    def load(self, rows: Sequence[Any]) -> None:
        for row in rows:
            key = (row.group_index, self._index[row.point])
            if key in self._grams or key in self._incomplete:
                raise StoreError(f"similarity group {row.group_index} is there already: a part came in twice")
            if row.gram:
                self._grams[key] = np.array(row.gram).reshape(row.size, row.size)
            else:
                self._incomplete[key] = row.size

    def rows(self) -> Iterator[SimilarityRow]:
        groups = _Groups(self._points)
        groups.grams = self._grams
        for (group, _), images in {**dict.fromkeys(self._grams, self._group), **self._left_over()}.items():
            groups.note(group, images)
        pairs = _Pairs(groups, groups, self._group)
        for i, x in enumerate(self._points):
            for j, y in enumerate(self._points):
                yield SimilarityRow(x.name, y.name, *_pair(x, y), *pairs.at(i, j))

    def _left_over(self) -> dict[tuple[int, int], int]:
        waiting = {key: int(waiting.seen.sum()) for key, waiting in self._waiting.items()}
        return self._incomplete | waiting


def between(
    asked: Similarity,
    states_x: Sequence[SimilarityState],
    states_y: Sequence[SimilarityState],
    points_x: Sequence[Point],
    points_y: Sequence[Point],
    *,
    model_x: str,
    model_y: str,
) -> list[BetweenRow]:
    """CKA of all points of one model with all points of another, from their stored Gram matrices.

    Both must have seen the same images in the same order, which the caller checks by the samples' image digests.

    Args:
        asked: with the group that both were asked with.
        states_x: stored rows of all parts of one model.
        states_y: those of the other.
        points_x: points of the one, in model order.
        points_y: points of the other.
        model_x: label of the one.
        model_y: label of the other.

    Raises:
        ConfigError: when the two were grouped differently.
    """
    sizes = {row.size for states in (states_x, states_y) for row in states if row.gram} | {asked.group}
    if len(sizes) > 1:
        found = " and ".join(map(str, sorted(sizes)))
        raise ConfigError(f"similarity.group must be the same for both models, not {found}")
    groups_x, groups_y = _Groups(points_x), _Groups(points_y)
    for groups, states in ((groups_x, states_x), (groups_y, states_y)):
        for row in states:
            groups.add(row)
    pairs = _Pairs(groups_x, groups_y, asked.group)
    return [
        BetweenRow(x.name, y.name, *_pair(x, y), *pairs.at(i, j), model_x, model_y)
        for i, x in enumerate(points_x)
        for j, y in enumerate(points_y)
    ]


class _Waiting:
    """Maps of a group that is not complete yet, by place in the group."""

    def __init__(self, like: Tensor, group: int):
        self.maps = empty_maps(like, group)
        self.seen = torch.zeros(group, dtype=torch.bool)

    def put(self, slots: Tensor, maps: Tensor) -> None:
        self.maps[slots.to(maps.device)] = maps.detach()
        self.seen[slots] = True


class _Groups:
    """Gram matrices by group and point, and how many images of each group came."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.index = {point.name: index for index, point in enumerate(points)}
        self.grams: dict[tuple[int, int], Array] = {}
        self.seen: dict[int, int] = {}

    def add(self, row: SimilarityState) -> None:
        """Takes a stored row."""
        self.note(row.group_index, row.size)
        if row.gram:
            self.grams[row.group_index, self.index[row.point]] = np.array(row.gram).reshape(row.size, row.size)

    def note(self, group: int, images: int) -> None:
        """Remembers that so many images of a group came at some point."""
        self.seen[group] = max(self.seen.get(group, 0), images)

    def complete(self) -> set[int]:
        """The groups that are complete at every point."""
        count = Counter(group for group, _ in self.grams)
        return {group for group, points in count.items() if points == len(self.index)}

    def stack(self, group: int) -> Array:
        """The Gram matrices of one group: (points, n, n)."""
        return np.array([self.grams[group, point] for point in range(len(self.index))])


class _Pairs:
    """CKA of all pairs of points, with what every row says about its images."""

    def __init__(self, x: _Groups, y: _Groups, group: int) -> None:
        shared = sorted(x.complete() & y.complete())
        seen = {index: max(x.seen.get(index, 0), y.seen.get(index, 0)) for index in x.seen | y.seen}
        self._counts = (len(shared), group, sum(size for index, size in seen.items() if index not in shared))
        self._found = compare((x.stack(index), y.stack(index)) for index in shared) if shared else None

    def at(self, i: int, j: int) -> tuple[float | None, float | None, int, int, int]:
        if self._found is None:
            return None, None, *self._counts
        return _known(self._found.cka[i, j]), _known(self._found.error[i, j]), *self._counts


def _pick(maps: Tensor, rows: Tensor) -> Tensor:
    """The images of a batch at these indices; a view where they are neighbours in order."""
    first = int(rows[0])
    if torch.equal(rows, torch.arange(first, first + len(rows))):
        return maps[first : first + len(rows)]
    return maps[rows.to(maps.device)]


def _pair(x: Point, y: Point) -> tuple[str, str, int, int, float, float]:
    return str(x.kind), str(y.kind), x.stage, y.stage, x.depth, y.depth


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
