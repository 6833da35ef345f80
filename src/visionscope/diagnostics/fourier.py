"""Which spatial frequencies the feature maps hold, point by point (Park & Kim 2022, Fig. 2a, 8 and D.2)."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.following import Before, before
from visionscope.core.grouping import depth_line, images_text, rows_by_model, stage_boundaries
from visionscope.core.rules import check_rules, rule
from visionscope.core.spans import span_of
from visionscope.core.subject import Point
from visionscope.core.table import column
from visionscope.errors import TraceError, VisionscopeError
from visionscope.numerics import spectrum
from visionscope.numerics.layouts import working_type
from visionscope.numerics.statistics import ImageSums, Sums, mean_and_error

_LABELLINGS = ("true", "paper")


@dataclasses.dataclass(frozen=True)
class FourierRow:
    """Log-amplitude of one point at one frequency, relative to frequency 0."""

    point: str = column("name of the point")
    kind: str = column("what the point's branch does")
    stage: int = column("stage of the network, 0 = stem")
    depth: float = column("index of the point / (number of points - 1)")
    grid_height: int = column("height of the feature map", "positions")
    grid_width: int = column("width of the feature map", "positions")
    channels: int = column("channels of the feature map")
    images: int = column("images in the mean")
    labelling: str = column("`true` frequencies, or those that the paper's notebook writes at them")
    profile: str = column("`diagonal`: half-diagonal of the spectrum; `radial`: rings")
    frequency: float | None = column("spatial frequency per axis (diagonal) or radius (radial)", "pi rad/pixel")
    delta_log_amplitude: float | None = column("log-amplitude minus that at frequency 0, mean", "natural log")
    standard_error: float | None = column("of the mean over images", "natural log")
    log_amplitude: float | None = column("log-amplitude itself, not relative to that at frequency 0", "natural log")
    follows: str = column("the point that holds what the branch received; empty where none does")
    change: float | None = column("delta_log_amplitude minus that of the point it follows", "natural log")
    change_error: float | None = column("standard error of the mean paired difference over images", "natural log")
    high_frequency: bool = column("whether this is the last half-diagonal frequency below Nyquist")
    change_note: str = column("why there is no change")
    note: str = column("why there is no value")


@dataclasses.dataclass(frozen=True)
class FourierState:
    """Sums over the images of one part, per frequency of one point."""

    point: str = column("name of the point")
    profile: str = column("`diagonal` or `radial`")
    start: int = column("position of the first image in the sample")
    images: int = column("images in the sums")
    sums: tuple[float, ...] = column(
        "sum of log-amplitude at frequency 0, then of the differences from it", "natural log"
    )
    squares: tuple[float, ...] = column("sum of its squares")
    change_images: int = column("images in the sums of changes")
    change_sums: tuple[float, ...] = column("sum of paired differences from the point it follows", "natural log")
    change_squares: tuple[float, ...] = column("sum of their squares")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fourier:
    """Delta log-amplitude of every point: log|DFT| at a frequency minus log|DFT| at 0, mean over channels and images.

    The logarithm comes before the mean, and amplitudes get 1e-6 first, as in the authors' notebook; the half-diagonal
    is theirs. Unlike the notebook: the mean is over a sample, not one image; prefix tokens are dropped by what the
    trace says, not by model name; frequencies are the true ones (the notebook's linspace(0, 1) calls the last bin
    1.0 pi where a 14 x 14 map has 0.857 pi); grids may be odd or not square. Values compare between points of equal
    grid only; the mean of a map enters all of them, as frequency 0. A change is measured from the stream that the
    branch received (`visionscope.core.following`).

    Attributes:
        labelling: `true`, or `paper` to label the half-diagonal from 0 to 1 as the notebook does.
        radial: also average the whole spectrum over rings; costs a full FFT per map.

    Raises:
        ConfigError: for another labelling.
    """

    name: ClassVar[str] = "fourier"
    version: ClassVar[int] = 3
    row: ClassVar[type] = FourierRow
    state_row: ClassVar[type] = FourierState

    labelling: str = rule("true", choices=("true", "paper"))
    radial: bool = False

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def observer(self, points: Sequence[Point]) -> "FourierObserver":
        """A fresh observer of these points.

        Args:
            points: in model order.
        """
        return FourierObserver(self, points)

    def is_whole(self, part: str, rows: Sequence[FourierState], points: Sequence[Point]) -> bool:
        """Whether stored rows are all of a part's and no other's.

        Args:
            part: a span of images.
            rows: `FourierState` as they were stored.
            points: in model order.
        """
        start, stop = span_of(part)
        profiles = ("diagonal", "radial") if self.radial else ("diagonal",)
        expected = [(point.name, profile, start, stop - start) for profile in profiles for point in points]
        return sorted((row.point, row.profile, row.start, row.images) for row in rows) == sorted(expected)

    def figure(self, table: pa.Table) -> Figure:
        """Delta log-amplitude against frequency, a panel per model; the highest frequency against depth.

        Args:
            table: rows of `FourierRow` with the column `model`.
        """
        groups = rows_by_model(table)
        panels = [_spectrum_panel(model, rows) for model, rows in groups.items()]
        panels.append(_depth_panel(groups))
        axis = "labelled 0 to 1 as in the paper's notebook" if "paper" in _values(table, "labelling") else "true"
        return Figure(
            name="fourier",
            title="Fourier analysis of feature maps",
            caption=(
                "Log-amplitude (natural logarithm) along the half-diagonal of the spectrum minus that at frequency 0, "
                f"mean over channels and {images_text(table)}; the logarithm is taken before the mean. "
                f"Frequencies are {axis}. Bands: one standard error over images. "
                "High frequency is the last bin below Nyquist; lines break where the grid or the number of channels "
                "changes, because no change can be told across that."
            ),
            panels=tuple(panels),
        )


class FourierObserver:
    """Collects each image's delta log-amplitudes; see `visionscope.core.diagnostic.Observer`."""

    def __init__(self, settings: Fourier, points: Sequence[Point]):
        """Starts empty.

        Args:
            settings: of the diagnostic.
            points: in model order.
        """
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
        """Takes the maps of one point.

        Args:
            point: one of the observer's points.
            maps: (batch, channel, height, width).
            positions: (batch,) of the images in the sample.

        Raises:
            TraceError: when the grid is not the point's.
            VisionscopeError: when a map holds NaN or infinity, naming point and image.
        """
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
            if not np.isfinite(values).all():
                bad = ~np.isfinite(values).all(axis=1)
                raise VisionscopeError(_complaint(point, maps, images, int(bad.argmax())))
            # A difference from frequency 0 says nothing at frequency 0 itself: the level is kept in its place.
            self._sums.put(series, images, np.hstack([values[:, :1], values[:, 1:] - values[:, :1]]))

    def state(self) -> list[FourierState]:
        """The sums of every span, to be stored."""
        states = []
        for series, sums in self._sums.blocks():
            index, profile = self._series[series]
            states.append(
                FourierState(
                    self._points[index].name,
                    profile,
                    sums.start,
                    sums.images,
                    tuple(sums.total.tolist()),
                    tuple(sums.squares.tolist()),
                    sums.change_images,
                    tuple(sums.change_total.tolist()),
                    tuple(sums.change_squares.tolist()),
                )
            )
        return states

    def load(self, rows: Sequence[Any]) -> None:
        """Adds stored sums.

        Args:
            rows: `FourierState` of one part.

        Raises:
            StoreError: when a part is loaded twice.
        """
        for row in rows:
            self._sums.load(
                self._index[row.point, row.profile],
                Sums(
                    row.start,
                    row.images,
                    np.array(row.sums),
                    np.array(row.squares),
                    row.change_images,
                    np.array(row.change_sums),
                    np.array(row.change_squares),
                ),
            )

    def rows(self) -> Iterator[FourierRow]:
        """A row per point and frequency, the points in model order."""
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


