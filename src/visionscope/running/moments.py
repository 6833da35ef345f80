"""What a diagnostic says of one moment, as rows of one long table and as the few numbers that trackers draw."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from visionscope.core.files import write_whole
from visionscope.core.measure import Measure
from visionscope.core.refusals import refusals
from visionscope.core.table import LEADING, is_packed, to_table, told_of
from visionscope.core.table import column as declared

TABLE = "monitor.parquet"
"""The folder of a training's rows, which readers of Parquet take as one table: a file for each measurement."""

_FILE = re.compile(r"step-(\d{9})\.parquet")
_NO_NUMBER = {"setting", "convention", "chance", "count", "hidden"}
_WHERE = {"depth"}  # a number that tells places apart
_FREE_TEXT = {"note", "change_note"}
_STEPS = ("summary", "comparisons", "rows")


@dataclasses.dataclass(frozen=True)
class MonitorRow:
    """One number of one diagnostic at one moment of a training."""

    step: int = declared("steps that the optimizer had made")
    epoch: float = declared("passes over the training images, with fractions")
    diagnostic: str = declared("its name")
    point: str = declared("where in the network, or of what; empty for the whole")
    column: str = declared("which number: a column of the diagnostic's tables, or a measure of its overview")
    value: float | None = declared("the number", ends=("low", "high"))
    low: float | None = declared(
        "lower end of what its table shows beside it: its interval, of a median of all values a quartile"
    )
    high: float | None = declared("upper end")
    unit: str = declared("of all three")
    note: str = declared("why there is no value")


def numbers_of(diagnostic: Any, table: pa.Table, step: int, epoch: float) -> tuple[list[MonitorRow], dict[str, float]]:
    """The numbers of one diagnostic of one network, and those of them that a tracker draws.

    Rows are the diagnostic's measures, each number of its summary, and, where that does not go by points, each number
    of the first of its other tables that has one row per point. Trackers get the measures; of a diagnostic without any,
    the summary's numbers of the whole network.

    Args:
        diagnostic: with its fields.
        table: its rows.
        step: of the moment.
        epoch: of the moment.
    """
    tables = {"rows": table}
    for made in _STEPS[:2]:
        if hasattr(diagnostic, made):
            tables[made] = getattr(diagnostic, made)(table)
    measures: Sequence[Measure] = diagnostic.measures(tables) if hasattr(diagnostic, "measures") else ()
    head = (step, epoch, diagnostic.name)
    found = [MonitorRow(*head, "", one.name, one.value, one.low, one.high, one.unit, one.note) for one in measures]
    scalars = list(found)
    if "summary" in tables:
        summed = list(_melted(tables["summary"], head))
        found += summed
        scalars = scalars or [row for row in summed if not row.point]
    if "summary" not in tables or "point" not in tables["summary"].column_names:
        pointed = [name for name in _STEPS[1:] if name in tables and "point" in tables[name].column_names]
        found += next(filter(None, (list(_melted(tables[name], head)) for name in pointed)), [])
    values = {f"{diagnostic.name}/{_words(row.column)}": row.value for row in scalars if row.value is not None}
    return found, values


def _words(name: str) -> str:
    """A name as every tracker takes it: MLflow refuses commas and signs."""
    return "_".join(re.findall(r"\w+", name))


def _melted(table: pa.Table, head: tuple[int, float, str]) -> Iterator[MonitorRow]:
    """A row per number of a table; none of a table whose rows no column of names or whole numbers tells apart."""
    rows = table.to_pylist()
    fields = {field.name: field for field in table.schema if field.name not in LEADING and not is_packed(field)}
    keys = _telling_apart(rows, fields)
    told = {name: told_of(field) for name, field in fields.items()}
    beside = {end for one in told.values() for end in (*one.get("ends", "").split(), one.get("spread", ""))}
    numbers = [
        name
        for name, field in fields.items()
        if pa.types.is_floating(field.type)
        and told[name].get("role", "") not in _NO_NUMBER
        and name not in beside | _WHERE
    ]
    for row in rows if keys is not None else ():
        point = " ".join(str(row[key]) if isinstance(row[key], str) else f"{key} {row[key]}" for key in keys or ())
        for name in numbers:
            low, high = (row[end] for end in told[name]["ends"].split()) if "ends" in told[name] else (None, None)
            note = str(row.get("note") or "") if row[name] is None else ""
            yield MonitorRow(*head, point, name, row[name], low, high, told[name].get("unit", ""), note)


def _telling_apart(rows: Sequence[Mapping[str, Any]], fields: Mapping[str, pa.Field]) -> list[str] | None:
    """The first columns of names and whole numbers that tell all rows apart; of `point` always that.

    Args:
        rows: of a table.
        fields: its columns.
    """
    keys = ["point"] if "point" in fields else []
    told = len({tuple(row[key] for key in keys) for row in rows})
    for name, field in fields.items():
        if told == len(rows):
            break
        text = pa.types.is_string(field.type) and name not in _FREE_TEXT
        if not (text or pa.types.is_integer(field.type)):
            continue
        more = len({tuple(row[key] for key in (*keys, name)) for row in rows})
        if more > told:
            keys, told = [*keys, name], more
    return keys if told == len(rows) else None


class Rows:
    """The rows of one training, in its folder.

    Whether a training begins anew or goes on from a step, rows beyond that are another sitting's, and dropped.

    Args:
        folder: of the training.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / TABLE

    def begin(self, step: int) -> bool:
        """Drops the rows beyond a step; whether there are some of that step.

        Args:
            step: that the training goes on from.

        Raises:
            StoreError: when the disk refuses.
        """
        with refusals(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in self.folder.iterdir():
                named = _FILE.fullmatch(path.name)
                if named and int(named[1]) > step:
                    path.unlink()
        return self._file(step).is_file()

    def write(self, step: int, rows: Sequence[MonitorRow]) -> None:
        """Keeps the rows of one measurement, whole or not at all.

        Args:
            step: of it.
            rows: all of it.

        Raises:
            StoreError: when the disk refuses.
        """
        with refusals(self.folder):
            write_whole(self._file(step), lambda file: pq.write_table(to_table(MonitorRow, rows), file))

    def _file(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.parquet"
