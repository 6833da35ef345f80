"""Similarities drawn: a map over pairs of points, of one model or of two."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.figure import Figure, Heat, Panel
from visionscope.core.finding import counted
from visionscope.core.grouping import rows_by_model, stage_ticks
from visionscope.diagnostics.similarity.question import Similarity
from visionscope.diagnostics.similarity.results import by_pair

Row = Mapping[str, Any]


def figure(asked: Similarity, table: pa.Table) -> Figure:
    """A heat map per model."""
    panels = tuple(_panel(model, "layer", "layer", rows) for model, rows in rows_by_model(table).items())
    return Figure(
        name="similarity", title="Similarity of representations (CKA)", caption=_caption(table), panels=panels
    )


def between_figure(asked: Similarity, table: pa.Table) -> Figure:
    """A heat map per pair of models."""
    return Figure(
        name="similarity_between",
        title="Similarity between models (CKA)",
        caption=_caption(table),
        panels=tuple(_panel(f"{x} against {y}", x, y, rows) for (x, y), rows in by_pair(table).items()),
    )


def _panel(title: str, x_label: str, y_label: str, rows: Sequence[Row]) -> Panel:
    stages_x = {row["point_x"]: row["stage_x"] for row in rows}
    stages_y = {row["point_y"]: row["stage_y"] for row in rows}
    cells = {(row["point_x"], row["point_y"]): row for row in rows}

    def grid(name: str) -> tuple[tuple[float, ...], ...]:
        return tuple(
            tuple(math.nan if cells[x, y][name] is None else cells[x, y][name] for x in stages_x) for y in stages_y
        )

    across, up = stage_ticks(list(stages_x.values())), stage_ticks(list(stages_y.values()))
    heat = Heat(
        values=grid("cka"),
        names_x=tuple(stages_x),
        names_y=tuple(stages_y),
        ticks=across,
        ticks_y=() if stages_x == stages_y else up,
        error=grid("standard_error"),
    )
    return Panel(model=title, title=title, x_label=x_label, y_label=y_label, heat=heat)


def _caption(table: pa.Table) -> str:
    rows = table.to_pylist()
    groups = sorted({(row["groups"], row["group"]) for row in rows})
    images = " or ".join(f"{count} group{'' if count == 1 else 's'} of {size} images" for count, size in groups)
    dropped = max((row["dropped"] for row in rows), default=0)
    text = f"Linear CKA with the unbiased HSIC, summed over {images} before the ratio"
    if dropped:
        text += f"; {counted(dropped, 'image')} in no whole group left out"
    if any(row["cka"] is None for row in rows):
        text += "; holes: a point that does not vary between images, or no complete group"
    known = any(row["standard_error"] is not None for row in rows)
    return text + (". Standard errors are the jackknife's over groups." if known else ".")
