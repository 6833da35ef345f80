"""What figures get from their tables: gaps in curves, stages along both axes of a map, captions that fit."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from visionscope.core.grouping import rows_by_model, stage_starts
from visionscope.core.types import Figure, Line, Panel

Value = TypeVar("Value")
_SHAPE = ("grid_height", "grid_width", "channels")
_JACKKNIFE = " Standard errors are the jackknife's over groups."


def completed(figures: Sequence[Figure], tables: Mapping[str, pa.Table]) -> list[Figure]:
    """The figures with what their tables add.

    A curve of variances breaks where the grid or the channels change, because values don't compare there. A caption
    says nothing of standard errors where there are none; a map of two models gets its stages up the vertical axis as
    well.

    Args:
        figures: what the diagnostics drew.
        tables: result rows by diagnostic.
    """
    return [_completed(figure, tables[figure.name]) if figure.name in tables else figure for figure in figures]


def _completed(figure: Figure, table: pa.Table) -> Figure:
    if figure.name == "variance":
        return _broken(figure, table)
    if figure.name not in ("similarity", "similarity_between"):
        return figure
    caption = figure.caption
    if not pc.any(pc.is_finite(table["standard_error"].cast("float64"))).as_py():
        caption = caption.replace(_JACKKNIFE, "")
    panels = figure.panels
    if "model_y" in table.column_names:
        stages = _stages_up(table)
        panels = tuple(_with_stages(panel, stages.get(panel.y_label, {})) for panel in panels)
    return dataclasses.replace(figure, caption=caption, panels=panels)


def _broken(figure: Figure, table: pa.Table) -> Figure:
    rows = rows_by_model(table)
    panels = []
    for panel in figure.panels:
        shapes = {row["depth"]: tuple(row[key] for key in _SHAPE) for row in rows.get(panel.model, ())}
        panels.append(dataclasses.replace(panel, lines=tuple(_with_gaps(line, shapes) for line in panel.lines)))
    if panels == list(figure.panels):
        return figure
    said = f"{figure.caption} Lines break where the grid or the number of channels changes."
    return dataclasses.replace(figure, panels=tuple(panels), caption=said)


def _with_gaps(line: Line, shapes: Mapping[float, tuple[int, ...]]) -> Line:
    gaps = [i for i in range(1, len(line.x)) if shapes.get(line.x[i - 1]) != shapes.get(line.x[i])]
    middles = {i: (line.x[i - 1] + line.x[i]) / 2 for i in gaps}
    return dataclasses.replace(
        line,
        x=_filled(line.x, middles),
        y=_filled(line.y, dict.fromkeys(gaps, math.nan)),
        error=None if line.error is None else _filled(line.error, dict.fromkeys(gaps, 0.0)),
        kinds=_filled(line.kinds, {i: line.kinds[i] for i in gaps}) if line.kinds else (),
        hover=_filled(line.hover, dict.fromkeys(gaps, "")) if line.hover else (),
    )


def _filled(values: Sequence[Value], before: Mapping[int, Value]) -> tuple[Value, ...]:
    """The values, with another one put before some of them."""
    return tuple(one for i, value in enumerate(values) for one in ((before[i], value) if i in before else (value,)))


def _stages_up(table: pa.Table) -> dict[str, dict[str, int]]:
    """By model on a vertical axis and point: its stage."""
    found: dict[str, dict[str, int]] = {}
    names = ("model_y", "point_y", "stage_y")
    for model, point, stage in zip(*(table[name].to_pylist() for name in names), strict=True):
        found.setdefault(model, {})[point] = stage
    return found


def _with_stages(panel: Panel, stages: Mapping[str, int]) -> Panel:
    if panel.heat is None or panel.heat.ticks_y or set(stages) != set(panel.heat.names_y):
        return panel
    along = [stages[name] for name in panel.heat.names_y]
    ticks = tuple((index, f"stage {along[index]}" if along[index] else "stem") for index in stage_starts(along))
    return dataclasses.replace(panel, heat=dataclasses.replace(panel.heat, ticks_y=ticks))
