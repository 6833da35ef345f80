"""Sums over images of the log-amplitudes of each point's maps."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from visionscope.core.following import Before, before
from visionscope.core.subject import Point
from visionscope.diagnostics.changes.finite import refuse_non_finite
from visionscope.diagnostics.changes.stored import columns_of, sums_of
from visionscope.diagnostics.fourier.question import Fourier, FourierRow, FourierState
from visionscope.errors import TraceError
from visionscope.numerics import spectrum
from visionscope.numerics.statistics import ImageSums, Sums, mean_and_error


def observer(asked: Fourier, points: Sequence[Point]) -> "FourierObserver":
    """A fresh observer of these points, in model order."""
    return FourierObserver(asked, points)


class FourierObserver:
    """Collects each image's delta log-amplitudes."""

    def __init__(self, settings: Fourier, points: Sequence[Point]):
        self._settings = settings
        self._points = tuple(points)
        profiles = ("diagonal", "radial") if settings.radial else ("diagonal",)
        self._series = [(index, profile) for profile in profiles for index in range(len(points))]
        self._index = {(self._points[index].name, profile): i for i, (index, profile) in enumerate(self._series)}
        self._before = before(self._points)
        widths = [_width(self._points[index].grid, profile) for index, profile in self._series]
        places: dict[tuple[int | None, str], int] = {one: place for place, one in enumerate(self._series)}
        followed = [places.get((self._before[index].index, profile)) for index, profile in self._series]
        self._sums = ImageSums(widths, followed)

    def update(self, point: Point, maps: Tensor, positions: Tensor) -> None:
        if tuple(maps.shape[2:]) != tuple(point.grid):
            found = "x".join(map(str, maps.shape[2:]))
            raise TraceError(f"fourier at {point.name!r}: the map is {found}, its trace said {_grid_text(point.grid)}")
        images = positions.tolist()
        for profile in ("diagonal", "radial"):
            series = self._index.get((point.name, profile))
            if series is None:
                continue
            if not _width(point.grid, profile):
                self._sums.put(series, images, np.empty((len(images), 0)))
                continue
            measure = spectrum.diagonal_log_amplitude if profile == "diagonal" else spectrum.radial_log_amplitude
            values = measure(maps).cpu().double().numpy()
            refuse_non_finite("fourier", point, maps, images, values)
            # A difference from frequency 0 says nothing at frequency 0 itself: the level is kept in its place.
            self._sums.put(series, images, np.hstack([values[:, :1], values[:, 1:] - values[:, :1]]))

    def state(self) -> list[FourierState]:
        states = []
        for series, sums in self._sums.blocks():
            index, profile = self._series[series]
            states.append(FourierState(point=self._points[index].name, profile=profile, **columns_of(sums)))
        return states

    def load(self, rows: Sequence[Any]) -> None:
        for row in rows:
            self._sums.load(self._index[row.point, row.profile], sums_of(row))

    def rows(self) -> Iterator[FourierRow]:
        totals = self._sums.totals()
        by_point = sorted(range(len(self._series)), key=lambda series: self._series[series][0])
        for series in by_point:
            index, profile = self._series[series]
            yield from self._rows_of(self._points[index], self._before[index], profile, totals[series])

    def _rows_of(self, point: Point, other: Before, profile: str, sums: Sums) -> Iterator[FourierRow]:
        count = _width(point.grid, profile)
        labelling = self._settings.labelling if profile == "diagonal" else "true"
        head = (
            point.name,
            str(point.kind),
            point.stage,
            point.depth,
            *point.grid,
            point.channels,
            sums.images,
            labelling,
        )
        if not count:
            note = f"grid {_grid_text(point.grid)} is too small"
            yield FourierRow(*head, profile, None, None, None, None, point.follows, None, None, False, note, note)
            return
        axis = spectrum.frequencies(point.grid, count)
        if labelling == "paper":
            axis = np.linspace(0, 1, count).tolist()
        note = "" if sums.images else "no image was seen"
        level: float | None = None
        for k, frequency in enumerate(axis):
            mean, error = mean_and_error(sums.images, sums.total[k], sums.squares[k])
            change, change_error = mean_and_error(sums.change_images, sums.change_total[k], sums.change_squares[k])
            if k == 0:
                level = mean
                mean, error, change, change_error = (
                    None if value is None else 0.0 for value in (mean, error, change, change_error)
                )
            itself = None if mean is None or level is None else level + mean
            last = profile == "diagonal" and k == count - 1
            moved = (point.follows, change, change_error, last, other.note)
            yield FourierRow(*head, profile, frequency, mean, error, itself, *moved, note)


def _width(grid: tuple[int, int], profile: str) -> int:
    return spectrum.diagonal_length(grid) if profile == "diagonal" else spectrum.ring_count(grid)


def _grid_text(grid: tuple[int, int]) -> str:
    return f"{grid[0]}x{grid[1]}"