def _complaint(point: Point, maps: Tensor, images: list[int], first: int) -> str:
    count = int((~torch.isfinite(maps[first])).sum())
    what = f"{count} non-finite values" if count else f"values too large for {working_type(maps)}"
    return f"fourier at {point.name!r}: {what} in image position {images[first]}"


def _values(table: pa.Table, name: str) -> set[str]:
    return set(table.column(name).to_pylist())


def _spectrum_panel(model: str, rows: list[dict[str, Any]]) -> Panel:
    by_point: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["profile"] == "diagonal" and row["delta_log_amplitude"] is not None:
            by_point.setdefault(row["point"], []).append(row)
    lines = tuple(
        Line(
            name=point,
            x=tuple(row["frequency"] for row in own),
            y=tuple(row["delta_log_amplitude"] for row in own),
            error=_errors(own),
            shade=own[0]["depth"],
            kind=own[0]["kind"],
        )
        for point, own in by_point.items()
    )
    return Panel(
        model=model,
        title=model,
        x_label="frequency (π rad/pixel)",
        y_label="Δ log-amplitude",
        lines=lines,
        group="spectrum",
    )


def _depth_panel(groups: dict[str, list[dict[str, Any]]]) -> Panel:
    lines = []
    boundaries: tuple[float, ...] = ()
    for model, rows in groups.items():
        own = [row for row in rows if row["high_frequency"] and row["delta_log_amplitude"] is not None]
        lines.append(depth_line(model, own, "delta_log_amplitude", ("grid_height", "grid_width", "channels"), _said))
        boundaries = stage_boundaries([row["depth"] for row in own], [row["stage"] for row in own])
    return Panel(
        model="",
        title="High-frequency amplitude",
        x_label="normalized depth",
        y_label="Δ log-amplitude at the last frequency below Nyquist",
        lines=tuple(lines),
        group="depth",
        boundaries=boundaries if len(groups) == 1 else (),
    )


def _said(row: dict[str, Any]) -> str:
    grid = _grid_text((row["grid_height"], row["grid_width"]))
    return f"{row['point']} ({row['kind']}), grid {grid}, {row['frequency']:.3g} π rad/pixel"


def _errors(rows: list[dict[str, Any]]) -> tuple[float, ...] | None:
    errors = tuple(row["standard_error"] for row in rows)
    return None if None in errors else errors
