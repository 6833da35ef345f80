"""Numbers over a training, drawn against its steps, with what changed most told."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.diagnostic import Answer, Theme
from visionscope.core.failures import Failures
from visionscope.core.figure import Figure, Line, Panel
from visionscope.core.finding import UNKNOWN, Finding, capital, counted, number
from visionscope.core.measure import Measure
from visionscope.core.registry import diagnostic_class
from visionscope.core.trajectory import MONITOR, Trajectory

_MOST_COLUMNS = 4  # that are drawn by places
_MOST_WHOLE = 6  # numbers of a whole network that are drawn
_BESIDE = ("_error", "_deviation", "percent")  # ends of columns that say another's uncertainty, or the same again
_LISTED = 3  # places that a sentence's rows show
_SHOWN = ("step", "epoch", "point", "value", "low", "high", "unit")
_CAPTION = {
    True: "A monitor measured the network while it trained, on the same images each time.",
    False: "Snapshots of the training, measured on the same images.",
}

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class _Course:
    """One number over a training.

    Attributes:
        training: how it is called.
        place: in the network; "" for the whole of it.
        column: that holds the number.
        words: what the number is.
        unit: of it.
        rows: where it is known and finite, in order of the steps.
    """

    training: str
    place: str
    column: str
    words: str
    unit: str
    rows: tuple[Row, ...]

    @property
    def values(self) -> tuple[float, ...]:
        """At each moment."""
        return tuple(float(row["value"]) for row in self.rows)

    @property
    def change(self) -> float:
        """From the first moment to the last."""
        return float(self.rows[-1]["value"] - self.rows[0]["value"])

    @property
    def is_clear(self) -> bool:
        """Whether it moved, and, where both ends have intervals, farther than these reach."""
        first, last = self.rows[0], self.rows[-1]
        ends = [first["low"], first["high"], last["low"], last["high"]]
        if any(end is None for end in ends):
            return self.change != 0
        return bool(first["high"] < last["low"] or last["high"] < first["low"])

    @property
    def title(self) -> str:
        """What an axis says."""
        return f"{self.words} ({self.unit})" if self.unit else self.words


def trajectory_answers(trajectories: Sequence[Trajectory], failures: Failures) -> list[Answer]:
    """An answer for each diagnostic whose numbers were taken at several moments of a training.

    Args:
        trajectories: of all trainings.
        failures: takes what could not be made.
    """
    answers = []
    for name in dict.fromkeys(one.diagnostic for one in trajectories):
        own = [one for one in trajectories if one.diagnostic == name]
        with failures.caught("trajectory", name):
            courses = [course for one in own for course in _courses(one)]
            if courses:
                answers.append(_answer(name, own, courses))
    return answers


def _answer(name: str, own: Sequence[Trajectory], courses: Sequence[_Course]) -> Answer:
    title = f"{name}_over_training"
    words = capital(name.replace("_", " "))
    drawn = _drawn(courses)
    caption = " ".join(dict.fromkeys(_CAPTION[one.source == MONITOR] for one in own))
    figure = Figure(name=title, title=f"{words} over training", caption=caption, panels=tuple(_panels(drawn)))
    found = _findings(drawn)
    place = getattr(diagnostic_class(name), "place", 0)
    return Answer(
        diagnostic=title,
        theme=Theme.TRAINING,
        place=list(Theme).index(_theme(name)) * 100 + place,
        tables={"rows": _long(own)},
        figures=(figure,) if figure.panels else (),  # nothing moved
        findings=tuple(
            dataclasses.replace(one, diagnostic=title, anchor=f"rows-{title}-{count}")
            for count, one in enumerate(found, start=1)
        ),
        measures=tuple(_measure(one) for one in drawn if not one.place and _is_monitored(one, own)),
    )


def _theme(name: str) -> Theme:
    told = getattr(diagnostic_class(name), "theme", "")
    return Theme(told) if told in list(Theme) else list(Theme)[-1]


def _courses(trajectory: Trajectory) -> list[_Course]:
    """Its numbers that were known at two moments or more."""
    rows = sorted(trajectory.rows.to_pylist(), key=lambda row: row["step"])
    by_number: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        if row["column"] and row["value"] is not None and math.isfinite(row["value"]):
            by_number.setdefault((row["column"], row["point"]), {})[row["step"]] = row
    quantity = _quantity(column for column, place in by_number if not place)
    units = _units(trajectory.diagnostic)
    return [
        _Course(
            training=trajectory.training,
            place=place.replace(" head None", ""),
            column=column,
            words=_words(column, trajectory.diagnostic, quantity),
            unit=next(iter(own.values()))["unit"] or units.get(column, ""),
            rows=tuple(own.values()),
        )
        for (column, place), own in by_number.items()
        if len(own) > 1
    ]


def _words(column: str, diagnostic: str, quantity: str) -> str:
    """What a column is: `value` and `change` of a table by points are of what the diagnostic's measures name."""
    named = quantity or diagnostic.replace("_", " ")
    return {"value": named, "change": f"change of {named}"}.get(column, column.replace("_", " "))


