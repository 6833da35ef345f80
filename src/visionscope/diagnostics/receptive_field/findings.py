"""Sentences on receptive fields: how far each network sees, and from where on it sees nearly everything."""

from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import Finding, about, counted, number, span
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.receptive_field.question import PIXELS, ReceptiveField

Row = Mapping[str, Any]
_COLUMNS = ("point", "kind", "radius_50", "low_50", "high_50", "radius_99", "low_99", "high_99", "reach", "images")
_EVEN = 0.9  # of the radius that equal weights would have: sees everything nearly alike
_LIMITS = (
    "A receptive field is that of one position, the centre of the map, and of first derivatives: where a gate or a "
    "softmax is saturated, a pixel may matter and have no gradient.",
    "Fields end at the image's edge: radii of networks with other image sizes don't compare, and 99 % radii near the "
    "edge say little.",
)


def limits(asked: ReceptiveField, tables: Tables) -> Sequence[str]:
    """What receptive fields can't tell."""
    return _LIMITS


def findings(asked: ReceptiveField, tables: Tables) -> list[Finding]:
    """A sentence per model on its last map."""
    models = rows_by_model(tables["summary"]).values() if "summary" in tables else []
    known = ([row for row in rows if row["radius_50"] is not None] for rows in models)
    return [_last(rows) for rows in known if rows]


def _last(rows: Sequence[Row]) -> Finding:
    row, first = rows[-1], rows[0]
    ends = None if row["low_50"] is None else (row["low_50"], row["high_50"])
    detail = [f"Half of {row['point']}'s field: {span(ends)} pixels, over {counted(row['images'], 'image')}."]
    detail.append(f"At {first['point']} the radii are {number(first['radius_50'])} and {number(first['radius_99'])}.")
    wide = next((one for one in rows if one["reach"] is not None and one["reach"] >= _EVEN), None)
    if wide is not None:
        detail.append(f"From {wide['point']} on, a map's centre depends on all pixels nearly alike.")
    return about(
        rows,
        f"half of what the last map's centre depends on lies within {number(row['radius_50'])} pixels, 99 % within "
        f"{number(row['radius_99'])}",
        detail=detail,
        columns=_COLUMNS,
        strength=0.3,
        measure="radius of half the receptive field",
        value=row["radius_50"],
        low=row["low_50"],
        high=row["high_50"],
        unit=PIXELS,
        n=row["images"],
    )
