"""The first screen: a row per measure and a column per model, every one beside the accuracy of its model."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Answer
from visionscope.core.finding import grouped, number
from visionscope.core.measure import ACCURACY, INTERVAL, LEADING, PIXEL_ACCURACY, Measure

MARKS = {"lowers": "▼", "raises": "▲", "mixed": "◆", "no clear change": "○"}
"""What stands before a change, by its direction."""

_SHORT = {"percentage points": "points"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """What one model has of one measure.

    Attributes:
        value: with its mark of direction; a dash where there is no number, "" where the model was not asked.
        interval: its ends, or "".
        stands_out: whether it differs significantly from all others of the row.
        near_chance: whether guessing could do as well.
        told: further words, shown on hover.
    """

    value: str = ""
    interval: str = ""
    stands_out: bool = False
    near_chance: bool = False
    told: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One measure of all models.

    Attributes:
        name: of the measure.
        unit: of its values.
        meaning: what it is, shown on hover.
        diagnostic: whose section it leads to.
        remark: the value of chance, where there is one.
        cells: one for each model.
    """

    name: str
    unit: str
    meaning: str
    diagnostic: str
    remark: str
    cells: tuple[Cell, ...]


def accuracies(answers: Sequence[Answer]) -> dict[str, Measure]:
    """The accuracy of each model, or that of its pixels, from the diagnostic that measured it over most images.

    Args:
        answers: of a run.
    """
    return {**_best(answers, PIXEL_ACCURACY), **_best(answers, ACCURACY)}


def _best(answers: Sequence[Answer], name: str) -> dict[str, Measure]:
    best: dict[str, Measure] = {}
    for one in (one for answer in answers for one in answer.measures if one.name == name):
        if one.value is not None and (one.model not in best or (one.n or 0) > (best[one.model].n or 0)):
            best[one.model] = one
    return best


def overview(answers: Sequence[Answer], models: Sequence[str]) -> tuple[Line, ...]:
    """A line for each measure that was taken, those of the accuracy first, even where nobody measured it.

    Args:
        answers: in the order of the page.
        models: the labels of all models of the report, in its order.
    """
    lines = []
    for name in LEADING:
        source = next((a.diagnostic for a in answers if any(one.name == name for one in a.measures)), "")
        if known := _best(answers, name):
            lines.append(_line(source, known, models))
    if not lines and any(answer.measures for answer in answers):
        unknown = (Cell(),) * len(models)
        lines = [Line(name=ACCURACY, unit="", meaning="", diagnostic="", remark="not measured", cells=unknown)]
    for answer in answers:
        rows: dict[tuple[str, str], dict[str, Measure]] = {}
        for one in answer.measures:
            if one.name not in LEADING:
                rows.setdefault((one.name, one.unit), {}).setdefault(one.model, one)
        lines += [_line(answer.diagnostic, row, models) for row in rows.values()]
    return tuple(lines)


def _line(diagnostic: str, row: Mapping[str, Measure], models: Sequence[str]) -> Line:
    first = next(iter(row.values()))
    levels = dict.fromkeys(number(one.chance, 2) for one in row.values() if one.chance is not None)
    return Line(
        name=first.name,
        unit=_SHORT.get(first.unit, first.unit),
        meaning=first.meaning,
        diagnostic=diagnostic,
        remark=f"chance {', '.join(levels)}\u00a0{first.unit}" if levels else "",
        cells=tuple(_cell(row[name], row) if name in row else Cell() for name in models),
    )


def _cell(one: Measure, row: Mapping[str, Measure]) -> Cell:
    measured = sum(other.value is not None for other in row.values())
    differing = [name for name, other in row.items() if name in one.differs_from or _apart(one, other)]
    mark = MARKS.get(one.direction, "")
    told = [one.note, f"{one.interval} {_ends(one)}" if _ends(one) else "", f"{one.n} {one.of}" if one.n else ""]
    if one.direction:
        told.append(one.direction)
    if differing:
        told.append(f"differs significantly from {', '.join(differing)}")
    if one.near_chance:
        told.append("no better than chance")
    return Cell(
        value=f"{mark}\u00a0{number(one.value)}".strip(),
        interval=_ends(one),
        stands_out=len(differing) == measured - 1 > 0,
        near_chance=one.near_chance,
        told="; ".join(filter(None, told)),
    )


def _ends(one: Measure) -> str:
    return "" if one.low is None or one.high is None else f"{number(one.low)} to {number(one.high)}"


def _apart(first: Measure, second: Measure) -> bool:
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return False
    if not (first.by_interval and second.by_interval) or first.interval != INTERVAL:
        return False
    return first.low > second.high or second.low > first.high


def facts(model_rows: Sequence[Mapping[str, Any]], data_rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """How many models, which images, how many, and where the weights come from, a few words each.

    Args:
        model_rows: one for each model, with its `weights`.
        data_rows: one for each sample, with `data`, `images` and `size`.
    """
    if not model_rows:
        return []
    named = list(dict.fromkeys(str(row["data"]) for row in data_rows))
    counts = sorted({int(row["images"]) for row in data_rows})
    images = grouped(counts[-1]) if counts[0] == counts[-1] else f"{grouped(counts[0])} to {grouped(counts[-1])}"
    weights = list(dict.fromkeys(str(row["weights"]) for row in model_rows))
    models = f"{len(model_rows)} model{'s' if len(model_rows) != 1 else ''}"
    return [models, f"{images} images of {', '.join(named)}", f"weights: {', '.join(weights)}"]
