"""Receptive fields drawn: radii against depth, and a picture of every point's field."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from visionscope.core.figure import Figure, Line, Panel, Picture
from visionscope.core.grouping import images_text, rows_by_model, stage_boundaries
from visionscope.diagnostics.receptive_field.question import ReceptiveField
from visionscope.diagnostics.receptive_field.results import summary

Row = Mapping[str, Any]
_MOST_PICTURES = 12  # of a model, evenly spaced over its points, the first and the last among them
_SIDE = 96  # pixels of a picture's longer side
_COLUMNS = 6
_ROOT = 0.5


def figure(asked: ReceptiveField, table: pa.Table) -> Figure:
    """Both radii of each model against depth, then its fields."""
    models, fields = (
        {model: [row for row in rows if row["radius_50"] is not None] for model, rows in rows_by_model(one).items()}
        for one in (summary(asked, table), table)
    )
    models = {model: rows for model, rows in models.items() if rows}
    curves = [_curves(model, rows, fields[model]) for model, rows in models.items()]
    sheets = [_sheet(model, rows) for model, rows in fields.items() if rows]
    return Figure(
        name="receptive_field",
        title="Effective receptive fields",
        caption=(
            "Which pixels the centre of each point's map depends on: magnitude of the gradient, summed over colours, "
            f"mean over {images_text(table)}. Curves: radius of the circle around the field's centre of mass that "
            "holds 50 % and 99 % of it, with 95 % intervals (jackknife over groups of images); grey, the same if all "
            "pixels counted alike. Pictures: square root of a field over its largest value, where bright is large; of "
            f"a model with more than {_MOST_PICTURES} points, {_MOST_PICTURES} evenly spaced ones."
        ),
        panels=(*curves, *sheets),
    )


def _curves(model: str, rows: Sequence[Row], fields: Sequence[Row]) -> Panel:
    lines = [_line(rows, share) for share in ("50", "99")]
    depths = tuple(row["depth"] for row in rows)
    even = [
        Line(name=f"{share} %, all alike", x=depths, y=tuple(row[f"even_{share}"] for row in fields), role="reference")
        for share in ("50", "99")
    ]
    return Panel(
        model=model,
        title=model,
        x_label="normalized depth",
        y_label="radius of the field (pixels)",
        lines=(*lines, *even),
        group="radius",
        boundaries=stage_boundaries(list(depths), [row["stage"] for row in rows]),
    )


def _line(rows: Sequence[Row], share: str) -> Line:
    known = all(row[f"low_{share}"] is not None for row in rows)
    return Line(
        name=f"{share} %",
        x=tuple(row["depth"] for row in rows),
        y=tuple(row[f"radius_{share}"] for row in rows),
        low=tuple(row[f"low_{share}"] for row in rows) if known else None,
        high=tuple(row[f"high_{share}"] for row in rows) if known else None,
        kinds=tuple(row["kind"] for row in rows),
        hover=tuple(row["point"] for row in rows),
        points=tuple(row["point"] for row in rows),
    )


def _sheet(model: str, rows: Sequence[Row]) -> Panel:
    places = dict.fromkeys(round(place) for place in np.linspace(0, len(rows) - 1, min(len(rows), _MOST_PICTURES)))
    pictures = [Picture(png=_png(rows[place]), title=rows[place]["point"]) for place in places]
    return Panel(
        model=model,
        title=f"Fields of {model}",
        x_label="",
        y_label="",
        pictures=tuple(tuple(pictures[first : first + _COLUMNS]) for first in range(0, len(pictures), _COLUMNS)),
        group=f"fields {model}",
    )


def _png(row: Row) -> bytes:
    field = np.array(row["field"]).reshape(-1, row["field_width"])
    # The eye can't tell 52 levels from 256 in a small picture, and a page of many of them is half as large.
    bright = (5 * np.round(51 * (field / field.max()) ** _ROOT)).astype(np.uint8)
    enlarged = max(1, math.floor(_SIDE / max(field.shape)))
    image = Image.fromarray(bright)
    image = image.resize((image.width * enlarged, image.height * enlarged), Image.Resampling.NEAREST)
    stored = io.BytesIO()
    image.save(stored, "PNG", optimize=True)
    return stored.getvalue()