def _quantity(measures: Iterable[str]) -> str:
    """`high frequencies` of measures such as `high frequencies after msa`; else nothing."""
    named = {one.partition(" after ")[0] for one in measures if " after " in one}
    return named.pop() if len(named) == 1 else ""


def _units(diagnostic: str) -> Mapping[str, str]:
    """The units of a diagnostic's columns; its value has that of its change."""
    fields = dataclasses.fields(diagnostic_class(diagnostic).row)
    units = {field.name: str(field.metadata.get("unit", "")) for field in fields}
    return {"value": units.get("change", ""), **units}


def _drawn(courses: Sequence[_Course]) -> list[_Course]:
    """The numbers of whole networks, and those by places that the first columns have.

    What never moves is left out, and what says another one's uncertainty, or the same again in another unit.
    """
    moving = [one for one in courses if len(set(one.values)) > 1]
    moving = [one for one in moving if not one.column.endswith(_BESIDE)]
    whole = _first_of_each([one for one in moving if not one.place])
    known = {(one.training, one.values) for one in whole}
    columns: dict[str, list[_Course]] = {}
    named = {one.column for one in moving}
    for one in moving:
        again = one.column.endswith("_share") and one.column.removesuffix("_share") in named
        if one.place and not again and (one.training, one.values) not in known:
            columns.setdefault(one.words, []).append(one)
    places = {
        words: len({one.place for one in own}) if len({one.values for one in own}) > 1 else 1
        for words, own in columns.items()
    }
    # Those by points of the network, which are more than the kinds of its blocks.
    most = max(places.values(), default=1)
    by_points = [words for words in columns if 1 < places[words] > most / 2]
    chosen = by_points or ([] if whole else [*columns])
    return [*whole, *(one for words in chosen[:_MOST_COLUMNS] for one in columns[words])]


def _first_of_each(whole: Sequence[_Course]) -> list[_Course]:
    """Without those that a measure of the overview and a column of a table both tell; of each training a few."""
    kept: dict[str, dict[tuple[float, ...], _Course]] = {}
    for one in whole:
        own = kept.setdefault(one.training, {})
        if len(own) < _MOST_WHOLE:
            own.setdefault(one.values, one)
    return [one for own in kept.values() for one in own.values()]


def _panels(drawn: Sequence[_Course]) -> list[Panel]:
    trainings = list(dict.fromkeys(one.training for one in drawn))
    by_words: dict[str, list[_Course]] = {}
    for one in drawn:
        by_words.setdefault(one.words, []).append(one)
    panels = []
    for words, own in by_words.items():
        places = list(dict.fromkeys(one.place for one in own))
        if len(places) > 1 and len({one.unit for one in own}) == 1:
            panels += [
                _panel([one for one in own if one.training == training], places, group=words)
                for training in trainings
                if any(one.training == training for one in own)
            ]
        else:
            for place in places:
                # Of one training, numbers of the whole network share a row; of several, each has a row of its own.
                group = "whole" if len(trainings) == 1 else f"{words} {place}"
                panels += [_panel([one], [place], group=group) for one in own if one.place == place]
    return panels


def _panel(courses: Sequence[_Course], places: Sequence[str], *, group: str) -> Panel:
    first = courses[0]
    several = len(places) > 1
    title = first.title if several or not first.place else f"{first.place}: {first.title}"
    return Panel(
        model=first.training,
        title=f"{first.training}: {first.words if several or not first.place else f'{first.words}, {first.place}'}",
        x_label="step",
        y_label=title,
        lines=tuple(_line(one, places.index(one.place) / (len(places) - 1) if several else None) for one in courses),
        group=group,
    )


def _line(course: _Course, shade: float | None) -> Line:
    known = shade is None and all(row["low"] is not None and row["high"] is not None for row in course.rows)
    return Line(
        name=course.place or course.training,
        x=tuple(float(row["step"]) for row in course.rows),
        y=course.values,
        low=tuple(float(row["low"]) for row in course.rows) if known else None,
        high=tuple(float(row["high"]) for row in course.rows) if known else None,
        shade=shade,
        hover=tuple(f"{course.place or course.words}\n{_when(row)}" for row in course.rows),
    )


