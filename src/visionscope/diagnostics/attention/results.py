"""What heads come to: their means over all images, the last attention against the first, the places of a map."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.finding import interval
from visionscope.core.grouping import rows_by_model
from visionscope.core.table import column, to_table, with_leading_of
from visionscope.diagnostics.attention.question import AttentionHeads
from visionscope.numerics.ranks import rank_correlation

Row = Mapping[str, Any]
BY_DEPTH = "rank correlation of distance with depth"
_LEAST_POINTS = 5
_UNITS = {"distance": "pixels", "entropy": "nat", "diversity": "", "mutual_information": "", "sink_share": ""}
_NAMES = {"mutual_information": "mutual information", "sink_share": "sink share"}
_SPREAD = (*_UNITS, "sink_value_norm")


@dataclasses.dataclass(frozen=True)
class HeadSummaryRow:
    """One head of one point over all images, or the mean over the point's heads."""

    point: str = column("name of the point")
    stage: int = column("stage of the network, 0 = stem")
    depth: float = column("index of the point / (number of points - 1)")
    head: int | None = column("number of the head, from 0; null for the mean over the point's heads")
    heads: int = column("heads that could be read at the point")
    reach: str = column("what a query can look at: global, windows or shifted windows", role="convention")
    tokens: int = column("keys of one query, prefix tokens included", role="convention")
    images: int = column("images in the means", role="count")
    distance: float | None = column(
        "mean distance between query and key under the attention", "pixels of the input", spread="distance_error"
    )
    distance_error: float | None = column("its standard error over images", "pixels")
    distance_share: float | None = column("distance / diagonal of the input image")
    uniform_distance: float | None = column("the same distance if all keys were looked at alike", "pixels")
    entropy: float | None = column(
        "of a query's distribution over its keys, mean over queries", "nat", spread="entropy_error"
    )
    entropy_error: float | None = column("its standard error over images", "nat")
    entropy_share: float | None = column("entropy / log(tokens)")
    diversity: float | None = column(
        "1 - cosine similarity with the point's other heads, mean over them; null for one", spread="diversity_error"
    )
    diversity_error: float | None = column("its standard error over images")
    mutual_information: float | None = column(
        "of query and key, normalised: 0 where all queries look alike", spread="mutual_information_error"
    )
    mutual_information_error: float | None = column("its standard error over images")
    sink_share: float | None = column("share of all attention that the most attended token gets", percent=True)
    sink_share_error: float | None = column("its standard error over images")
    sink_is_prefix: float | None = column(
        "share of images in which that is a class or register token; null without any", percent=True
    )
    sink_value_norm: float | None = column(
        "norm of that token's value / mean norm of all; null where values are unknown",
        spread="sink_value_norm_error",
    )
    sink_value_norm_error: float | None = column("its standard error over images")
    note: str = column("why there is no value")


@dataclasses.dataclass(frozen=True)
class DepthRow:
    """How the last attention of a network differs from the first, or whether distance goes with depth."""

    number: str = column(
        "distance, entropy, diversity, mutual information or sink share, of the means over heads; or " + BY_DEPTH
    )
    first_point: str = column("name of the first point; empty for a rank correlation")
    last_point: str = column("name of the last point; empty for a rank correlation")
    first: float | None = column("the number at the first point")
    last: float | None = column("the number at the last point")
    difference: float = column("last less first; or the rank correlation (Spearman)", ends=("low", "high"))
    low: float | None = column(
        "lower end of the 95 % interval: Student's t over images, with the sum of both standard errors, which no "
        "correlation can exceed"
    )
    high: float | None = column("upper end")
    unit: str = column("of the number and its difference")
    p: float | None = column("chance of such a rank correlation where there is none", role="chance")
    images: int = column("images, or points of a rank correlation, that it rests on", role="count")


@dataclasses.dataclass(frozen=True)
class PlaceRow:
    """The attention that one place receives from one head in the one image."""

    point: str = column("name of the point")
    head: int = column("number of the head, from 0")
    image: int = column("position of the image in its sample")
    map_of: str = column("whose attention the map shows: class token, or mean over queries")
    map_row: int = column("of the place, from the top")
    map_column: int = column("of the place, from the left")
    attention: float = column("that the place receives")


