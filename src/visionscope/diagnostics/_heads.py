"""What the rows of attention heads come to: their means over all images, and the figure."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.figure import Figure, Heat, Line, Panel
from visionscope.core.grouping import depth_line, rows_by_model, stage_boundaries
from visionscope.core.table import LEADING, column, to_table, with_leading_of


@dataclasses.dataclass(frozen=True)
class HeadSummaryRow:
    """One head of one point over all images, or the mean over the point's heads."""

    point: str = column("name of the point")
    stage: int = column("stage of the network, 0 = stem")
    depth: float = column("index of the point / (number of points - 1)")
    head: int | None = column("number of the head, from 0; null for the mean over the point's heads")
    heads: int = column("heads that could be read at the point")
    reach: str = column("what a query can look at: global, windows or shifted windows")
    tokens: int = column("keys of one query, prefix tokens included")
    images: int = column("images in the means")
    distance: float | None = column("mean distance between query and key under the attention", "pixels of the input")
    distance_error: float | None = column("its standard error over images", "pixels")
    distance_share: float | None = column("distance / diagonal of the input image")
    uniform_distance: float | None = column("the same distance if all keys were looked at alike", "pixels")
    entropy: float | None = column("of a query's distribution over its keys, mean over queries", "nat")
    entropy_error: float | None = column("its standard error over images", "nat")
    entropy_share: float | None = column("entropy / log(tokens)")
    diversity: float | None = column("1 - cosine similarity with the point's other heads, mean over them; null for one")
    diversity_error: float | None = column("its standard error over images")
    note: str = column("why there is no value")


def summary(table: pa.Table) -> pa.Table:
    """A row per model, point and head.

    Args:
        table: rows of `AttentionRow` with the leading columns.
    """
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
    for name in ("distance", "entropy", "diversity"):
        values[name], values[f"{name}_error"] = _mean_and_error(rows, name)
    kept = ("point", "stage", "depth", "head", "heads", "reach", "tokens", "uniform_distance", "note")
    distance = values["distance"]
    return HeadSummaryRow(
        **{name: first[name] for name in kept},
        **values,  # type: ignore[arg-type]
        images=images,
        distance_share=None if distance is None else distance / first["diagonal"],
        entropy_share=_mean_and_error(rows, "entropy_share")[0],
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


def figure(table: pa.Table, map_point: str = "") -> Figure:
    """Distance per head, entropy and diversity against depth; the maps of one image.

    Args:
        table: rows of `AttentionRow` with the column `model`.
        map_point: whose maps are drawn; the last that has any by default.
    """
    models = rows_by_model(summary(_with_all_leading(table)))
    read = {model: [row for row in rows if row["entropy"] is not None] for model, rows in models.items()}
    placed = {model: [row for row in rows if row["distance"] is not None] for model, rows in read.items()}
    distances = [_distance_panel(model, rows) for model, rows in placed.items() if rows]
    means = {model: [row for row in rows if row["head"] is None] for model, rows in read.items()}
    further = [
        _mean_panel("Attention entropy", "entropy / log(keys)", means, "entropy_share", ""),
        _mean_panel("Head diversity", "1 - cosine similarity of heads", means, "diversity", "diversity_error"),
    ]
    maps = [panel for model, rows in rows_by_model(table).items() for panel in _map_panels(model, rows, map_point)]
    counts = sorted({row["images"] for rows in read.values() for row in rows}) or [0]
    images = f"{counts[-1]} images" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]} images"
    said = [
        f"Attention of msa points, mean over the queries of the grid and {images}.",
        "Distance: a mark per head, the curve is their mean; from query to key in pixels of the input, weighted by the"
        " attention, prefix tokens left out; grey, what looking everywhere alike would give.",
        "Entropy over all keys, 1 where all are looked at alike.",
        "Diversity: 0 where all heads of a point look at the same, 1 where no two share a key.",
    ]
    if any("windows" in row["reach"] for rows in read.values() for row in rows):
        said.append("Attention within windows can't reach further than the window.")
    if maps:
        said.append("Maps: attention of the one image as a share of its largest value, a map per head.")
    lost = sum(row["distance"] is None for rows in read.values() for row in rows if row["head"] is None)
    if lost:
        said.append(
            f"At {lost} point{'s' if lost > 1 else ''} it is not known where tokens lie, so there is no distance."
        )
    unread = sum(row["entropy"] is None for rows in models.values() for row in rows)
    if unread:
        said.append(f"{unread} attention{'s' if unread > 1 else ''} could not be read; the table says why.")
    return Figure(
        name="attention",
        title="Self-attention",
        caption=" ".join(said),
        panels=(*distances, *(panel for panel in further if panel.lines), *maps),
    )


def _with_all_leading(table: pa.Table) -> pa.Table:
    """Tables of a single measurement carry `model` alone."""
    for name in LEADING:
        if name not in table.column_names:
            table = table.append_column(name, pa.array([""] * table.num_rows, pa.string()))
    return table


def _distance_panel(model: str, rows: list[dict[str, Any]]) -> Panel:
    heads = [row for row in rows if row["head"] is not None]
    means = [{**row, "standard_error": row["distance_error"], "kind": "msa"} for row in rows if row["head"] is None]
    marks = Line(
        name="heads",
        x=tuple(row["depth"] for row in heads),
        y=tuple(row["distance"] for row in heads),
        kinds=("msa",) * len(heads),
        hover=tuple(f"{row['point']}, head {row['head']}, {row['reach']}" for row in heads),
        role="points",
    )
    mean = depth_line("mean over heads", means, "distance", (), lambda row: f"{row['point']}, {row['reach']}")
    even = Line(
        name="looking everywhere alike",
        x=mean.x,
        y=tuple(row["uniform_distance"] for row in means),
        role="reference",
    )
    return Panel(
        model=model,
        title=model,
        x_label="normalized depth",
        y_label="mean attention distance (pixels)",
        lines=(mean, marks, even),
        group="distance",
        boundaries=stage_boundaries([row["depth"] for row in means], [row["stage"] for row in means]),
    )


def _mean_panel(title: str, label: str, models: dict[str, list[dict[str, Any]]], value: str, error: str) -> Panel:
    lines = []
    for model, rows in models.items():
        own = [
            {**row, "standard_error": row[error] if error else None, "kind": "msa"}
            for row in rows
            if row[value] is not None
        ]
        if own:
            lines.append(depth_line(model, own, value, (), lambda row: f"{row['point']}, {row['reach']}"))
    return Panel(
        model="", title=title, x_label="normalized depth", y_label=label, lines=tuple(lines), group="over depth"
    )


def _map_panels(model: str, rows: list[dict[str, Any]], point: str) -> list[Panel]:
    own = [row for row in rows if row["map_width"]]
    if not own:
        return []
    wanted = point or own[-1]["point"]
    return [
        Panel(
            model=model,
            title=f"{model}, {wanted}, head {row['head']}",
            x_label=f"{row['map_of']}, image {row['image']}",
            y_label="",
            heat=_heat(row),
            group=f"maps {model}",
        )
        for row in own
        if row["point"] == wanted
    ]


def _heat(row: dict[str, Any]) -> Heat:
    width = row["map_width"]
    largest = max(row["map"])  # a share of hundreds of places would be dark next to 1
    shares = [value / largest for value in row["map"]]
    lines = [tuple(shares[first : first + width]) for first in range(0, len(shares), width)]
    return Heat(
        values=tuple(reversed(lines)),
        names_x=tuple(f"column {place}" for place in range(width)),
        names_y=tuple(f"row {place}" for place in reversed(range(len(lines)))),
    )
