"""How much the feature maps vary over space, point by point (Park & Kim 2022, Fig. 9 and D.1)."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from visionscope.core.figure import Figure, Panel
from visionscope.core.following import before
from visionscope.core.grouping import depth_line, images_text, rows_by_model, stage_boundaries
from visionscope.core.spans import span_of
from visionscope.core.subject import Point
from visionscope.core.table import column
from visionscope.errors import VisionscopeError
from visionscope.numerics.layouts import working_type
from visionscope.numerics.moments import spatial_variance
from visionscope.numerics.statistics import ImageSums, Sums, mean_and_error


@dataclasses.dataclass(frozen=True)
class VarianceRow:
    """Spatial variance of one point's feature maps."""

    point: str = column("name of the point")
    kind: str = column("what the point's branch does")
    stage: int = column("stage of the network, 0 = stem")
    depth: float = column("index of the point / (number of points - 1)")
    grid_height: int = column("height of the feature map", "positions")
    grid_width: int = column("width of the feature map", "positions")
    channels: int = column("channels of the feature map")
    images: int = column("images in the mean")
    variance: float | None = column("unbiased variance over positions, mean over channels and images", "feature units²")
    standard_error: float | None = column("of the mean over images", "feature units²")
    follows: str = column("the point that holds what the branch received; empty where none does")
    change: float | None = column("variance minus that of the point it follows", "feature units²")
    change_error: float | None = column("standard error of the mean paired difference over images", "feature units²")
    change_note: str = column("why there is no change")
    note: str = column("why there is no value")


@dataclasses.dataclass(frozen=True)
class VarianceState:
    """Sums over the images of one part."""

    point: str = column("name of the point")
    start: int = column("position of the first image in the sample")
    images: int = column("images in the sums")
    total: float = column("sum of variances", "feature units²")
    squares: float = column("sum of their squares")
    change_images: int = column("images in the sums of changes")
    change_total: float = column("sum of paired differences from the point it follows", "feature units²")
    change_squares: float = column("sum of their squares")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variance:
    """Feature-map variance: over positions, per channel and image, unbiased; then the mean over channels and images.

    As in the authors' notebook (torch.var over height and width), over a sample instead of one batch. The change is
    measured image by image from the stream that the branch received, where a point of the same grid and channels holds
    it (`visionscope.core.following`): the stem counts as what the first block of a plain transformer changes.
    """

    name: ClassVar[str] = "variance"
    version: ClassVar[int] = 3
    row: ClassVar[type] = VarianceRow
    state_row: ClassVar[type] = VarianceState

    def observer(self, points: Sequence[Point]) -> "VarianceObserver":
        """A fresh observer of these points.

        Args:
            points: in model order.
        """
        return VarianceObserver(points)

    def is_whole(self, part: str, rows: Sequence[VarianceState], points: Sequence[Point]) -> bool:
        """Whether stored rows are all of a part's and no other's.

        Args:
            part: a span of images.
            rows: `VarianceState` as they were stored.
            points: in model order.
        """
        start, stop = span_of(part)
        expected = [(point.name, start, stop - start) for point in points if not _too_small(point)]
        return sorted((row.point, row.start, row.images) for row in rows) == sorted(expected)

    def figure(self, table: pa.Table) -> Figure:
        """Variance against depth, a panel per model.

        Args:
            table: rows of `VarianceRow` with the column `model`.
        """
        panels = tuple(_panel(model, rows) for model, rows in rows_by_model(table).items())
        said = [
            f"Unbiased variance over the positions of a feature map, mean over channels and {images_text(table)}.",
        ]
        if any(panel.lines[0].error is not None for panel in panels):
            said.append("Bands: one standard error over images.")
        if any(panel.boundaries for panel in panels):
            where = "Vertical lines, where models stand side by side" if len(panels) > 1 else "Vertical lines"
            said.append(f"{where}: a stage begins.")
        if any(math.isnan(y) for panel in panels for y in panel.lines[0].y):
            said.append("Lines break where the grid or the number of channels changes.")
        return Figure(name="variance", title="Feature-map variance", caption=" ".join(said), panels=panels)


class VarianceObserver:
    """Collects each image's spatial variance; see `visionscope.core.diagnostic.Observer`."""

    def __init__(self, points: Sequence[Point]):
        """Starts empty.

        Args:
            points: in model order.
        """
        self._points = tuple(points)
        self._index = {point.name: index for index, point in enumerate(points)}
        self._before = before(points)
        self._sums = ImageSums([1] * len(points), [one.index for one in self._before])

    def update(self, point: Point, maps: Tensor, positions: Tensor) -> None:
        """Takes the maps of one point.

        Args:
            point: one of the observer's points.
            maps: (batch, channel, height, width).
            positions: (batch,) of the images in the sample.

        Raises:
            VisionscopeError: when a map holds NaN or infinity, naming point and image.
        """
        if _too_small(point):
            return
        images = positions.tolist()
        values = spatial_variance(maps).cpu().double().numpy()
        if not np.isfinite(values).all():
            first = int((~np.isfinite(values)).argmax())
            count = int((~torch.isfinite(maps[first])).sum())
            what = f"{count} non-finite values" if count else f"values too large for {working_type(maps)}"
            raise VisionscopeError(f"variance at {point.name!r}: {what} in image position {images[first]}")
        self._sums.put(self._index[point.name], images, values[:, None])

    def state(self) -> list[VarianceState]:
        """The sums of every span, to be stored."""
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
        """Adds stored sums.

        Args:
            rows: `VarianceState` of one part.

        Raises:
            StoreError: when a part is loaded twice.
        """
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
        """A row per point, in model order."""
        for point, other, sums in zip(self._points, self._before, self._sums.totals(), strict=True):
            mean, error = mean_and_error(sums.images, sums.total[0], sums.squares[0])
            change, change_error = mean_and_error(sums.change_images, sums.change_total[0], sums.change_squares[0])
            head = (point.name, str(point.kind), point.stage, point.depth, *point.grid, point.channels, sums.images)
            note = _note(point, sums.images)
            moved = (point.follows, change, change_error, other.note)
            yield VarianceRow(*head, mean, error, *moved, note)


def _too_small(point: Point) -> bool:
    return point.grid[0] * point.grid[1] < 2


def _note(point: Point, images: int) -> str:
    if _too_small(point):
        return "a single position has no spatial variance"
    return "" if images else "no image was seen"


def _panel(model: str, rows: list[dict[str, Any]]) -> Panel:
    own = [row for row in rows if row["variance"] is not None]
    line = depth_line(model, own, "variance", ("grid_height", "grid_width", "channels"), _said)
    return Panel(
        model=model,
        title=model,
        x_label="normalized depth",
        y_label="feature-map variance",
        lines=(line,),
        boundaries=stage_boundaries([row["depth"] for row in own], [row["stage"] for row in own]),
    )


def _said(row: dict[str, Any]) -> str:
    return f"{row['point']} ({row['kind']})"
