"""How heavy the tails of feature maps are, point by point: an observing diagnostic in one file."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pyarrow as pa
from torch import Tensor

from visionscope.core.diagnostic import Tables, Theme
from visionscope.core.figure import Figure, Panel
from visionscope.core.finding import UNKNOWN, Finding, about, interval, number, span, verdict_of
from visionscope.core.grouping import depth_line, images_text, rows_by_model
from visionscope.core.measure import Measure
from visionscope.core.subject import Point
from visionscope.core.table import column


@dataclasses.dataclass(frozen=True)
class KurtosisRow:
    """Kurtosis of one point's maps."""

    point: str = column("name of the point")
    kind: str = column("what its branch does")
    depth: float = column("depth of the point, 0 to 1")
    images: int = column("images in the mean", role="count")
    kurtosis: float | None = column("excess kurtosis over positions, mean over channels and images")
    standard_error: float | None = column("its standard error over images")
    note: str = column("why there is no number, or empty")


@dataclasses.dataclass(frozen=True)
class KurtosisState:
    """Sums over the images of one part."""

    point: str = column("name of the point")
    images: int = column("images in the sums")
    total: float = column("sum of kurtoses")
    squares: float = column("sum of their squares")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kurtosis:
    """Excess kurtosis of feature maps: E[(m - mean)^4] / E[(m - mean)^2]^2 - 3 over the positions of a channel.

    The mean is taken over the channels that vary at all, then over images. Zero is a Gaussian's, above it tails are
    heavier: few positions stand out.
    """

    name: ClassVar[str] = "kurtosis"
    version: ClassVar[int] = 1
    row: ClassVar[type] = KurtosisRow
    state_row: ClassVar[type] = KurtosisState
    theme: ClassVar[str] = Theme.FEATURE_MAPS
    place: ClassVar[int] = 9

    def observer(self, points: Sequence[Point]) -> "KurtosisObserver":
        return KurtosisObserver(points)

    def is_whole(self, part: str, rows: Sequence[KurtosisState], points: Sequence[Point]) -> bool:
        start, stop = map(int, part.split("-"))
        return [row.point for row in rows] == [p.name for p in points] and all(r.images <= stop - start for r in rows)

    def figure(self, table: pa.Table) -> Figure:
        panels = []
        for model, rows in rows_by_model(table).items():
            known = [row for row in rows if row["kurtosis"] is not None]
            line = depth_line(model, known, "kurtosis", (), lambda row: f"{row['point']} ({row['kind']})")
            panels.append(
                Panel(model=model, title=model, x_label="normalized depth", y_label="excess kurtosis", lines=(line,))
            )
        caption = f"Excess kurtosis over positions, mean over channels and {images_text(table)}; bands: standard error."
        return Figure(name=self.name, title="Tails of feature maps", caption=caption, panels=tuple(panels))

    def findings(self, tables: Tables) -> list[Finding]:
        found = []
        for rows in rows_by_model(tables["rows"]).values():
            known = [row for row in rows if row["kurtosis"] is not None]
            if known:
                found += [_heaviest(known), _from_first_to_last(known[0], known[-1])]
        return found

    def measures(self, tables: Tables) -> list[Measure]:
        found = []
        for model, rows in rows_by_model(tables["rows"]).items():
            known = [row for row in rows if row["kurtosis"] is not None]
            found += [_at_the_end(model, known[-1])] if known else []
        return found

    def limits(self, tables: Tables) -> list[str]:
        return ["Kurtosis rests on the few positions that stand out most: on small grids it is rough, and biased low."]


def _at_the_end(model: str, row: dict) -> Measure:
    ends = interval(row["kurtosis"], row["standard_error"], row["images"] - 1) or (None, None)
    return Measure(
        model=model,
        name="kurtosis, last point",
        meaning="excess kurtosis over the positions of the last point's maps, mean over channels and images",
        value=row["kurtosis"],
        low=ends[0],
        high=ends[1],
        n=row["images"],
    )


def _heaviest(rows: Sequence[dict]) -> Finding:
    row = max(rows, key=lambda row: row["kurtosis"])
    said = f"feature maps have the heaviest tails at {row['point']} (excess kurtosis {number(row['kurtosis'])})"
    return about(rows, said, columns=("point", "kind", "kurtosis", "standard_error"), strength=0.1)


def _from_first_to_last(first: dict, last: dict) -> Finding:
    difference = last["kurtosis"] - first["kurtosis"]
    errors = first["standard_error"], last["standard_error"]
    # Both rest on the same images: for any correlation between them the true error is no larger than the sum.
    ends = interval(difference, None if None in errors else sum(errors), first["images"] - 1)
    verdict = {"raises": "grow heavier", "lowers": "grow lighter"}.get(verdict_of(ends))
    said = f"tails {verdict or 'show no clear change'} from {first['point']} to {last['point']}"
    return about(
        [first, last],
        said,
        detail=[f"Difference {number(difference)} ({span(ends)})."],
        columns=("point", "kurtosis", "standard_error", "images"),
        verdict="described" if verdict else UNKNOWN,
        strength=0.2 if verdict else 0.0,
    )


class KurtosisObserver:
    """Adds up the kurtosis of the images."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = points
        self._sums = {point.name: [0, 0.0, 0.0] for point in points}

    def update(self, point: Point, maps: Tensor, positions: Tensor) -> None:
        values = maps.double().flatten(2)
        centred = values - values.mean(2, keepdim=True)
        variance = centred.square().mean(2)
        varies = variance > 0
        each = centred.pow(4).mean(2) / variance.where(varies, 1).square() - 3
        for kurtosis in (each.where(varies, 0).sum(1) / varies.sum(1)).tolist():
            if math.isfinite(kurtosis):  # of an image without any channel that varies there is none
                self._add(point.name, 1, kurtosis, kurtosis**2)

    def load(self, rows: Sequence[KurtosisState]) -> None:
        for row in rows:
            self._add(row.point, row.images, row.total, row.squares)

    def _add(self, name: str, *values: float) -> None:
        self._sums[name] = [one + other for one, other in zip(self._sums[name], values, strict=True)]

    def state(self) -> list[KurtosisState]:
        return [KurtosisState(name, *sums) for name, sums in self._sums.items()]

    def rows(self) -> Iterator[KurtosisRow]:
        for point in self._points:
            images, total, squares = self._sums[point.name]
            mean = total / images if images else None
            error = None
            if mean is not None and images > 1:
                error = math.sqrt(max(0.0, squares / images - mean**2) / (images - 1))
            note = "" if images else "no channel varies over positions"
            yield KurtosisRow(point.name, str(point.kind), point.depth, images, mean, error, note)
