"""Accuracies image by image: what a model loses, which of two loses more, and the words for both."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from visionscope.core.finding import (
    MODELS_DIFFER,
    UNKNOWN,
    Finding,
    across_models,
    grouped,
    joined,
    number,
    weights_remark,
)
from visionscope.numerics.paired import Difference, Values, holm, paired_means

SIGNIFICANT = 0.05
POINTS = "percentage points"
MOST_PAIRS = 3
"""Of more pairs of models than these, those that differ most clearly are told."""

_LEAST_P = 1e-3
_DECIMALS = 9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """All images of one model under all conditions.

    Attributes:
        label: with a word on random weights.
        sample: the images' digest, with the spans that are there: a model that is half done saw other images.
        settings: what two models must have in common to be compared.
        values: (n,) per condition, a value of each image, such as whether it is right.
    """

    label: str
    sample: str
    settings: Mapping[str, Any]
    values: Mapping[tuple[Any, ...], Values]

    def mean(self, conditions: Sequence[tuple[Any, ...]]) -> Values:
        """(n,) the mean over conditions, image by image."""
        found: Values = np.mean([self.values[key] for key in conditions], axis=0, dtype=np.float64)
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Number:
    """What two models are compared in.

    Attributes:
        name: in sentences.
        value: of a model, a number per image.
        unit: of differences; percentage points are told of shares.
    """

    name: str
    value: Callable[[Measured], Values]
    unit: str = POINTS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """The difference of two models in one number.

    Attributes:
        first: the model that the difference is counted from.
        second: the other.
        what: which number.
        unit: of the difference.
        difference: first less second.
        p: raised by Holm's rule for all pairs and numbers that were compared.
    """

    first: Measured
    second: Measured
    what: str
    unit: str
    difference: Difference
    p: float

    @property
    def clear(self) -> bool:
        """Whether it is more than chance could make."""
        return self.p < SIGNIFICANT


def measured_models(table: pa.Table, keys: Sequence[str], settings: Sequence[str] = ()) -> dict[str, Measured]:
    """Which images each model gets right under each condition.

    Args:
        table: rows of `OutcomeRow`'s kind with the leading columns.
        keys: the columns that name the condition.
        settings: the columns that two models must have in common to be compared; the value of the last row counts.

    Returns:
        By the names that `finding.grouped` gives.
    """
    # Late, because it loads torch, which the page itself does without.
    from visionscope.diagnostics._outcomes import pooled

    found = {}
    for name, rows in grouped(table, table.column_names).items():
        own = pooled(table.filter(_is_of(table, rows[0])), keys)
        found[name] = Measured(
            label=name + weights_remark(rows),
            sample=images_of(rows),
            settings={key: rows[-1][key] for key in settings},
            values={key[2:]: some.right.astype(np.float64) for key, some in own.items()},
        )
    return found


def images_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Names the images that rows tell of: two models that saw the same ones are compared image by image.

    Args:
        rows: of `OutcomeRow`'s kind, of one model.
    """
    spans = sorted({(row["start"], row["images"]) for row in rows})
    return " ".join([str(rows[0]["sample"]), *(f"{start}+{images}" for start, images in spans)])


def compared(models: Sequence[Measured], numbers: Sequence[Number]) -> list[tuple[Compared, ...]]:
    """Each two models in each number, paired over images; p is raised by Holm's rule over all of them.

    Args:
        models: those of the same images and settings are compared.
        numbers: what they are compared in.

    Returns:
        For each pair its comparisons, the pair that differs most clearly first: by its smallest p, and where several
        are as small, by its largest difference in widths of the interval.
    """
    pairs = [
        (first, second)
        for first, second in itertools.combinations(models, 2)
        if first.sample == second.sample and first.settings == second.settings
    ]
    found = [
        (first, second, asked, paired_means(asked.value(first), asked.value(second)))
        for first, second in pairs
        for asked in numbers
    ]
    raised = holm([difference.p for *_, difference in found])
    told = [
        Compared(first=first, second=second, what=asked.name, unit=asked.unit, difference=difference, p=p)
        for (first, second, asked, difference), p in zip(found, raised, strict=True)
    ]
    size = len(numbers)
    by_pair = [tuple(told[start : start + size]) for start in range(0, len(told), size)]
    return sorted(by_pair, key=lambda some: (min(one.p for one in some), -max(map(_in_widths, some))))


