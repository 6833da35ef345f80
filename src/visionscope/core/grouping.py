"""Result tables split by model, as figures draw them."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.diagnostic import Tables
from visionscope.core.figure import Line

Row = dict[str, Any]


def rows_by_model(table: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """The rows of each model, in the table's order, as dictionaries by column name.

    Args:
        table: result rows with the column `model` and, where they come from a run folder, `job`: of a model that two
            jobs looked at, each job becomes one, `resnet50 (1f0c...)`. Where tables are put together for a page, such
            twins have other labels already.
    """
    jobs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        jobs.setdefault((row["model"], row.get("job") or ""), []).append(row)
    counts = Counter(model for model, _ in jobs)
    return {model if counts[model] == 1 else f"{model} ({job})": rows for (model, job), rows in jobs.items()}


def rows_of(tables: Tables, name: str) -> list[Row]:
    """The rows of one table of a diagnostic; none where it has no such table.

    Args:
        tables: of one diagnostic.
        name: `summary`, `comparisons`, ...
    """
    return tables[name].to_pylist() if name in tables else []


def stage_starts(stages: list[int]) -> list[int]:
    """The indices at which another stage begins, the first included.

    Args:
        stages: stage of each point, in model order.

    Example:
        >>> stage_starts([0, 1, 1, 2])
        [0, 1, 3]
    """
    return [index for index, stage in enumerate(stages) if index == 0 or stage != stages[index - 1]]


def stage_boundaries(depths: list[float], stages: list[int]) -> tuple[float, ...]:
    """The depths half-way between the last point of a stage and the first of the next.

    Args:
        depths: depth of each point, in model order.
        stages: stage of each point.
    """
    return tuple((depths[index - 1] + depths[index]) / 2 for index in stage_starts(stages)[1:])


def stage_ticks(stages: list[int]) -> tuple[tuple[int, str], ...]:
    """The indices at which a stage begins, with what an axis calls it.

    Args:
        stages: stage of each point, in model order.

    Example:
        >>> stage_ticks([0, 1, 1])
        ((0, 'stem'), (1, 'stage 1'))
    """
    return tuple((index, f"stage {stages[index]}" if stages[index] else "stem") for index in stage_starts(stages))


def depth_line(
    name: str,
    rows: Sequence[dict[str, Any]],
    value: str,
    comparable: Sequence[str],
    said: Callable[[dict[str, Any]], str],
) -> Line:
    """A curve of one value against depth, broken where neighbouring points can't be compared.

    Args:
        name: of the curve.
        rows: of one model, in its order, with `depth`, `kind`, `point` and `standard_error`; where points are steps
            of a network, `follows` names the one before.
        value: the column drawn.
        comparable: columns in which two points must agree for the curve to run from one to the other.
        said: what hovering over a row's point tells.
    """
    depths = {row["point"]: row["depth"] for row in rows}
    x: list[float] = []
    starts: list[float] = []
    y: list[float] = []
    errors: list[float] = []
    kinds: list[str] = []
    hover: list[str] = []
    points: list[str] = []
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None and any(before[key] != row[key] for key in comparable):
            x.append((before["depth"] + row["depth"]) / 2)
            starts.append(math.nan)
            y.append(math.nan)
            errors.append(0.0)
            kinds.append(row["kind"])
            hover.append("")
            points.append("")
        x.append(row["depth"])
        starts.append(depths.get(row.get("follows"), math.nan))
        y.append(row[value])
        errors.append(row["standard_error"] or 0.0)
        kinds.append(row["kind"])
        hover.append(said(row))
        points.append(row["point"])
    known = any(row["standard_error"] is not None for row in rows)
    error = tuple(errors) if known else None
    return Line(
        name=name,
        x=tuple(x),
        y=tuple(y),
        error=error,
        kinds=tuple(kinds),
        hover=tuple(hover),
        starts=tuple(starts),
        points=tuple(points),
    )


def images_text(table: pa.Table) -> str:
    """'256 images', or '64 to 256 images' where models differ.

    Args:
        table: result rows with the column `images`.
    """
    counts = {row or 0 for row in table.column("images").to_pylist()} or {0}
    low, high = min(counts), max(counts)
    return f"{high} image{'' if high == 1 else 's'}" if low == high else f"{low} to {high} images"
