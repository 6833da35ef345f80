"""How alike the representations at two points are: mini-batch linear CKA (Park & Kim 2022, Fig. 10a and D.3)."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from visionscope.core.figure import Figure, Heat, Panel
from visionscope.core.grouping import rows_by_model, stage_ticks
from visionscope.core.rules import check_rules, rule
from visionscope.core.sample import SPAN
from visionscope.core.spans import span_of
from visionscope.core.subject import Point
from visionscope.core.table import column
from visionscope.errors import ConfigError, StoreError, VisionscopeError
from visionscope.numerics.cka import Array, centred_gram, compare
from visionscope.numerics.layouts import empty_maps, working_type


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
    cka: float | None = column("linear CKA, unbiased HSIC summed over groups; null where a point does not vary")
    standard_error: float | None = column("jackknife over groups; null below 4 groups")
    groups: int = column("groups of images in the sums")
    group: int = column("images per group")
    dropped: int = column("images left out, because their group is incomplete")


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
        "inner products of features minus the group's mean, row by row; empty if incomplete"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Similarity:
    """Linear CKA between all pairs of points, from mini-batches with the unbiased HSIC (Nguyen et al. 2021).

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

    group: int = rule(
        32,
        choices=tuple(size for size in range(4, SPAN + 1) if SPAN % size == 0),
        words=f"a power of two from 4 to {SPAN}",
    )

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def observer(self, points: Sequence[Point]) -> "SimilarityObserver":
        """A fresh observer of these points.

        Args:
            points: in model order.
        """
        return SimilarityObserver(self, points)

    def is_whole(self, part: str, rows: Sequence[SimilarityState], points: Sequence[Point]) -> bool:
        """Whether stored rows are all of a part's and no other's; see `types.ObservingDiagnostic`."""
        start, stop = span_of(part)
        groups = [(first // self.group, min(self.group, stop - first)) for first in range(start, stop, self.group)]
        expected = sorted((point.name, *group) for group in groups for point in points)
        return sorted((row.point, row.group_index, row.size) for row in rows) == expected

    def figure(self, table: pa.Table) -> Figure:
        """A heat map per model.

        Args:
            table: rows of `SimilarityRow` with the column `model`.
        """
        panels = tuple(_panel(model, "layer", "layer", rows) for model, rows in rows_by_model(table).items())
        return Figure(
            name="similarity", title="Similarity of representations (CKA)", caption=_caption(table), panels=panels
        )


class SimilarityObserver:
    """Collects a Gram matrix per point and group; see `visionscope.core.diagnostic.Observer`."""

    def __init__(self, settings: Similarity, points: Sequence[Point]):
        """Starts empty.

        Args:
            settings: of the diagnostic.
            points: in model order.
        """
        self._group = settings.group
        self._points = tuple(points)
        self._index = {point.name: index for index, point in enumerate(points)}
        self._grams: dict[tuple[int, int], Array] = {}  # by group, point
        self._waiting: dict[tuple[int, int], _Waiting] = {}
        self._incomplete: dict[tuple[int, int], int] = {}  # images, from loaded parts

    def update(self, point: Point, maps: Tensor, positions: Tensor) -> None:
        """Takes the maps of one point.

        A group that the batch holds whole is reduced at once; maps of others wait, which costs memory: let the loading
        batch be a multiple of the group.

        Args:
            point: one of the observer's points.
            maps: (batch, channel, height, width).
            positions: (batch,) of the images in the sample.

        Raises:
            VisionscopeError: when a map holds NaN or infinity, naming point and image.
        """
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
        """The Gram matrix of each complete group, and how many images each incomplete one has."""
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
        """Adds stored Gram matrices.

        Args:
            rows: `SimilarityState` of one part.

        Raises:
            StoreError: when a group is loaded twice.
        """
        for row in rows:
            key = (row.group_index, self._index[row.point])
            if key in self._grams or key in self._incomplete:
                raise StoreError(f"similarity group {row.group_index} is there already: a part came in twice")
            if row.gram:
                self._grams[key] = np.array(row.gram).reshape(row.size, row.size)
            else:
                self._incomplete[key] = row.size

    def rows(self) -> Iterator[SimilarityRow]:
        """A row per ordered pair of points, in model order."""
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
        states_x: stored rows of all parts of one model.
        states_y: those of the other.
        points_x: points of the one, in model order.
        points_y: points of the other.
        model_x: label of the one.
        model_y: label of the other.

    Raises:
        ConfigError: when the two were grouped differently.
    """
    sizes = [{row.size for row in states if row.gram} for states in (states_x, states_y)]
    if all(sizes) and sizes[0] != sizes[1]:
        found = " and ".join(str(min(size)) for size in sizes)
        raise ConfigError(f"similarity.group must be the same for both models, not {found}")
    group = min(sizes[0] or sizes[1] or {0})
    groups_x, groups_y = _Groups(points_x), _Groups(points_y)
    for groups, states in ((groups_x, states_x), (groups_y, states_y)):
        for row in states:
            groups.add(row)
    pairs = _Pairs(groups_x, groups_y, group)
    return [
        BetweenRow(x.name, y.name, *_pair(x, y), *pairs.at(i, j), model_x, model_y)
        for i, x in enumerate(points_x)
        for j, y in enumerate(points_y)
    ]


def between_figure(table: pa.Table) -> Figure:
    """A heat map per pair of models.

    Args:
        table: rows of `BetweenRow`.
    """
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        pairs.setdefault((row["model_x"], row["model_y"]), []).append(row)
    return Figure(
        name="similarity_between",
        title="Similarity between models (CKA)",
        caption=_caption(table),
        panels=tuple(_panel(f"{x} against {y}", x, y, rows) for (x, y), rows in pairs.items()),
    )


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


def _panel(title: str, x_label: str, y_label: str, rows: list[dict[str, Any]]) -> Panel:
    stages_x = {row["point_x"]: row["stage_x"] for row in rows}
    stages_y = {row["point_y"]: row["stage_y"] for row in rows}
    cells = {(row["point_x"], row["point_y"]): row for row in rows}

    def grid(name: str) -> tuple[tuple[float, ...], ...]:
        return tuple(
            tuple(math.nan if cells[x, y][name] is None else cells[x, y][name] for x in stages_x) for y in stages_y
        )

    across, up = stage_ticks(list(stages_x.values())), stage_ticks(list(stages_y.values()))
    heat = Heat(
        values=grid("cka"),
        names_x=tuple(stages_x),
        names_y=tuple(stages_y),
        ticks=across,
        ticks_y=() if stages_x == stages_y else up,
        error=grid("standard_error"),
    )
    return Panel(model=title, title=title, x_label=x_label, y_label=y_label, heat=heat)


def _caption(table: pa.Table) -> str:
    rows = table.to_pylist()
    groups = sorted({(row["groups"], row["group"]) for row in rows})
    images = " or ".join(f"{count} group{'' if count == 1 else 's'} of {size} images" for count, size in groups)
    dropped = max((row["dropped"] for row in rows), default=0)
    text = f"Linear CKA with the unbiased HSIC, summed over {images} before the ratio"
    if dropped:
        text += f"; {dropped} images that fill no group are left out"
    if any(row["cka"] is None for row in rows):
        text += "; holes: a point that does not vary between images, or no complete group"
    known = any(row["standard_error"] is not None for row in rows)
    return text + (". Standard errors are the jackknife's over groups." if known else ".")