def summary(asked: AttentionHeads, table: pa.Table) -> pa.Table:
    """A row per model, point and head: the means over all images with their standard errors."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        if row["image"] is None:
            key = (row["model"], row["job"], row["point"], -1 if row["head"] is None else row["head"], row["note"])
            groups.setdefault(key, []).append(row)
    rows = [_summed(own) for own in groups.values()]
    return with_leading_of(to_table(HeadSummaryRow, rows), [own[0] for own in groups.values()])


def _summed(rows: Sequence[dict[str, Any]]) -> HeadSummaryRow:
    first = rows[0]
    images = sum(row["images"] for row in rows)
    values: dict[str, float | None] = {}
    for name in _SPREAD:
        values[name], values[f"{name}_error"] = _mean_and_error(rows, name)
    kept = ("point", "stage", "depth", "head", "heads", "reach", "tokens", "uniform_distance", "note")
    distance = values["distance"]
    return HeadSummaryRow(
        **{name: first[name] for name in kept},
        **values,  # type: ignore[arg-type]
        images=images,
        distance_share=None if distance is None else distance / first["diagonal"],
        entropy_share=_mean_and_error(rows, "entropy_share")[0],
        sink_is_prefix=_mean_and_error(rows, "sink_is_prefix")[0],
    )


def _mean_and_error(rows: Sequence[dict[str, Any]], name: str) -> tuple[float | None, float | None]:
    """Over the images of all spans, from each span's mean and its sum of squared deviations."""
    if rows[0][name] is None:
        return None, None
    images = sum(row["images"] for row in rows)
    mean = math.fsum(row["images"] * row[name] for row in rows) / images
    if images == 1 or f"{name}_deviation" not in rows[0]:
        return mean, None
    squares = math.fsum(row[f"{name}_deviation"] + row["images"] * (row[name] - mean) ** 2 for row in rows)
    return mean, math.sqrt(squares / (images - 1) / images)


def comparisons(asked: AttentionHeads, table: pa.Table) -> pa.Table:
    """Of each model with several points: the last attention less the first, and whether distance goes with depth."""
    found = [
        (points[0], row)
        for rows in rows_by_model(summary(asked, table)).values()
        for points in [placed_points(rows)]
        if len(points) > 1
        for row in _by_depth(points)
    ]
    return with_leading_of(to_table(DepthRow, [row for _, row in found]), [first for first, _ in found])


def placed_points(rows: Sequence[Row]) -> list[Row]:
    """The means over heads of the points that have a distance, in order of depth.

    Args:
        rows: of a summary, of one model.
    """
    own = (row for row in rows if row["distance"] is not None and row["head"] is None)
    return sorted(own, key=lambda row: float(row["depth"]))


def outcomes(asked: AttentionHeads, table: pa.Table) -> pa.Table:
    """A row per place of the maps of the one image, where it was asked for."""
    found = [(row, place) for row in table.to_pylist() if row["map_width"] for place in _places(row)]
    return with_leading_of(to_table(PlaceRow, [place for _, place in found]), [row for row, _ in found])


def _places(row: Row) -> Iterator[PlaceRow]:
    for place, value in enumerate(row["map"]):
        down, across = divmod(place, row["map_width"])
        yield PlaceRow(row["point"], row["head"], row["image"], row["map_of"], down, across, value)


def _by_depth(points: Sequence[Row]) -> Iterator[DepthRow]:
    first, last = points[0], points[-1]
    images = min(first["images"], last["images"])
    for name, unit in _UNITS.items():
        if first[name] is None or last[name] is None:
            continue
        difference = last[name] - first[name]
        errors = [row[f"{name}_error"] for row in (first, last)]
        error = None if None in errors else errors[0] + errors[1]
        low, high = interval(difference, error, images - 1) or (None, None)
        yield DepthRow(
            number=_NAMES.get(name, name),
            first_point=first["point"],
            last_point=last["point"],
            first=first[name],
            last=last[name],
            difference=difference,
            low=low,
            high=high,
            unit=unit,
            p=None,
            images=images,
        )
    if len(points) >= _LEAST_POINTS:
        rho, p = rank_correlation([row["depth"] for row in points], [row["distance"] for row in points])
        empty = dict.fromkeys(("first", "last", "low", "high"))
        yield DepthRow(
            number=BY_DEPTH, first_point="", last_point="", difference=rho, unit="", p=p, images=len(points), **empty
        )
