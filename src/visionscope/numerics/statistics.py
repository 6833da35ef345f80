"""Means over images with their standard errors, from sums that are stored by span of images and added in span order."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from visionscope.core.sample import SPAN
from visionscope.errors import StoreError

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Sums:
    """Sums over some images of one series of values, and of their change since another series.

    Attributes:
        start: position of the first image.
        images: how many images.
        total: sum per value.
        squares: sum of squares per value.
        change_images: images of which both series are known.
        change_total: sum of the paired differences.
        change_squares: sum of their squares.
    """

    start: int
    images: int
    total: Array
    squares: Array
    change_images: int
    change_total: Array
    change_squares: Array


def mean_and_error(images: int, total: float, squares: float) -> tuple[float | None, float | None]:
    """Mean over images and its standard error sqrt(variance / n); None where there are too few images.

    Args:
        images: n.
        total: sum over images.
        squares: sum of squares over images.
    """
    if images == 0:
        return None, None
    mean = float(total) / images
    if images == 1:
        return mean, None
    # Of values that are all alike rounding can leave less than nothing.
    variance = max(0.0, float(squares) - float(total) * mean) / (images - 1)
    return mean, math.sqrt(variance / images)


class ImageSums:
    """Collects a vector per image for each of several series, such as one per point, and reduces them to `Sums`.

    Values wait by position until their span is complete, so the sums do not depend on the batches or the order in which
    images arrive, and those of an uninterrupted run equal, to the last bit, those of a run put together from its parts.
    """

    def __init__(self, widths: Sequence[int], previous: Sequence[int | None]):
        """Starts empty.

        Args:
            widths: length of each series' vector.
            previous: for each series the one that its change is measured from, of equal width, or None.
        """
        self._widths = tuple(widths)
        self._previous = tuple(previous)
        self._open: dict[int, _Span] = {}
        self._closed: dict[tuple[int, int], Sums] = {}

    def put(self, series: int, positions: Sequence[int], values: Array) -> None:
        """Takes the vectors of some images.

        Args:
            series: which series.
            positions: of the images in the sample, in any order.
            values: (images, width).
        """
        place = np.asarray(positions, dtype=np.int64)
        for index in np.unique(place // SPAN).tolist():
            chosen = place // SPAN == index
            span = self._open.setdefault(index, _Span(self._widths))
            span.values[series][place[chosen] % SPAN] = values[chosen]
            span.seen[series, place[chosen] % SPAN] = True
            self._close_if_complete(index)

    def load(self, series: int, sums: Sums) -> None:
        """Adds stored sums.

        Args:
            series: which series.
            sums: over images that are not in yet.

        Raises:
            StoreError: when sums from the same first position are there already, or sums are not one per value.
        """
        width = self._widths[series]
        for own in (sums.total, sums.squares, sums.change_total, sums.change_squares):
            if len(own) != width:
                raise StoreError(
                    f"stored sums are of {len(own)} values where there are {width}: another grid or damage"
                )
        self._add_blocks(self._closed, {(sums.start, series): sums})

    def blocks(self) -> Iterator[tuple[int, Sums]]:
        """Series and sums of every span seen so far, ordered by first position, then series."""
        blocks = dict(self._closed)
        for index, span in self._open.items():
            self._add_blocks(blocks, self._reduce(index, span))
        for start, series in sorted(blocks):
            yield series, blocks[start, series]

    def totals(self) -> list[Sums]:
        """The sums over all images of each series, added in the order of `blocks`."""
        totals = [_empty(width) for width in self._widths]
        for series, sums in self.blocks():
            totals[series] = _add(totals[series], sums)
        return totals

    def _close_if_complete(self, index: int) -> None:
        if self._open[index].seen.all():
            self._add_blocks(self._closed, self._reduce(index, self._open.pop(index)))

    @staticmethod
    def _add_blocks(blocks: dict[tuple[int, int], Sums], new: dict[tuple[int, int], Sums]) -> None:
        for start, series in new:
            if (start, series) in blocks:
                raise StoreError(f"the images from position {start} on are there already: a part came in twice")
        blocks.update(new)

    def _reduce(self, index: int, span: "_Span") -> dict[tuple[int, int], Sums]:
        blocks = {}
        for series, values in enumerate(span.values):
            seen = span.seen[series]
            if not seen.any():
                continue
            own = values[seen]
            before = self._previous[series]
            both = seen & span.seen[before] if before is not None else np.zeros_like(seen)
            change = values[both] - span.values[before][both] if before is not None else own[:0]
            start = index * SPAN + int(seen.argmax())
            blocks[start, series] = Sums(
                start,
                len(own),
                own.sum(0),
                (own * own).sum(0),
                len(change),
                change.sum(0),
                (change * change).sum(0),
            )
        return blocks


class _Span:
    """The vectors of one span that is not complete yet."""

    def __init__(self, widths: Sequence[int]):
        self.values = [np.zeros((SPAN, width)) for width in widths]
        self.seen = np.zeros((len(widths), SPAN), dtype=bool)


def _empty(width: int) -> Sums:
    return Sums(0, 0, np.zeros(width), np.zeros(width), 0, np.zeros(width), np.zeros(width))


def _add(a: Sums, b: Sums) -> Sums:
    return Sums(
        min(a.start, b.start) if a.images else b.start,
        a.images + b.images,
        a.total + b.total,
        a.squares + b.squares,
        a.change_images + b.change_images,
        a.change_total + b.change_total,
        a.change_squares + b.change_squares,
    )
