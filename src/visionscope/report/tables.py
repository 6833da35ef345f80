"""The summary tables of diagnostics for people: a value with its interval in one cell, units in the headers."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.finding import number
from visionscope.core.table import LEADING

SUFFIX = "_summary"
"""What a summary table is called after its diagnostic's name."""

_WORDS = {
    "negative_share": "NEP (share of negative)",
    "positive_mean": "APE (mean of positive)",
    "batch_norm": "BatchNorm",
    "smallest": "most negative",
    "largest": "most positive",
    "products": "products per mini-batch",
    "p_holm": "p (Holm)",
    "nll": "NLL",
    "nll_train": "NLL_train",
    "nll_train_se": "standard error of NLL_train",
    "nll_test": "test NLL",
    "ece": "ECE",
    "signed_ece": "signed ECE",
    "adaptive_ece": "adaptive ECE",
    "classwise_ece": "classwise ECE",
    "iou": "IoU",
    "iou_90": "IoU-90",
    "acc_90": "Acc-90",
    "unc_90": "Unc-90",
    "freq_90": "Freq-90",
    "mce": "mCE",
}
_SETTINGS = ("augmentation", "batch_norm", "weight_decay", "label_smoothing", "plane", "normalization")
_LAST = ("parameters", "mini_batches", "eigenvalues", "unconverged", "products", "directions", "images")
_ENDS = ("_low", "_high")
_CONVENTIONS = (
    *(
        "noise",
        "eps",
        "eps_in_pixels",
        "energy",
        "space",
        "coverage",
        "height",
        "width",
        "norm",
        "step",
        "begins",
        "library",
        "origin",
    ),
    *("mode", "how", "paired", "bins", "fit_images", "decision", "targets", "fraction", "reach", "tokens"),
)
_OUTCOME = ("accuracy", "change", "nll", "p_holm")
_SHARES = (
    *("accuracy", "top_5", "confidence", "acc_90", "unc_90", "freq_90", "ece", "signed_ece", "adaptive_ece"),
    *("classwise_ece", "iou", "iou_90", "shape_bias", "share", "coverage", "mce"),
)
_NEVER = ("p", "right", "sample", "part", "start", "picture")
_CHANCE = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """A table as the page shows it.

    Attributes:
        columns: header, meaning (shown on hover) and whether it holds numbers.
        rows: the texts, row by row, with the label of the model of each row in front and, behind, whether the row
            shows nothing but what chance could do.
        settings: under which conditions the rows were measured, one sentence for each that occurs.
        note: what must be said of the rows as a whole; "" for nothing.
        alike: conventions that all rows share; "" for none.
    """

    columns: tuple[tuple[str, str, bool], ...]
    rows: tuple[tuple[str, tuple[str, ...], bool], ...]
    settings: tuple[str, ...]
    note: str
    alike: str


def shown_table(name: str, tables: Mapping[str, pa.Table]) -> Shown | None:
    """The summary of a diagnostic, or None where it has none.

    Args:
        name: of the diagnostic.
        tables: result rows by diagnostic, summaries as `NAME_summary`.
    """
    table = tables.get(name + SUFFIX)
    if table is None or not table.num_rows:
        return None
    rows = table.to_pylist()
    shown = [key for key in table.column_names if _is_shown(key, table)]
    alike = [key for key in shown if key in _CONVENTIONS and len(rows) > 1 and len({row[key] for row in rows}) == 1]
    columns = sorted((key for key in shown if key not in alike), key=_place)
    said = tuple((str(row["model"]), tuple(_cell(row, key) for key in columns), _by_chance(row)) for row in rows)
    return Shown(
        columns=tuple(_header(table, key) for key in columns),
        rows=said,
        settings=_settings(tables.get(name), table),
        note=_unconverged(rows),
        alike="; ".join(
            f"{_WORDS.get(key, key.replace('_', ' '))} {_cell(rows[0], key)}{' %' * (key in _SHARES)}" for key in alike
        ),
    )


def _place(key: str) -> tuple[bool, int]:
    """Conditions come first, then what became of accuracy, then counts."""
    return key in _LAST, 1 + _OUTCOME.index(key) if key in _OUTCOME else 0


def _by_chance(row: Mapping[str, Any]) -> bool:
    p = row.get("p_holm")
    return p is not None and p >= _CHANCE


