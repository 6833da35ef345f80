"""Compression drawn: each measure against depth, a curve per quality, model beside model."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.grouping import images_text, rows_by_model, stage_boundaries
from visionscope.diagnostics.compression.question import Compression
from visionscope.diagnostics.compression.results import summary

Row = Mapping[str, Any]
_DRAWN = {
    "high_change": ("change of high-frequency log-amplitude", "high frequencies"),
    "cka": ("CKA, clean with compressed", "CKA"),
    "cosine": ("cosine, clean with compressed", "cosine"),
}


def figure(asked: Compression, table: pa.Table) -> Figure:
    """High frequencies, CKA and cosine of each model's points, by quality."""
    models = rows_by_model(summary(asked, table))
    panels = [_panel(model, rows, value) for value in _DRAWN for model, rows in models.items() if _known(rows, value)]
    return Figure(
        name="compression",
        title="Feature maps of JPEG images",
        caption=(
            f"{images_text(table)} and the same ones encoded at each quality and decoded "
            f"({', '.join(sorted(set(table.column('origin').to_pylist())))}). High frequencies: relative log-amplitude "
            "at the highest half-diagonal frequency, compressed less clean. CKA: over groups of 32 images. Cosine: of "
            "the two maps of an image, as they are. Bands and whiskers: 95 % intervals."
        ),
        panels=tuple(panels),
    )


def _known(rows: Sequence[Row], value: str) -> list[Row]:
    return [row for row in rows if row[value] is not None]


def _panel(model: str, rows: Sequence[Row], value: str) -> Panel:
    label, group = _DRAWN[value]
    known = _known(rows, value)
    lines = [_line(quality, known, value) for quality in dict.fromkeys(row["quality"] for row in known)]
    first = [row for row in rows if row["quality"] == rows[0]["quality"]]
    return Panel(
        model=model,
        title=model,
        x_label="normalized depth",
        y_label=label,
        lines=tuple(lines),
        group=group,
        boundaries=stage_boundaries([row["depth"] for row in first], [row["stage"] for row in first]),
    )


def _line(quality: int, rows: Sequence[Row], value: str) -> Line:
    own = [row for row in rows if row["quality"] == quality]
    ends = all(row[f"{value}_low"] is not None for row in own)
    return Line(
        name=f"quality {quality}",
        x=tuple(row["depth"] for row in own),
        y=tuple(row[value] for row in own),
        low=tuple(row[f"{value}_low"] for row in own) if ends else None,
        high=tuple(row[f"{value}_high"] for row in own) if ends else None,
        kinds=tuple(row["kind"] for row in own),
        hover=tuple(f"{row['point']}, quality {quality}" for row in own),
        points=tuple(row["point"] for row in own),
    )