def not_compared(diagnostic: str, serial: Iterator[int], models: Sequence[Measured]) -> Iterator[Finding]:
    """Says which pairs of models are not compared, a sentence for each reason.

    Args:
        diagnostic: the table's name.
        serial: numbers for anchors.
        models: those asked about.
    """
    reasons: dict[str, list[str]] = {}
    for first, second in itertools.combinations(models, 2):
        differing = [key for key, value in first.settings.items() if second.settings.get(key) != value]
        if first.sample != second.sample:
            reasons.setdefault("they saw different images", []).append(f"{first.label} with {second.label}")
        elif differing:
            reasons.setdefault(f"they differ in {joined(differing)}", []).append(f"{first.label} with {second.label}")
    for reason, names in reasons.items():
        headline = f"{joined(names)} can't be compared: {reason}."
        yield across_models(
            f"rows-{diagnostic}-{next(serial)}",
            diagnostic,
            headline,
            verdict=UNKNOWN,
            detail="",
            columns=("model", "sample", *models[0].settings),
            rows=tuple((one.label, one.sample, *one.settings.values()) for one in models),
            strength=0.0,
        )


def between(
    diagnostic: str,
    serial: Iterator[int],
    pairs: Sequence[tuple[Compared, ...]],
    say: Callable[[Compared], str],
) -> Iterator[Finding]:
    """A sentence for each pair of models, with all comparisons of the pair in its rows.

    Args:
        diagnostic: the table's name.
        serial: numbers for anchors.
        pairs: from `compared`.
        say: what a comparison says that is clear, without a full stop.
    """
    told, left = pairs[:MOST_PAIRS], len(pairs[MOST_PAIRS:])
    for some in told:
        clear = [one for one in some if one.clear]
        names = (some[0].first.label, some[0].second.label)
        unclear = " or ".join(one.what for one in some if not one.clear)
        apart = f"{joined(names)} can't be told apart in {unclear}."
        headline = f"{capital('; '.join(map(say, clear)), names)}." if clear else apart
        texts = [f"{one.what} {difference_text(one.difference, one.unit)}, {chance(one.p)}" for one in some]
        rest = [f"They can't be told apart in {unclear}."] if clear and unclear else []
        texts[-1] += "."
        if left and some is told[-1]:
            others = "1 other pair of models differs" if left == 1 else f"{left} other pairs of models differ"
            texts[-1] += f" {others} less clearly: see the figure."
        columns = ("number", "first", "second", "difference", "low", "high", "unit", "p_holm")
        yield across_models(
            f"rows-{diagnostic}-{next(serial)}",
            diagnostic,
            headline,
            verdict=MODELS_DIFFER if clear else UNKNOWN,
            detail=" ".join([*rest, f"{names[0]} minus {names[1]}: {'; '.join(texts)}"]),
            columns=columns,
            rows=tuple(
                (
                    one.what,
                    one.first.label,
                    one.second.label,
                    *_in_units(one.difference, one.unit),
                    one.unit,
                    one.p,
                )
                for one in some
            ),
            strength=_strength(clear),
        )