def _when(row: Row) -> str:
    epoch = row["epoch"]
    return f"step {row['step']}" + ("" if epoch is None or math.isnan(epoch) else f", epoch {number(epoch)}")


def _findings(drawn: Sequence[_Course]) -> list[Finding]:
    """Of each number of the whole network how it went; of each column by places where it moved most."""
    found = []
    for training in dict.fromkeys(one.training for one in drawn):
        own = [one for one in drawn if one.training == training]
        found += [_of_whole(one) for one in own if not one.place]
        for words in dict.fromkeys(one.words for one in own if one.place):
            found.append(_of_places([one for one in own if one.words == words]))
    return found


def _of_whole(one: _Course) -> Finding:
    first, last = one.rows[0], one.rows[-1]
    unit = f" {one.unit}" if one.unit else ""
    ends = f"from {number(first['value'])} to {number(last['value'])}{unit}"
    if one.is_clear:
        said = f"{one.words} {_moved(one.change)} {ends}"
    else:
        said = f"{one.words} went {ends}, but their ranges overlap"
    turn = max(one.rows, key=lambda row: abs(row["value"] - first["value"]))
    detail = "" if turn is last else f"Farthest at {_when(turn)}: {number(turn['value'])}."
    scale = max(abs(first["value"]), abs(last["value"])) or 1.0
    return _finding(one, said, [one], detail, abs(one.change) / scale, clear=one.is_clear)


def _of_places(courses: Sequence[_Course]) -> Finding:
    """The place of the largest change, among those whose change is clear where any is."""
    ranked = sorted(courses, key=lambda one: (not one.is_clear, -abs(one.change)))
    most = ranked[0]
    unit = f" ({most.unit})" if most.unit else ""
    where = f"{'after' if '+' in most.place else 'at'} {most.place}"
    if most.is_clear:
        said = f"{most.words} {where} {_moved(most.change)} most, by {number(abs(most.change))}{unit}"
    else:
        said = f"no change of {most.words} is clear at any of {counted(len(courses), 'place')}"
    counts = {moved: sum(one.is_clear and _moved(one.change) == moved for one in courses) for moved in ("rose", "fell")}
    detail = f"It rose at {counts['rose']} and fell at {counts['fell']} of {counted(len(courses), 'place')}."
    scale = max(abs(row["value"]) for one in courses for row in one.rows) or 1.0
    return _finding(most, said, ranked[:_LISTED], detail, abs(most.change) / scale, clear=most.is_clear)


def _finding(
    most: _Course, said: str, shown: Sequence[_Course], detail: str, strength: float, *, clear: bool
) -> Finding:
    first, last = most.rows[0], most.rows[-1]
    span = f"from step {first['step']} to {last['step']}"
    rows = [row for one in shown for row in (one.rows[0], one.rows[-1])]
    return Finding(
        model=most.training,
        headline=f"In {most.training}, {span}, {said}.",
        brief=f"{capital(span)}, {said}.",
        detail=detail,
        columns=_SHOWN,
        rows=tuple(tuple(row[key] for key in _SHOWN) for row in rows),
        strength=strength if clear else 0.0,
        verdict=("raises" if most.change > 0 else "lowers") if clear else UNKNOWN,
        measure=f"change of {most.words}",
        value=most.change,
        unit=most.unit,
        n=len(most.rows),
    )


def _moved(change: float) -> str:
    return "rose" if change > 0 else "fell"


def _is_monitored(course: _Course, own: Sequence[Trajectory]) -> bool:
    return any(one.training == course.training and one.source == MONITOR for one in own)


def _measure(one: _Course) -> Measure:
    """Where a monitored number ended."""
    last = one.rows[-1]
    return Measure(
        model=one.training,
        name=one.words,
        value=last["value"],
        unit=one.unit,
        note=f"at step {last['step']}",
        meaning="at the last measurement of the training",
    )


def _long(own: Sequence[Trajectory]) -> pa.Table:
    """The rows of all trainings, with their names in front."""
    tables = []
    for one in own:
        names = pa.array([one.training] * one.rows.num_rows, pa.string())
        tables.append(one.rows.add_column(0, pa.field("model", pa.string(), metadata=_MODEL), names))
    return pa.concat_tables(tables)


_MODEL = {"meaning": "how the training is called", "unit": ""}
