"""Attention drawn: distance per head, means against depth, maps of one image."""

from typing import Any

import pyarrow as pa

from visionscope.core.figure import Figure, Heat, Line, Panel
from visionscope.core.finding import counted
from visionscope.core.grouping import depth_line, rows_by_model, stage_boundaries
from visionscope.diagnostics.attention.question import AttentionHeads
from visionscope.diagnostics.attention.results import summary


def figure(asked: AttentionHeads, table: pa.Table) -> Figure:
    """Distance per head, entropy and diversity against depth, and the maps of the one image where it was asked."""
    models = rows_by_model(summary(asked, table))
    read = {model: [row for row in rows if row["entropy"] is not None] for model, rows in models.items()}
    placed = {model: [row for row in rows if row["distance"] is not None] for model, rows in read.items()}
    distances = [_distance_panel(model, rows) for model, rows in placed.items() if rows]
    means = {model: [row for row in rows if row["head"] is None] for model, rows in read.items()}
    further = [
        _mean_panel("Attention entropy", "entropy / log(keys)", means, "entropy_share", ""),
        _mean_panel("Head diversity", "1 - cosine similarity of heads", means, "diversity", "diversity_error"),
        _mean_panel(
            "Dependence on the query",
            "mutual information",
            means,
            "mutual_information",
            "mutual_information_error",
            "query and sinks",
        ),
        _mean_panel(
            "Attention sinks", "share of all attention", means, "sink_share", "sink_share_error", "query and sinks"
        ),
        _mean_panel(
            "Values of sinks", "norm / mean norm", means, "sink_value_norm", "sink_value_norm_error", "query and sinks"
        ),
    ]
    maps = [
        panel for model, rows in rows_by_model(table).items() for panel in _map_panels(model, rows, asked.map_point)
    ]
    counts = sorted({row["images"] for rows in read.values() for row in rows}) or [0]
    images = counted(counts[-1], "image")
    images = images if counts[0] == counts[-1] else f"{counts[0]} to {images}"
    said = [
        f"Attention of msa points, mean over the queries of the grid and {images}.",
        "Distance: a mark per head, the curve is their mean; from query to key in pixels of the input, weighted by the"
        " attention, prefix tokens left out; grey, what looking everywhere alike would give.",
        "Entropy over all keys, 1 where all are looked at alike.",
        "Diversity: 0 where all heads of a point look at the same, 1 where no two share a key.",
        "Mutual information of query and key, normalised: 0 where all queries look alike.",
        "Sinks: share of all attention that the most attended token gets, and the norm of its value.",
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
        points=tuple(row["point"] for row in heads),
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


def _mean_panel(
    title: str,
    label: str,
    models: dict[str, list[dict[str, Any]]],
    value: str,
    error: str,
    group: str = "over depth",
) -> Panel:
    lines = []
    for model, rows in models.items():
        own = [
            {**row, "standard_error": row[error] if error else None, "kind": "msa"}
            for row in rows
            if row[value] is not None
        ]
        if own:
            lines.append(depth_line(model, own, value, (), lambda row: f"{row['point']}, {row['reach']}"))
    return Panel(model="", title=title, x_label="normalized depth", y_label=label, lines=tuple(lines), group=group)


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
