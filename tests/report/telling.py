"""Sentences on invented tables, and the rows behind them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from reference.plain_words import check_words
from report import samples
from visionscope.core.diagnostic import Answer
from visionscope.core.failures import Failures
from visionscope.core.finding import Finding
from visionscope.core.registry import diagnostic_class
from visionscope.running.reduce import answer_from


def points_of(kinds: Mapping[str, Sequence[str]]) -> pa.Table:
    """What networks are made of, from the kinds of their points."""
    rows = [{"model": name, "job": "", "kind": kind} for name, own in kinds.items() for kind in own]
    return pa.Table.from_pylist(rows)


def answer_of(
    asked: Any,
    rows: pa.Table,
    between: pa.Table | None = None,
    failures: Failures | None = None,
    points: pa.Table | None = None,
) -> Answer:
    """What a diagnostic makes of its rows, in plain words; without `failures`, whatever fails is an error."""
    taken = Failures() if failures is None else failures
    answer = answer_from(rows, [(asked, rows)], taken, between, points)
    check_words(answer)
    if failures is None:
        assert not taken.all, [failure.text for failure in taken.all]
    return answer


def answers_of(tables: Mapping[str, pa.Table], failures: Failures | None = None) -> list[Answer]:
    """What each diagnostic makes of its rows, with its default fields; NAME_between goes with NAME."""
    names = [name for name in tables if not name.endswith("_between")]
    return [
        answer_of(diagnostic_class(name)(), tables[name], tables.get(f"{name}_between"), failures) for name in names
    ]


def found_for(*models: samples.Invented) -> list[Finding]:
    return [one for answer in answers_of(samples.tables(models)) for one in answer.findings]


def sentence(found: list[Finding], diagnostic: str) -> Finding:
    (one,) = [one for one in found if one.diagnostic == diagnostic]
    return one


def of_kind(one: Finding, kind: str) -> list[dict[str, Any]]:
    """The rows of one kind behind a sentence."""
    rows = [dict(zip(one.columns, row, strict=True)) for row in one.rows]
    return [row for row in rows if row["kind"] == kind]


def changed(table: pa.Table, changes: dict[str, Sequence[float]], **others: object) -> pa.Table:
    """A table whose points of some kinds change by these numbers."""
    left = {kind: iter(values) for kind, values in changes.items()}
    rows = [
        {**row, "change": next(left[row["kind"]]), **others}
        if row["kind"] in left and row["change"] is not None
        else row
        for row in table.to_pylist()
    ]
    return pa.Table.from_pylist(rows, table.schema)