def _is_shown(key: str, table: pa.Table) -> bool:
    names = table.column_names
    if key in ("scope", "level") and set(table.column(key).to_pylist()) == {"model"}:
        return False
    if (
        key in _NEVER
        or pa.types.is_list(table.schema.field(key).type)
        or pa.types.is_binary(table.schema.field(key).type)
    ):
        return False
    if key in LEADING or key in _SETTINGS or key == "standard_error" or key == "deviation":
        return False
    if key == "error" and "accuracy" in names:
        return False
    if key in ("low", "high") or any(key.endswith(end) and key.removesuffix(end) in names for end in _ENDS):
        return False
    if key in ("lower_quartile", "upper_quartile") and "median" in names:
        return False
    return key not in ("note", "calls") or any(table.column(key).to_pylist())


def _header(table: pa.Table, key: str) -> tuple[str, str, bool]:
    field = table.schema.field(key)
    metadata = {part.decode(): value.decode() for part, value in (field.metadata or {}).items()}
    names = table.column_names
    words = _WORDS.get(key, key.replace("_", " "))
    if f"{key}_low" in names or key == "shape_bias":
        words += ", 95 % interval"
    elif key == "median" and "lower_quartile" in names:
        words += " and quartiles"
    elif key == "value" and "standard_error" in names:
        words += " ± standard error"
    elif key == "value" and "deviation" in names:
        words += " ± deviation (range)"
    unit = "%" if key in _SHARES else metadata.get("unit", "")
    return f"{words} ({unit})" if unit else words, metadata.get("meaning", ""), not pa.types.is_string(field.type)


def _cell(row: Mapping[str, Any], key: str) -> str:
    value = row[key]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return "\u2013" if value is None else f"{value:,}".replace(",", "\u202f") if type(value) is int else str(value)
    factor = 100.0 if key in _SHARES else 1.0
    value = factor * value
    text = f"{value:,.0f}".replace(",", "\u202f") if _counts(row, key) else number(value)
    error = row.get("standard_error", row.get("deviation")) if key == "value" else None
    if error is not None:
        text += f" ± {number(error, 2)}"
    if key == "median":
        ends = row.get("lower_quartile"), row.get("upper_quartile")
    elif key == "value":
        ends = row.get("low"), row.get("high")
    else:
        ends = row.get(f"{key}_low"), row.get(f"{key}_high")
    if key == "shape_bias":
        ends = row.get("low"), row.get("high")
    low, high = ends
    return text if low is None or high is None else f"{text} ({number(factor * low)} to {number(factor * high)})"


def _counts(row: Mapping[str, Any], key: str) -> bool:
    """Whether a number without a unit counts something."""
    return bool(key == "value" and not row.get("unit") and row["value"].is_integer() and row["value"] != 1)


def _settings(table: pa.Table | None, summary: pa.Table) -> tuple[str, ...]:
    """Which images, which statistics, which objective: once for all models, or by the models that differ."""
    # Rows of several splits are described by their summary.
    source = table if table is not None and "split" not in table.column_names else summary
    keys = [key for key in _SETTINGS if key in source.column_names]
    wanted = ["model", *(key for key in ("data", "precision") if key in source.column_names), *keys]
    rows = source.select(wanted).group_by(wanted, use_threads=False).aggregate([]).to_pylist()
    by_text: dict[str, list[str]] = {}
    for row in rows:
        # The data's name says already how training images were augmented.
        told = [key for key in wanted[1:] if key != "augmentation" or "augmentation" not in row.get("data", "")]
        text = "; ".join(_setting(key, row[key]) for key in told)
        by_text.setdefault(text, []).append(row["model"])
    models = {row["model"] for row in rows}
    return tuple(
        f"Measured on {text}." if set(named) == models else f"{', '.join(named)}: measured on {text}."
        for text, named in by_text.items()
    )


def _setting(key: str, value: Any) -> str:
    if key == "augmentation":
        return "clean images" if value == "none" else f"{value} augmentation, frozen"
    if key == "batch_norm":
        return f"BatchNorm: {value}" if value != "none" else "no BatchNorm"
    if isinstance(value, float):
        return f"{key.replace('_', ' ')} {value:g}"
    if key in ("data", "precision"):
        return str(value)
    if key == "normalization":
        return f"{value} normalization"
    return f"{value} directions" if key == "plane" and value == "random" else f"{key}: {value}"


def _unconverged(rows: Sequence[Mapping[str, Any]]) -> str:
    missing = sum(row.get("unconverged") or 0 for row in rows)
    counted = sum(row.get("eigenvalues") or 0 for row in rows)
    if not missing:
        return ""
    return (
        f"{missing} of {missing + counted} eigenvalues did not converge: they are marked in the rows and count nowhere."
    )
