"""Tables for people: a value with its interval in one cell, units in the headers, as the columns' declarations say."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import grouped, number
from visionscope.core.table import LEADING, is_packed, told_of

_CHANCE = 0.05
_LATE = ("outcome", "chance", "count")
"""Roles of columns that stand behind the others, in this order."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """A table as the page shows it.

    Attributes:
        columns: header, meaning (shown on hover) and whether it holds numbers.
        rows: the texts, row by row, with the label of the model of each row in front and, behind, whether the row
            shows nothing but what chance could do.
        settings: under which conditions the rows were measured, one sentence for each that occurs.
        alike: conventions that all rows share; "" for none.
    """

    columns: tuple[tuple[str, str, bool], ...]
    rows: tuple[tuple[str, tuple[str, ...], bool], ...]
    settings: tuple[str, ...]
    alike: str


def shown_table(tables: Tables) -> Shown | None:
    """The summary of a diagnostic, or None where it has none.

    Args:
        tables: of one diagnostic.
    """
    table = tables.get("summary")
    if table is None or not table.num_rows:
        return None
    rows = table.to_pylist()
    told = {field.name: told_of(field) for field in table.schema}
    shown = _shown_columns(table, told)
    alike = [key for key in shown if told[key].get("role") == "convention" and _is_shared(rows, key)]
    columns = sorted((key for key in shown if key not in alike), key=lambda key: _place(told[key]))
    chances = [key for key in table.column_names if told[key].get("role") == "chance"]
    return Shown(
        columns=tuple(_header(table.schema.field(key), told[key]) for key in columns),
        rows=tuple(
            (
                str(row["model"]),
                tuple(_cell(row, key, told[key]) for key in columns),
                any(row[key] is not None and row[key] >= _CHANCE for key in chances),
            )
            for row in rows
        ),
        settings=_settings(tables["rows"], table),
        alike="; ".join(
            f"{_title(key, told[key])} {_cell(rows[0], key, told[key])}{' %' * ('percent' in told[key])}"
            for key in alike
        ),
    )


def _shown_columns(table: pa.Table, told: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Those that are neither told elsewhere, nor the end of another's interval, nor empty."""
    beside = {name for one in told.values() for name in (*one.get("ends", "").split(), one.get("spread", ""))}
    shown = []
    for field in table.schema:
        own = told[field.name]
        if field.name in LEADING or field.name in beside or own.get("role") in ("hidden", "setting"):
            continue
        if is_packed(field) or set(table[field.name].to_pylist()) <= {own.get("usual", "")}:
            continue
        shown.append(field.name)
    return shown


def _is_shared(rows: Sequence[Mapping[str, Any]], key: str) -> bool:
    return len(rows) > 1 and len({row[key] for row in rows}) == 1


def _place(told: Mapping[str, str]) -> int:
    role = told.get("role", "")
    return 1 + _LATE.index(role) if role in _LATE else 0


def _title(key: str, told: Mapping[str, str]) -> str:
    return told.get("title") or key.replace("_", " ")


def _header(field: pa.Field, told: Mapping[str, str]) -> tuple[str, str, bool]:
    words = _title(field.name, told) + (f" ± {told['spread_is']}" if "spread_is" in told else "")
    words += f", {told['ends_are']}" if "ends_are" in told else ""
    unit = "%" if "percent" in told else told.get("unit", "")
    return f"{words} ({unit})" if unit else words, told.get("meaning", ""), not pa.types.is_string(field.type)


def _cell(row: Mapping[str, Any], key: str, told: Mapping[str, str]) -> str:
    value = row[key]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return "\u2013" if value is None else grouped(value) if type(value) is int else str(value)
    factor = 100.0 if "percent" in told else 1.0
    # A whole number counts something.
    whole = factor == 1.0 and value.is_integer()
    text = grouped(value) if whole else number(factor * value)
    spread = row.get(told.get("spread", ""))
    if spread is not None:
        text += f" ± {number(spread, 2)}"
    low, high = (row.get(name) for name in told["ends"].split()) if "ends" in told else (None, None)
    return text if low is None or high is None else f"{text} ({number(factor * low)} to {number(factor * high)})"


def _settings(table: pa.Table, summary: pa.Table) -> tuple[str, ...]:
    """Which images, which statistics, which objective: once for all models, or by the models that differ."""
    titles: dict[str, str] = {}
    source = summary
    for source in (summary, table):
        told = {field.name: told_of(field) for field in source.schema}
        titles = {key: _title(key, one) for key, one in told.items() if one.get("role") == "setting"}
        if titles:
            break
    wanted = [key for key in ("model", "data", "precision", *titles) if key in source.column_names]
    rows = source.select(wanted).group_by(wanted, use_threads=False).aggregate([]).to_pylist()
    by_text: dict[str, list[str]] = {}
    for row in rows:
        model = row.pop("model")
        # The data's name says already how training images were augmented.
        once = {key: value for key, value in row.items() if key not in titles or str(value) not in str(row["data"])}
        text = "; ".join(_setting(titles.get(key, ""), value) for key, value in once.items())
        by_text.setdefault(text, []).append(model)
    models = {model for named in by_text.values() for model in named}
    return tuple(
        f"Measured on {text}." if set(named) == models else f"{', '.join(named)}: measured on {text}."
        for text, named in by_text.items()
    )


def _setting(title: str, value: Any) -> str:
    if not title:
        return str(value)
    return f"{title} {value:g}" if isinstance(value, float) else f"{title}: {value}"
