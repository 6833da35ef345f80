"""Sentences on invented tables, and the rows behind them."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from report import samples
from visionscope.report.summary import Finding, findings


def found_for(*models: samples.Invented) -> list[Finding]:
    return findings(samples.tables(models), samples.jobs(models))


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
