"""Sentences on outcomes: what changed, which of two models has more, and what chance could have done."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import MODELS_DIFFER, UNKNOWN, Finding, capital, is_trained, joined, label_of, number
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.outcomes.rows import ABOVE_CHANCE, POINTS
from visionscope.diagnostics.outcomes.statistics import SIGNIFICANT

Row = Mapping[str, Any]

MOST_PAIRS = 3
"""Of more pairs of models than these, those that differ most clearly are told."""

PAIRED_LIMIT = (
    "Accuracy is compared image by image (McNemar's test), and where many conditions are tested at once p is raised "
    "for it (Holm's rule): grey is not significant. That does not mean that there is no effect, only that these images "
    "don't show one."
)
_MASKS_LIMIT = (
    "Of networks that answer per pixel, accuracy is the mean over images of the share of their pixels; intervals draw "
    "images again, p exchanges their values, and guessing is always answering the commonest class."
)
_OF_MASKS = ("mean_iou", "iou_low")
_COLUMNS = ("number", "model", "other", "difference", "low", "high", "unit", "p_holm")
_LEAST_P = 1e-3


@dataclasses.dataclass(frozen=True)
class Clear:
    """What two models clearly differ in.

    Attributes:
        number: its name, without what its brackets tell.
        more: what the model is called that has more of it.
        less: the other.
    """

    number: str
    more: str
    less: str


def between(
    comparisons: pa.Table,
    table: pa.Table,
    say: Callable[[Sequence[Clear]], str],
    question: str = "",
    state: Callable[[Sequence[Row]], str] = lambda rows: "",
) -> Iterator[Finding]:
    """A sentence for each pair of models, with all comparisons of the pair in its rows.

    Args:
        comparisons: from `statistics.compared`.
        table: rows of all models, which tell what stands behind their names.
        say: from what is clear of a pair, the sentence without a full stop.
        question: what it answers, where several diagnostics ask the same.
        state: from the rows of a pair of trained models, what the paper reports, or "".
    """
    known = rows_by_model(table)
    labels = {name: label_of(rows) for name, rows in known.items()}
    pairs: dict[tuple[str, str], list[Row]] = {}
    apart: dict[str, list[tuple[str, str]]] = {}
    for row in comparisons.to_pylist():
        if row["note"]:
            apart.setdefault(row["note"], []).append((row["model"], row["other"]))
        elif row["other"]:
            pairs.setdefault((row["model"], row["other"]), []).append(row)
    left = len(pairs) - MOST_PAIRS
    for place, (pair, rows) in enumerate(list(pairs.items())[:MOST_PAIRS], start=1):
        names = labels[pair[0]], labels[pair[1]]
        trained = all(map(is_trained, (known[name] for name in pair)))
        yield Finding(
            model="",
            models=pair,
            columns=_COLUMNS,
            rows=_shown(rows, _COLUMNS),
            question=question,
            state=state(rows) if trained else "",
            **_of_pair(names, rows, say, left if place == MOST_PAIRS else 0),
        )
    yield from (_apart(note, those, labels, question) for note, those in apart.items())


def _apart(note: str, pairs: Sequence[tuple[str, str]], labels: Mapping[str, str], question: str) -> Finding:
    """Why some pairs of models are not compared."""
    named = [f"{labels[first]} and {labels[second]}" for first, second in pairs]
    return Finding(
        model="",
        headline=f"{named[0] if len(pairs) == 1 else f'{len(pairs)} pairs of models'} are not compared: {note}.",
        detail=f"{joined([one.replace(' and ', ' with ') for one in named])}." if len(pairs) > 1 else "",
        models=tuple(dict.fromkeys(name for pair in pairs for name in pair)),
        columns=("model", "other", "note"),
        rows=tuple((*pair, note) for pair in pairs),
        verdict=UNKNOWN,
        question=question,
    )


def _of_pair(
    names: tuple[str, str], rows: Sequence[Row], say: Callable[[Sequence[Clear]], str], left: int
) -> dict[str, Any]:
    """Headline, detail, verdict, strength and number of a pair of models; of several numbers the first clear one."""
    clear = [row for row in rows if row["p_holm"] < SIGNIFICANT]
    told = [Clear(_short(row["number"]), *(names if row["difference"] > 0 else names[::-1])) for row in clear]
    unclear = [row["number"] for row in rows if row not in clear]
    texts = [f"{row['number']} {difference_of(row)}, {chance(row['p_holm'])}" for row in rows]
    texts[-1] += "."
    if left > 0:
        others = "1 other pair of models differs" if left == 1 else f"{left} other pairs of models differ"
        texts[-1] += f" {others} less clearly: see the comparisons in tables/."
    rest = [f"No significant difference in {' or '.join(unclear)}."] if clear and unclear else []
    # Differences of shares go before others, the larger the earlier.
    points = [abs(row["difference"]) / 100 for row in clear if row["unit"] in (POINTS, ABOVE_CHANCE)]
    if clear:
        headline = f"{capital(say(told), names)}."
    else:
        headline = f"No significant difference between {joined(names)} in {' or '.join(map(_short, unclear))}."
    return {
        "headline": headline,
        "detail": " ".join([*rest, f"{names[0]} minus {names[1]}: {'; '.join(texts)}"]),
        "verdict": MODELS_DIFFER if clear else UNKNOWN,
        "strength": 1.0 + max(points, default=0.0) if clear else 0.0,
        **numbers_of((clear or rows)[0]),
    }


def numbers_of(row: Row) -> dict[str, Any]:
    """The fields of a `Finding` that hold a number of a comparisons table.

    Args:
        row: of it.
    """
    return {
        "measure": row["number"],
        "value": row["difference"],
        "low": row["low"],
        "high": row["high"],
        "unit": row["unit"],
        "n": row["images"],
    }


def change_numbers(row: Row) -> dict[str, Any]:
    """The fields of a `Finding` that hold the change in accuracy of one condition.

    Args:
        row: of a summary of `ChangeRow`'s kind.
    """
    ends = {end: row[f"change_{end}"] for end in ("low", "high")}
    return {"measure": "change in accuracy", "value": row["change"], **ends, "unit": POINTS, "n": row["images"]}


def share_numbers(row: Row, name: str, measure: str) -> dict[str, Any]:
    """The fields of a `Finding` that hold a share, in percent.

    Args:
        row: with the columns `name`, `name_low` and `name_high`.
        name: of the column.
        measure: what people call it.
    """
    value, low, high = (None if row[key] is None else 100 * row[key] for key in (name, f"{name}_low", f"{name}_high"))
    return {"measure": measure, "value": value, "low": low, "high": high, "unit": "%", "n": row["images"]}


def masks_limit(tables: Tables) -> tuple[str, ...]:
    """What accuracy means where a network answers per pixel; nothing where none does.

    Args:
        tables: of one diagnostic.
    """
    summary = tables.get("summary")
    known = [] if summary is None else summary.column_names
    return (_MASKS_LIMIT,) if any(name in known for name in _OF_MASKS) else ()


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
    """How many of several conditions have no significant effect.

    Args:
        quiet: how many.
        total: of how many.
        what: they are, in the plural.
    """
    if not quiet:
        return f"All {total} {what} have a significant effect."
    return f"{quiet} of {total} {what} {'has' if quiet == 1 else 'have'} no significant effect."
