"""Row dataclasses and the Arrow tables they become: one field, one column, with its unit and its meaning."""

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from visionscope.errors import StoreError

LEADING = {
    "model": "label of the model",
    "data": "data spec",
    "weights": "where the weights come from",
    "precision": "fp32, fp64 or bf16 (autocast)",
    "job": "first 12 hexadecimal digits of the job's digest",
}
"""The columns in front of every result, with their meanings."""

_ARROW: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    tuple[float, ...]: pa.list_(pa.float64()),
    tuple[str, ...]: pa.list_(pa.string()),
}


def column(
    meaning: str,
    unit: str = "",
    *,
    title: str = "",
    role: Literal["", "setting", "convention", "outcome", "chance", "count", "hidden"] = "",
    percent: bool = False,
    ends: tuple[str, str] | None = None,
    ends_are: str = "95 % interval",
    spread: str = "",
    spread_is: str = "standard error",
    usual: str = "",
    packed: bool = False,
    optional: bool = False,
) -> Any:
    """A dataclass field that says what its column means, in which unit it is measured and how people read it.

    Args:
        meaning: one sentence for the table's schema and the docs.
        unit: in words, such as "π rad/pixel"; empty for names and counts.
        title: header of the column where it is shown; by default the column's name.
        role: `setting`, told once for all rows, above the table; `convention`, told once where all rows share it;
            `outcome`, which stands behind the conditions; `chance`, a p, from 0.05 on the row shows nothing but chance;
            `count`, which stands last; `hidden`, shown nowhere.
        percent: whether people read it as a percentage of 1.
        ends: the columns of its interval's ends, which are shown beside it.
        ends_are: what lies between them.
        spread: the column of what is shown behind it as ±.
        spread_is: what that is.
        usual: a value that is not shown where all rows have it.
        packed: whether a cell holds more than one value, such as an outcome per image; tables for people leave it out.
        optional: whether a row that does not name it has None there.
    """
    shown = {"title": title, "role": role, "percent": percent, "ends": " ".join(ends or ()), "spread": spread}
    shown |= {"ends_are": ends_are if ends else "", "spread_is": spread_is if spread else ""}
    shown |= {"usual": usual, "packed": packed}
    told = {key: value if isinstance(value, str) else "yes" for key, value in shown.items() if value}
    metadata = {"meaning": meaning, "unit": unit, **told}
    return (
        dataclasses.field(default=None, kw_only=True, metadata=metadata)
        if optional
        else dataclasses.field(metadata=metadata)
    )


def told_of(field: pa.Field) -> Mapping[str, str]:
    """What a column's declaration says of it: `meaning`, `unit` and what `column` was given besides.

    Args:
        field: of a schema that `schema_of` made.
    """
    return {part.decode(): value.decode() for part, value in (field.metadata or {}).items()}


def is_packed(field: pa.Field) -> bool:
    """Whether the cells of a column hold more than one value: by its declaration, or because they are lists.

    Args:
        field: of a schema.
    """
    return bool(told_of(field).get("packed")) or pa.types.is_nested(field.type)


def tidy(table: pa.Table) -> pa.Table:
    """A table of one value per cell: without the columns that pack an outcome per image into one.

    Args:
        table: any.
    """
    return table.select([field.name for field in table.schema if not is_packed(field)])


def schema_of(row_type: type) -> pa.Schema:
    """The Arrow schema of a row dataclass; meaning and unit travel as field metadata.

    Args:
        row_type: a dataclass whose fields are str, int, float, bool, tuples of float or str, or one of those or None.

    Raises:
        TypeError: for a field type that no column can hold.
    """
    hints = typing.get_type_hints(row_type)
    fields = []
    for field in dataclasses.fields(row_type):
        hint, nullable = _without_none(hints[field.name])
        if hint not in _ARROW:
            raise TypeError(f"field {field.name!r} of {row_type.__name__} has type {hint}, which no column can hold")
        metadata = {key: str(value) for key, value in field.metadata.items()}
        fields.append(pa.field(field.name, _ARROW[hint], nullable=nullable, metadata=metadata))
    return pa.schema(fields)


def to_table(row_type: type, rows: Iterable[Any]) -> pa.Table:
    """Rows of one dataclass as an Arrow table with the schema of `schema_of`.

    Args:
        row_type: the dataclass of every row.
        rows: its instances, in the order of the table.
    """
    schema = schema_of(row_type)
    listed = list(rows)
    columns = [pa.array([getattr(row, name) for row in listed], schema.field(name).type) for name in schema.names]
    return pa.table(columns, schema=schema)


def from_table(row_type: type, table: pa.Table) -> list[Any]:
    """The rows of a table, as instances of the dataclass that wrote it.

    Args:
        row_type: the dataclass to build.
        table: a table with at least its columns; further columns are ignored.

    Raises:
        StoreError: when a column is missing.
    """
    names = [field.name for field in dataclasses.fields(row_type)]
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise StoreError(f"the table lacks the column {missing[0]!r} of {row_type.__name__}")
    rows = []
    for values in zip(*(table.column(name).to_pylist() for name in names), strict=True):
        rows.append(row_type(*(tuple(value) if isinstance(value, list) else value for value in values)))
    return rows


def with_leading_of(table: pa.Table, firsts: Iterable[Mapping[str, Any]]) -> pa.Table:
    """A table with the leading columns of the rows that its own rows were made from.

    Args:
        table: without leading columns.
        firsts: for each of its rows, one of the rows that it sums up.
    """
    listed = list(firsts)
    columns = [pa.array([row[name] for row in listed], pa.string()) for name in LEADING]
    fields = [
        pa.field(name, pa.string(), nullable=False, metadata={"meaning": meaning, "unit": ""})
        for name, meaning in LEADING.items()
    ]
    return pa.table([*columns, *table.columns], schema=pa.schema([*fields, *table.schema]))


def long_table(columns: pa.Schema, pieces: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> pa.Table:
    """A table put together of whole columns, after the leading ones: for a row per image.

    Args:
        columns: those that follow the leading ones.
        pieces: each a row with the leading columns, and its columns by name: arrays of one length, or a value that all
            rows of the piece share.
    """
    schema = with_leading_of(columns.empty_table(), []).schema
    tables = [schema.empty_table()]
    for first, own in pieces:
        length = next(len(values) for values in own.values() if isinstance(values, np.ndarray))
        given = {**{name: first[name] for name in LEADING}, **own}
        arrays = [
            pa.array(values, field.type)
            if isinstance(values, np.ndarray)
            else pa.repeat(pa.scalar(values, field.type), length)
            for field, values in ((field, given[field.name]) for field in schema)
        ]
        tables.append(pa.table(arrays, schema=schema))
    return pa.concat_tables(tables)


def _without_none(hint: Any) -> tuple[Any, bool]:
    if isinstance(hint, types.UnionType):
        rest = [part for part in typing.get_args(hint) if part is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return hint, False
