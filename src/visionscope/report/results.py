"""The page's sections: figures first, one line that sums them up, and all else folded under it."""

from collections.abc import Iterator, Sequence
from typing import Any

from visionscope.core.diagnostic import Answer
from visionscope.core.failures import Failures
from visionscope.core.figure import Figure
from visionscope.core.finding import MODELS_DIFFER, Finding
from visionscope.report.sections import section
from visionscope.report.spacing import unbroken
from visionscope.report.tables import Shown, shown_table

_DIGITS = 6


def sections_of(
    answers: Sequence[Answer], models: Sequence[str], panels: list[dict[str, Any]], failures: Failures
) -> list[dict[str, Any]]:
    """What the template shows, one section per figure; what failed without an answer has a section, too.

    Args:
        answers: in the order of the page.
        models: the labels of all models of the report.
        panels: Plotly's specifications, to which those of all figures are added.
        failures: of the steps before; those of these are added.
    """
    sections = [part for answer in answers for part in _sections(answer, models, panels, failures)]
    # A limit that several share is told where it first matters.
    heard: set[str] = set()
    for one in sections:
        one["limits"] = [text for text in one["limits"] if text not in heard]
        heard |= set(one["limits"])
    named = [answer.diagnostic for answer in answers]
    failing = dict.fromkeys(failure.diagnostic for failure in failures.all)
    sections += [_bare(name, name) for name in failing if name not in (*named, "")]
    for one in {one["diagnostic"]: one for one in reversed(sections)}.values():  # the first section of each
        one["failed"] = [failure.text for failure in failures.all if failure.diagnostic == one["diagnostic"]]
    for one in sections:
        one["inside"] = _inside(one)
    return sections


def packed_table(table: Shown, models: Sequence[str]) -> dict[str, Any]:
    """A table for the page's script, column by column, with the place of each row's model among all.

    Args:
        table: as the page shows it.
        models: the labels of all models of the report.
    """
    labels = [label for label, _, _ in table.rows]
    columns = [(unbroken(header), unbroken(meaning), numeric) for header, meaning, numeric in table.columns]
    cells = [[unbroken(text) for text in own] for own in zip(*(cells for _, cells, _ in table.rows), strict=True)]
    return {
        "columns": [("model", "", False), *columns],
        "cells": [labels, *cells],
        "models": [models.index(label) if label in models else -1 for label in labels],
        "faint": [chance for _, _, chance in table.rows],
    }


def packed_rows(one: Finding) -> dict[str, Any]:
    """The rows behind a sentence for the page's script, column by column, numbers of few digits.

    Args:
        one: with its rows.
    """
    cells = [[_short(value) for value in own] for own in zip(*one.rows, strict=True)]
    return {"columns": one.columns, "cells": cells}


def _short(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _sections(
    answer: Answer, models: Sequence[str], panels: list[dict[str, Any]], failures: Failures
) -> Iterator[dict[str, Any]]:
    """A section per figure; the first has the table, the sentences and their limits."""
    drawn = [_drawn(figure, answer.diagnostic, models, panels, failures) for figure in answer.figures if figure.panels]
    if all(one["name"] != answer.diagnostic for one in drawn[:1]):  # its own figure failed, or has no panel
        drawn.insert(0, _bare(answer.diagnostic, answer.diagnostic))
    first, *others = drawn
    with failures.caught("table", answer.diagnostic):
        first["table"] = shown_table(answer.tables)
    with failures.caught("sentences", answer.diagnostic):
        first["line"] = _line(answer.findings)
        first["cards"] = _by_model([one for one in answer.findings if one is not first["line"]], models)
    first["limits"] = list(answer.limits)
    yield from (first, *others)


def _drawn(
    figure: Figure, diagnostic: str, models: Sequence[str], panels: list[dict[str, Any]], failures: Failures
) -> dict[str, Any]:
    """A figure for the template; without its panels where they can't be drawn."""
    count = len(panels)
    with failures.caught("figure", diagnostic):
        return {**_bare(figure.name, diagnostic), **section(figure, models, panels)}
    del panels[count:]
    return {**_bare(figure.name, diagnostic), "title": figure.title, "caption": figure.caption}


def _bare(name: str, diagnostic: str) -> dict[str, Any]:
    """A section without a figure."""
    empty: dict[str, Any] = {"caption": "", "groups": [], "table": None, "line": None, "cards": [], "limits": []}
    return {"name": name, "diagnostic": diagnostic, "title": name.replace("_", " "), "failed": [], **empty}


def _line(found: Sequence[Finding]) -> Finding | None:
    """The sentence that sums up a section."""
    return min(found, key=lambda one: (one.verdict != MODELS_DIFFER, -one.strength), default=None)


def _by_model(found: Sequence[Finding], models: Sequence[str]) -> list[dict[str, Any]]:
    cards = []
    for index, label in enumerate(models):
        cards.append({"model": index, "label": label, "found": [one for one in found if one.model == label]})
    cards.append({"model": -1, "label": "Between models", "found": [one for one in found if not one.model]})
    return [card for card in cards if card["found"]]


def _inside(one: dict[str, Any]) -> str:
    """What is folded under a section's figures, in words."""
    count = sum(len(card["found"]) for card in one["cards"])
    rows = len(one["table"].rows) if one["table"] else 0
    said = [f"{count} more sentence{'s' if count > 1 else ''}"] if count else []
    said += [f"a table of {rows} row{'s' if rows > 1 else ''}"] if rows else []
    said += ["how it was measured"] if one["caption"] else []
    return ", ".join(said)
