"""What compression comes to at each point: changes of high frequencies, cosine and CKA, with intervals."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from visionscope.core.finding import interval
from visionscope.core.grouping import rows_by_model
from visionscope.core.table import column, to_table, with_leading_of
from visionscope.diagnostics.compression.question import Compression
from visionscope.numerics.cka import cka
from visionscope.numerics.statistics import mean_and_error

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class ChangeRow:
    """What one quality does to one point's maps."""

    point: str = column("name of the point")
    kind: str = column("what the branch does")
    stage: int = column("stage of the network, 0 = stem")
    depth: float = column("index of the point / (number of points - 1)")
    quality: int = column("of the JPEG, 100 the best")
    high_change: float | None = column(
        "mean over images of the relative log-amplitude at the highest frequency, compressed less clean",
        "natural log",
        role="outcome",
        ends=("high_change_low", "high_change_high"),
    )
    high_change_low: float | None = column("lower end of its 95 % interval, paired over images", "natural log")
    high_change_high: float | None = column("upper end", "natural log")
    cosine: float = column(
        "mean over images of the cosine between the clean and the compressed image's map",
        role="outcome",
        ends=("cosine_low", "cosine_high"),
    )
    cosine_low: float | None = column("lower end of its 95 % interval over images")
    cosine_high: float | None = column("upper end")
    cka: float | None = column(
        "linear CKA of the clean with the compressed images' maps; null where no group is whole or a point does not "
        "vary",
        title="CKA",
        role="outcome",
        ends=("cka_low", "cka_high"),
    )
    cka_low: float | None = column("lower end of its 95 % interval (jackknife over groups)")
    cka_high: float | None = column("upper end")
    images: int = column("images in the means", role="count")
    dropped: int = column("images in no whole group of 32: left out of CKA", role="count")


def summary(asked: Compression, table: pa.Table) -> pa.Table:
    """A row per model, point and quality, over all parts."""
    found = []
    for rows in rows_by_model(table).values():
        together: dict[tuple[str, int], list[Row]] = {}
        for row in rows:
            together.setdefault((row["point"], row["quality"]), []).append(row)
        found += [(own[0], _change(own)) for own in together.values()]
    return with_leading_of(to_table(ChangeRow, [own for _, own in found]), [first for first, _ in found])


def _change(rows: Sequence[Row]) -> ChangeRow:
    first, images = rows[0], sum(row["images"] for row in rows)
    high, high_ends = _mean(rows, images, "high_change", "high_squares")
    cosine, cosine_ends = _mean(rows, images, "cosine", "cosine_squares")
    assert cosine is not None
    value, ends = _cka([number for row in rows for number in row["hsic"]])
    return ChangeRow(
        **{name: first[name] for name in ("point", "kind", "stage", "depth", "quality")},
        high_change=high,
        high_change_low=high_ends[0],
        high_change_high=high_ends[1],
        cosine=cosine,
        cosine_low=cosine_ends[0],
        cosine_high=cosine_ends[1],
        cka=value,
        cka_low=ends[0],
        cka_high=ends[1],
        images=images,
        dropped=sum(row["dropped"] for row in rows),
    )


_Ends = tuple[float | None, float | None]


def _mean(rows: Sequence[Row], images: int, total: str, squares: str) -> tuple[float | None, _Ends]:
    if rows[0][total] is None:
        return None, (None, None)
    mean, error = mean_and_error(images, sum(row[total] for row in rows), sum(row[squares] for row in rows))
    return mean, interval(mean, error, images - 1) or (None, None)


def _cka(packed: Sequence[float]) -> tuple[float | None, _Ends]:
    if not packed:
        return None, (None, None)
    groups = np.array(packed).reshape(-1, 3)
    values, errors = cka(groups[:, :1, None], groups[:, 1:2], groups[:, 2:])
    value, error = float(values[0, 0]), float(errors[0, 0])
    if math.isnan(value):
        return None, (None, None)
    return value, interval(value, error, len(groups) - 1) or (None, None)