def about(
    diagnostic: str,
    serial: Iterator[int],
    name: str,
    rows: Sequence[Mapping[str, Any]],
    statement: str,
    *,
    detail: Sequence[str] = (),
    columns: Sequence[str],
    strength: float,
    verdict: str = "described",
    shown: Sequence[Mapping[str, Any]] | None = None,
) -> Finding:
    """A sentence on one model.

    Args:
        diagnostic: the table's name.
        serial: numbers for anchors.
        name: of the model, see `finding.grouped`.
        rows: the rows counted.
        statement: without a full stop, and without the model's name.
        detail: further sentences.
        columns: of the rows, those that are shown; what a table lacks is left out.
        strength: see `Finding`.
        verdict: see `Finding`.
        shown: the rows to show, where they are not those counted.
    """
    listed = rows if shown is None else shown
    own = tuple(key for key in columns if key in listed[0])
    headline = f"In {name}{weights_remark(rows)}, {statement}."
    return Finding(
        anchor=f"rows-{diagnostic}-{next(serial)}",
        diagnostic=diagnostic,
        model=str(rows[0]["model"]),
        kind="",
        verdict=verdict,
        headline=headline,
        brief=f"{capital(statement)}." if name == rows[0]["model"] else headline,
        detail=" ".join(text for text in detail if text),
        columns=own,
        rows=tuple(tuple(row[key] for key in own) for row in listed),
        strength=strength,
    )


def is_clear(row: Mapping[str, Any]) -> bool:
    """Whether a row's change is more than chance could make, all conditions of the model considered.

    Args:
        row: of a summary of `ChangeRow`'s kind.
    """
    p = row["p_holm"]
    return p is not None and p < SIGNIFICANT


def change_text(row: Mapping[str, Any]) -> str:
    """A row's change in accuracy with its interval.

    Args:
        row: of a summary of `ChangeRow`'s kind.
    """
    ends = f"95 % interval {number(row['change_low'])} to {number(row['change_high'])}"
    return f"{number(row['change'])} percentage points ({ends})"


def share_text(row: Mapping[str, Any], name: str) -> str:
    """A share in percent with its interval, where it has one.

    Args:
        row: with the columns `name`, `name_low` and `name_high`.
        name: of the column.
    """
    value, low, high = (row.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    if value is None or low is None or high is None:
        return f"{number(None if value is None else 100 * value)} %"
    return f"{number(100 * value)} % (95 % interval {number(100 * low)} to {number(100 * high)} %)"


def difference_text(one: Difference, unit: str = POINTS) -> str:
    """A difference with its interval.

    Args:
        one: from `numerics.paired`.
        unit: percentage points are told of shares.
    """
    value, low, high = map(number, _in_units(one, unit))
    return f"{value} {unit} (95 % interval {low} to {high})"


def chance(p: float) -> str:
    """'p < 0.001' or 'p = 0.03'."""
    return f"p < {_LEAST_P}" if p < _LEAST_P else f"p = {number(p, 2)}"


def capital(text: str, names: Sequence[str] = ()) -> str:
    """With a capital in front, unless it begins with the name of a model.

    Args:
        text: a sentence.
        names: the labels of models that it speaks of.
    """
    return text if text.startswith(tuple(names)) else text[:1].upper() + text[1:]


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


def _strength(clear: Sequence[Compared]) -> float:
    """From 1 where anything is clear; differences of shares go before others, the larger the earlier."""
    if not clear:
        return 0.0
    return 1.0 + max((abs(one.difference.value) for one in clear if one.unit == POINTS), default=0.0)


def _in_widths(one: Compared) -> float:
    """How large a difference is against its interval."""
    width = one.difference.high - one.difference.low
    return abs(one.difference.value) / width if width > 0 else 0.0


def _in_units(one: Difference, unit: str) -> tuple[float, float, float]:
    """Value and interval; what rounding leaves of zero is zero."""
    factor = 100.0 if unit == POINTS else 1.0
    value, low, high = (round(factor * part, _DECIMALS) for part in (one.value, one.low, one.high))
    return value, low, high


def _is_of(table: pa.Table, row: Mapping[str, Any]) -> Any:
    import pyarrow.compute as pc

    return pc.and_(pc.equal(table["model"], row["model"]), pc.equal(table["job"], row["job"]))
