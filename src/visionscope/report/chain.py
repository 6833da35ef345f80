"""The map of a model: the chain of its points, stage by stage, with repeated blocks told once."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.report.style import mark_of

MOST_SHOWN = 30
"""The points of a model with more than these are folded."""

_LONGEST = 4  # points of a block that is looked for

Point = Mapping[str, Any]


def chains(jobs: Sequence[Mapping[str, Any]], models: Sequence[str]) -> list[dict[str, Any]]:
    """For each model its points for the template; those without any are left out.

    Args:
        jobs: the runs' `job.json` dicts.
        models: the labels of all models of the report.
    """
    found: dict[str, Sequence[Point]] = {}
    for job in jobs:
        label = job["model"]["label"]
        if len(job["points"]) > len(found.get(label, ())):
            found[label] = job["points"]
    return [_chain(label, models.index(label), found[label]) for label in models if label in found]


def repeated(kinds: Sequence[str]) -> list[tuple[tuple[str, ...], int]]:
    """A sequence of kinds as blocks with how often each follows itself, the longest stretch first.

    Args:
        kinds: of the points of a stage, in order.

    Example:
        >>> repeated(["down", "msa", "mlp", "msa", "mlp"])
        [(('down',), 1), (('msa', 'mlp'), 2)]
    """
    blocks: list[tuple[tuple[str, ...], int]] = []
    place = 0
    while place < len(kinds):
        block, times = max(
            (_run(kinds, place, length) for length in range(1, _LONGEST + 1)),
            key=lambda found: (len(found[0]) * found[1] if found[1] > 1 else 1, -len(found[0])),
        )
        block, times = (block, times) if times > 1 else (tuple(kinds[place : place + 1]), 1)
        blocks.append((block, times))
        place += len(block) * times
    return blocks


def _run(kinds: Sequence[str], place: int, length: int) -> tuple[tuple[str, ...], int]:
    """The block of that length from a place on, and how often it stands there in a row."""
    block = tuple(kinds[place : place + length])
    times = 1
    while len(block) == length and tuple(kinds[place + times * length : place + (times + 1) * length]) == block:
        times += 1
    return block, times


def _chain(label: str, model: int, points: Sequence[Point]) -> dict[str, Any]:
    stages = [_stage(list(own)) for _, own in itertools.groupby(points, key=lambda point: point["stage"])]
    return {
        "label": label,
        "model": model,
        "stages": stages,
        "words": " → ".join(stage["words"] for stage in stages),
        "count": len(points),
        "folded": len(points) > MOST_SHOWN,
    }


def _stage(points: Sequence[Point]) -> dict[str, Any]:
    groups: list[dict[str, Any]] = []
    place = 0
    for block, times in repeated([point["kind"] for point in points]):
        own = points[place : place + len(block) * times]
        place += len(own)
        shown = [{"name": point["name"], "branch": _branch(point), "mark": mark_of(point["kind"])} for point in own]
        groups.append({"words": _words(block, times), "points": shown})
    number = points[0]["stage"]
    name = f"stage {number}" if number else "stem"
    kinds = ", ".join(group["words"] for group in groups)
    return {"name": name, "size": _size(points), "groups": groups, "words": f"{name}: {kinds}" if number else kinds}


def _branch(point: Point) -> str:
    """What the branch is called whose sum the point shows."""
    name = str(point["name"])
    return name.replace("+", ".") if "+" in name else f"{name}.{point['kind']}"


def _words(block: Sequence[str], times: int) -> str:
    """'self-attention', 'convolution × 3' or 'block × 6: self-attention, MLP'."""
    words = ", ".join(mark_of(kind).words for kind in block)
    if times == 1:
        return words
    return f"{words} × {times}" if len(block) == 1 else f"block × {times}: {words}"


def _size(points: Sequence[Point]) -> str:
    """'16 × 16' where all points of a stage have one grid, else ''."""
    grids = {str(point.get("grid")): point.get("grid") for point in points}
    grid = next(iter(grids.values())) if len(grids) == 1 else None
    return " × ".join(map(str, grid)) if isinstance(grid, (list, tuple)) else ""
