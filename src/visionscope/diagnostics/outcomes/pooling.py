"""All images of one model under one condition: spans put together, flags or counts of pixels made shares."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from visionscope.diagnostics.outcomes.rows import flags_of, pixel_counts_of, positions_of
from visionscope.numerics.paired import Flags, Values, mean_interval, wilson
from visionscope.numerics.segmentation import Counts, common_shares, pixel_accuracies


@dataclasses.dataclass(frozen=True)
class Pooled:
    """All images of one model under one condition.

    Attributes:
        rows: those that it was made from, in the order of positions.
        first: of them the first, with the leading columns.
        sample: names the images: two models that saw the same ones are compared image by image.
        positions: (n,) of the images in their sample, ascending.
        right: (n,) by position; of masks the share of the image's pixels.
        nll: mean cross-entropy.
        pixels: (n, 3, classes) by position, of masks; None where images have one class each.
    """

    rows: Sequence[Mapping[str, Any]]
    first: Mapping[str, Any]
    sample: str
    positions: NDArray[np.int64]
    right: Flags | Values
    nll: float
    pixels: Counts | None = None

    @property
    def chance(self) -> float:
        """The accuracy of guessing: 1 / classes; of masks that of always answering the commonest class."""
        return float(np.mean(self.guessed))

    @property
    def guessed(self) -> float | Values:
        """The same image by image: of masks (n,) the share of each image that is of the commonest class."""
        return 1 / int(self.first["classes"]) if self.pixels is None else common_shares(self.pixels)

    @property
    def ends(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy: Wilson's, of masks the bootstrap's over images."""
        if self.pixels is None:
            return wilson(int(self.right.sum()), len(self.right))
        return mean_interval(self.right.astype(np.float64))

    @property
    def intact_low(self) -> float:
        """What is held against `chance`: the lower end of the accuracy's 95 % interval.

        Of masks the chance is a mean over the same images, no constant. There it is the chance plus the lower end for
        the mean of each image's own difference, its pixel accuracy minus the share of the commonest class.
        """
        if self.pixels is None:
            return self.ends[0]
        shares = common_shares(self.pixels)
        return float(shares.mean()) + mean_interval(self.right - shares)[0]


def pooled(table: pa.Table, keys: Sequence[str]) -> dict[tuple[Any, ...], Pooled]:
    """The spans of each model under each condition, put together in the order of positions.

    Args:
        table: rows of `OutcomeRow`'s kind with the leading columns.
        keys: the columns that name the condition.

    Returns:
        By (model, job, *condition), in the order of the table.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        groups.setdefault((row["model"], row["job"], *(row[key] for key in keys)), []).append(row)
    found = {}
    for key, rows in groups.items():
        rows.sort(key=lambda row: int(row["start"]))
        images = sum(row["images"] for row in rows)
        pixels = pixel_counts_of(rows)
        found[key] = Pooled(
            rows=rows,
            first=rows[0],
            sample=images_of(rows),
            positions=positions_of(rows),
            right=flags_of(rows) if pixels is None else pixel_accuracies(pixels),
            nll=sum(row["nll"] * row["images"] for row in rows) / images,
            pixels=pixels,
        )
    return found


def images_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Names the images that rows tell of, with the spans that are there: a model that is half done saw other images.

    Args:
        rows: of `OutcomeRow`'s kind, of one model.
    """
    spans = sorted({(row["start"], row["images"]) for row in rows})
    return " ".join([str(rows[0]["sample"]), *(f"{start}+{images}" for start, images in spans)])


def right_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The columns `right` and `pixel_accuracy` of a table with a row per image, of which one is None.

    Args:
        rows: of `OutcomeRow`'s kind, in the order of positions.
    """
    pixels = pixel_counts_of(rows)
    if pixels is None:
        return {"right": flags_of(rows), "pixel_accuracy": None}
    return {"right": None, "pixel_accuracy": pixel_accuracies(pixels)}
