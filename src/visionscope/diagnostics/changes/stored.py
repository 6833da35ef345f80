"""Sums over images as the columns of a stored row, and back."""

from typing import Any, Protocol

import numpy as np

from visionscope.numerics.statistics import Sums

Values = tuple[float, ...]


class StoredSums(Protocol):
    """The columns of a row that hold sums over a block of images, and over what changed in them."""

    start: int
    images: int
    sums: Values
    squares: Values
    change_images: int
    change_sums: Values
    change_squares: Values


def columns_of(sums: Sums) -> dict[str, Any]:
    """The columns that hold sums, by name.

    Args:
        sums: of one block of images.
    """
    return {
        "start": sums.start,
        "images": sums.images,
        "sums": tuple(sums.total.tolist()),
        "squares": tuple(sums.squares.tolist()),
        "change_images": sums.change_images,
        "change_sums": tuple(sums.change_total.tolist()),
        "change_squares": tuple(sums.change_squares.tolist()),
    }


def sums_of(row: StoredSums) -> Sums:
    """The sums that a row's columns hold.

    Args:
        row: as it was stored.
    """
    return Sums(
        row.start,
        row.images,
        np.array(row.sums),
        np.array(row.squares),
        row.change_images,
        np.array(row.change_sums),
        np.array(row.change_squares),
    )
