"""High frequencies against low ones: what they cost one network, and two."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import UNKNOWN, Finding, about, joined, number
from visionscope.core.table import to_table, with_leading_of
from visionscope.diagnostics.outcomes.fairness import has_something_to_lose, nothing_to_lose, relative_loss, unlike
from visionscope.diagnostics.outcomes.rows import ABOVE_CHANCE, CHANGES, POINTS, ComparisonRow
from visionscope.diagnostics.outcomes.statistics import Measured, Number, compared, comparison_row, shared_conditions
from visionscope.diagnostics.outcomes.words import (
    Clear,
    between,
    chance,
    change_numbers,
    change_text,
    compared_by_model,
    difference_of,
    is_clear,
    no_difference,
)
from visionscope.numerics.paired import Values, paired_means

Row = Mapping[str, Any]
Key = tuple[Any, ...]
QUESTION = "noise"
_UNDER, _LESS = "accuracy under ", " less that under "
LOSS = "loss under "


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ends:
    """The conditions of high and those of low frequency.

    Attributes:
        high: their keys.
        low: their keys.
        words: what the high and the low ones are called.
        equal_energy: whether all conditions have the same energy; else the high ones are not compared with the low.
    """

    high: Sequence[Key]
    low: Sequence[Key]
    words: tuple[str, str]
    equal_energy: bool = True


def comparisons(
    models: Sequence[Measured], clean: Key, ends_of: Callable[[Sequence[Key], Mapping[str, Any]], Ends | None]
) -> pa.Table:
    """Of each model the accuracy under high less that under low frequencies; of each two the losses under either.

    Losses are relative to the accuracy above chance, of networks about as accurate (see `fairness`). A network that has
    nothing to lose has no row, nor have frequencies that differ in energy, of which a loss tells as much.

    All are paired over images. p of one model is its own; those of two are raised by Holm's rule over all pairs.

    Args:
        models: what each gets right under each condition.
        clean: the key of the clean images.
        ends_of: from keys and a model's settings the ends, or None where there are too few conditions.
    """
    found = []
    for one in models:
        own = ends_of([key for key in one.values if key != clean], one.settings)
        if own and own.equal_energy and has_something_to_lose(one):
            difference = paired_means(one.mean(own.high), one.mean(own.low))
            name = f"{_UNDER}{own.words[0]}{_LESS}{own.words[1]}"
            found.append((one.first, comparison_row(name, difference, difference.p, POINTS, one)))
    table = with_leading_of(to_table(ComparisonRow, [row for _, row in found]), [first for first, _ in found])
    common = shared_conditions(models, clean)
    both = ends_of(common, models[0].settings) if common else None
    if common and not both:
        return table
    pairs = zip(both.words, (both.high, both.low), strict=True) if both else ()
    numbers = [Number(name=f"{LOSS}{words}", value=_loss(keys), unit=ABOVE_CHANCE) for words, keys in pairs]
    return pa.concat_tables([table, compared(models, numbers, unlike)])


def _loss(keys: Sequence[Key]) -> Callable[[Measured], Values]:
    return lambda one: relative_loss(one, one.mean(keys))


def worst_and_ends(
    rows: Sequence[Row],
    tables: Tables,
    named: Callable[[Row], str],
    *,
    none: str,
    many: str,
    columns: Sequence[str],
    equal_energy: bool = True,
) -> Finding:
    """What costs one network most, whether high or low frequencies hurt it more, and what makes no difference.

    Of a network that is not significantly above chance no more than that is said. Of changes that differ in energy none
    is said to cost most, but how many of them cost something.

    Args:
        rows: of the summary, of one model, in the order that they are shown in.
        tables: with the comparisons.
        named: from a row, what was added.
        none: says that nothing of it does something, without the verb.
        many: what was added, in the plural.
        columns: of the condition.
        equal_energy: whether all changes have the same energy.
    """
    idle = nothing_to_lose(rows)
    if idle is not None:
        return idle
    worst = min(rows, key=lambda row: float(row["change"]))
    clear = is_clear(worst)
    compared = [one for one in compared_by_model(tables).get(rows[0]["model"], []) if not one["other"]]
    detail = [_more_is_lost(one) for one in compared]
    if clear and not equal_energy:
        costly = sum(is_clear(row) and row["change"] < 0 for row in rows)
        statement = f"{costly} of {len(rows)} {many} lower accuracy significantly, by up to {number(-worst['change'])} "
        statement += "percentage points"
        detail.append(f"The most is under {named(worst)}: {change_text(worst)}.")
    elif clear:
        statement = f"{named(worst)} costs most: {number(-worst['change'])} percentage points of accuracy"
        detail.insert(0, f"Change: {change_text(worst)}.")
        detail.append(no_difference(sum(not is_clear(row) for row in rows), len(rows), many))
    else:
        statement = f"{none} changes accuracy significantly"
        detail.insert(0, f"The largest loss: {change_text(worst)}.")
    return about(
        rows,
        statement,
        detail=detail,
        columns=(*columns, *CHANGES),
        verdict="described" if clear else UNKNOWN,
        strength=0.0 if not clear else 0.7 if any(map(is_clear, compared)) else 0.3,
        **change_numbers(worst),
    )


def _more_is_lost(one: Row) -> str:
    """Whether a network suffers more from high or from low frequencies."""
    high, _, low = one["number"].removeprefix(_UNDER).partition(_LESS)
    numbers = f"accuracy under high minus under low: {difference_of(one)}, {chance(one['p_holm'])}"
    if not is_clear(one):
        return f"It is unclear whether more is lost under {high} or under {low}: {numbers}."
    worse, better = (high, low) if one["difference"] < 0 else (low, high)
    return f"More is lost under {worse} than under {better}: {numbers}."


def between_models(tables: Tables, state: Callable[[Sequence[Row]], str] = lambda rows: "") -> Iterator[Finding]:
    """Which of two networks loses more under high, and under low frequencies.

    Args:
        tables: of one diagnostic.
        state: from the comparisons of a pair of trained models, how they stand to the paper.
    """

    def say(clear: Sequence[Clear]) -> str:
        first, *others = clear
        under = [one.number.removeprefix("loss ") for one in clear]
        if others and first.more != others[0].more:
            return f"{first.more} loses more of its accuracy {under[0]}, {others[0].more} {under[1]}"
        return f"{first.more} loses more of its accuracy than {first.less} {joined(under)}"

    if "comparisons" in tables:
        yield from between(tables["comparisons"], tables["rows"], say, question=QUESTION, state=state)
