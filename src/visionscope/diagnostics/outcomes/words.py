"""Sentences on outcomes: what changed, which of two models has more, and what chance could have done."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import MODELS_DIFFER, UNKNOWN, Finding, capital, joined, label_of, number
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.outcomes.rows import POINTS
from visionscope.diagnostics.outcomes.statistics import SIGNIFICANT

Row = Mapping[str, Any]

MOST_PAIRS = 3
"""Of more pairs of models than these, those that differ most clearly are told."""

PAIRED_LIMIT = (
    "Accuracy is compared image by image (McNemar's test), and where many conditions are tested at once p is raised "
    "for it (Holm's rule): grey is what chance alone could do. It does not mean that there is nothing, only that these "
    "images don't show it."
)
_COLUMNS = ("number", "model", "other", "difference", "low", "high", "unit", "p_holm")
_LEAST_P = 1e-3


def between(
    comparisons: pa.Table, table: pa.Table, say: Callable[[str, str, str], str], question: str = ""
) -> Iterator[Finding]:
    """A sentence for each pair of models, with all comparisons of the pair in its rows.

    Args:
        comparisons: from `statistics.compared`.
        table: rows of all models, which tell what stands behind their names.
        say: from the name of a number, the model that has more of it and the one that has less, what is said of a
            clear difference, without a full stop.
        question: what it answers, where several diagnostics ask the same.
    """
    labels = {name: label_of(rows) for name, rows in rows_by_model(table).items()}
    pairs: dict[tuple[str, str], list[Row]] = {}
    apart: dict[str, list[Row]] = {}
    for row in comparisons.to_pylist():
        if row["note"]:
            apart.setdefault(row["note"], []).append(row)
        elif row["other"]:
            pairs.setdefault((row["model"], row["other"]), []).append(row)
    left = len(pairs) - MOST_PAIRS
    for place, (pair, rows) in enumerate(list(pairs.items())[:MOST_PAIRS], start=1):
        names = tuple(labels[name] for name in pair)
        told = _of_pair((names[0], names[1]), rows, say, left if place == MOST_PAIRS else 0)
        yield Finding(model="", columns=_COLUMNS, rows=_shown(rows, _COLUMNS), question=question, **told)
    for note, rows in apart.items():
        names = tuple(f"{labels[row['model']]} with {labels[row['other']]}" for row in rows)
        columns = ("model", "other", "note")
        yield Finding(
            model="",
            headline=f"{joined(names)} can't be compared: {note}.",
            columns=columns,
            rows=_shown(rows, columns),
            verdict=UNKNOWN,
            question=question,
        )


def _of_pair(
    names: tuple[str, str], rows: Sequence[Row], say: Callable[[str, str, str], str], left: int
) -> dict[str, Any]:
    """Headline, detail, verdict and strength of a pair of models."""
    clear = [row for row in rows if row["p_holm"] < SIGNIFICANT]
    said = []
    for row in clear:
        more, less = names if row["difference"] > 0 else names[::-1]
        said.append(say(row["number"], more, less))
    unclear = [row["number"] for row in rows if row not in clear]
    apart = f"{joined(names)} can't be told apart in {' or '.join(map(_short, unclear))}."
    texts = [f"{row['number']} {difference_of(row)}, {chance(row['p_holm'])}" for row in rows]
    texts[-1] += "."
    if left > 0:
        others = "1 other pair of models differs" if left == 1 else f"{left} other pairs of models differ"
        texts[-1] += f" {others} less clearly: see the comparisons in tables/."
    rest = [f"They can't be told apart in {' or '.join(unclear)}."] if clear and unclear else []
    # Differences of shares go before others, the larger the earlier.
    points = [abs(row["difference"]) / 100 for row in clear if row["unit"] == POINTS]
    return {
        "headline": f"{capital('; '.join(said), names)}." if clear else apart,
        "detail": " ".join([*rest, f"{names[0]} minus {names[1]}: {'; '.join(texts)}"]),
        "verdict": MODELS_DIFFER if clear else UNKNOWN,
        "strength": 1.0 + max(points, default=0.0) if clear else 0.0,
    }


def _short(number: str) -> str:
    """A number's name without what its brackets tell, which the detail repeats."""
    return re.sub(r" \(.*?\)", "", number)


def _shown(rows: Sequence[Row], columns: Sequence[str]) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(row[key] for key in columns) for row in rows)


def compared_by_model(tables: Tables) -> Mapping[str, Sequence[Row]]:
    """The comparisons by the model that they are counted from; none where nothing was to be compared.

    Args:
        tables: of one diagnostic.
    """
    return rows_by_model(tables["comparisons"]) if "comparisons" in tables else {}


def is_clear(row: Row) -> bool:
    """Whether a row's change is more than chance could make, all conditions of the model considered.

    Args:
        row: of a summary of `ChangeRow`'s kind, or of a comparisons table.
    """
    p = row["p_holm"]
    return p is not None and p < SIGNIFICANT


def change_text(row: Row) -> str:
    """A row's change in accuracy with its interval.

    Args:
        row: of a summary of `ChangeRow`'s kind.
    """
    ends = f"95 % interval {number(row['change_low'])} to {number(row['change_high'])}"
    return f"{number(row['change'])} percentage points ({ends})"


def share_text(row: Row, name: str) -> str:
    """A share in percent with its interval, where it has one.

    Args:
        row: with the columns `name`, `name_low` and `name_high`.
        name: of the column.
    """
    value, low, high = (row.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    if value is None or low is None or high is None:
        return f"{number(None if value is None else 100 * value)} %"
    return f"{number(100 * value)} % (95 % interval {number(100 * low)} to {number(100 * high)} %)"


def difference_of(row: Row) -> str:
    """A difference with its interval.

    Args:
        row: of a comparisons table.
    """
    value, low, high = (number(row[key]) for key in ("difference", "low", "high"))
    return f"{value} {row['unit']} (95 % interval {low} to {high})"


def chance(p: float) -> str:
    """'p < 0.001' or 'p = 0.03'."""
    return f"p < {_LEAST_P}" if p < _LEAST_P else f"p = {number(p, 2)}"


def no_difference(quiet: int, total: int, what: str) -> str:
    """How many of several conditions make no difference that chance could not make.

    Args:
        quiet: how many.
        total: of how many.
        what: they are, in the plural.
    """
    if not quiet:
        return f"All {total} {what} make a difference that chance could not."
    return f"{quiet} of {total} {what} make{'s' * (quiet == 1)} no difference that can be told from chance."
