"""Result tables split by model, as figures draw them."""

from typing import Any

import pyarrow as pa


def rows_by_model(table: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """The rows of each model, in the table's order, as dictionaries by column name.

    A model that was looked at more than once, with other data or in another precision, becomes several, told apart in
    the name: `resnet50, embedded, bf16`.

    Args:
        table: result rows with the column `model` and, where they come from a run folder, `data`, `precision`, `job`.
    """
    jobs: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        key = tuple(str(row.get(name) or "") for name in ("model", "data", "precision", "job"))
        jobs.setdefault(key, []).append(row)
    groups: dict[str, list[dict[str, Any]]] = {}
    for key, rows in jobs.items():
        twins = [other for other in jobs if other[0] == key[0]]
        parts = [key[0]]
        for place in range(1, len(key)):
            if len({", ".join(twin[:place]) for twin in twins}) < len(twins) and len({t[place] for t in twins}) > 1:
                parts.append(key[place])
        groups[", ".join(parts)] = rows
    return groups


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


def images_text(table: pa.Table) -> str:
    """'256 images', or '64 to 256 images' where models differ.

    Args:
        table: result rows with the column `images`.
    """
    counts = {row or 0 for row in table.column("images").to_pylist()} or {0}
    low, high = min(counts), max(counts)
    return f"{high} image{'' if high == 1 else 's'}" if low == high else f"{low} to {high} images"
