"""One sentence of the summary with the rows that it was computed from, and the words all sentences share."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NO_CLEAR_CHANGE = "no clear change"
UNCHANGED = "unchanged"
UNKNOWN = "unclear"
MODELS_DIFFER = "models differ"
AS_THE_PAPER = "as the paper"
AGAINST_THE_PAPER = "against the paper"
MOST_WORDS = 25
"""The longest headline; the name of the model counts as it stands."""

_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """A sentence computed from rows of a table.

    Attributes:
        model: the label of the model; "" for a sentence about several.
        headline: the sentence.
        brief: the same where the model has just been named; the headline by default.
        detail: sizes, intervals and places, in further sentences.
        columns: the names of the columns of `rows`.
        rows: exactly the rows counted.
        strength: from 0; the more points agree on a direction, the larger.
        verdict: `lowers`, `raises` (each also `slightly`), `mixed` (some do otherwise than others), `no clear change`
            or `unchanged`; for similarities `stages differ`, `stages don't differ`, `unclear` or `described`;
            between models also `models differ`.
        kind: the kinds of the points that it speaks of, joined by `/`, or "".
        question: what it answers, where several diagnostics ask the same; by default its diagnostic.
        models: the labels of the models that a sentence about several compares.
        measure: what was measured, in the words of the table; "" where the sentence rests on no single number.
        value: of the measure, or the difference between two models in it.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
        unit: of value, low and high.
        n: images, points or units that the value rests on.
        state: where the paper reports a result, `as the paper`, `against the paper` or `no clear change`; else "".
        diagnostic: whose it is; filled in where the findings of all are put together.
        anchor: the HTML id under which the page lists the rows; filled in there, too.
    """

    model: str
    headline: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    brief: str = ""
    detail: str = ""
    strength: float = 0.0
    verdict: str = "described"
    kind: str = ""
    question: str = ""
    models: tuple[str, ...] = ()
    measure: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    n: int | None = None
    state: str = ""
    diagnostic: str = ""
    anchor: str = ""

    @property
    def text(self) -> str:
        """Headline and detail as one paragraph."""
        return f"{self.headline} {self.detail}".strip()


def about(
    rows: Sequence[Mapping[str, Any]],
    statement: str,
    *,
    columns: Sequence[str],
    detail: Sequence[str] = (),
    lead: str = "In",
    shown: Sequence[Mapping[str, Any]] | None = None,
    **more: Any,
) -> Finding:
    """A sentence on one model.

    Args:
        rows: the rows counted, of one model, with the leading columns.
        statement: without a full stop, and without the model's name.
        columns: of the rows, those that are shown; what a table lacks is left out.
        detail: further sentences.
        lead: the word before the model's name.
        shown: the rows to show, where they are not those counted.
        **more: further attributes of the `Finding`.
    """
    listed = rows if shown is None else shown
    own = tuple(key for key in columns if key in listed[0])
    return Finding(
        model=str(rows[0]["model"]),
        headline=f"{lead} {label_of(rows)}, {statement}.",
        brief=f"{capital(statement)}.",
        detail=" ".join(text for text in detail if text),
        columns=own,
        rows=tuple(tuple(row[key] for key in own) for row in listed),
        **more,
    )


def interval(
    value: float | None, error: float | None, degrees: int, *, comparisons: int = 1
) -> tuple[float, float] | None:
    """The 95 % interval of a mean: value -+ t * error, with Student's t of that many degrees of freedom.

    Args:
        value: the mean, or None.
        error: its standard error, or None where it is unknown.
        degrees: the number of independent observations less one.
        comparisons: how many intervals shall hold their means at once, by Bonferroni's rule.

    Returns:
        Its ends, or None where there is no interval to speak of.
    """
    if value is None or error is None or degrees < 1 or not (math.isfinite(value) and math.isfinite(error)):
        return None
    from scipy.special import stdtrit

    reach = float(stdtrit(degrees, 1 - (1 - _CONFIDENCE) / 2 / comparisons)) * error
    return value - reach, value + reach


def verdict_of(ends: tuple[float, float] | None) -> str:
    """`lowers` or `raises` where the whole interval lies on one side of zero, else `no clear change`.

    Args:
        ends: from `interval`.
    """
    if ends is not None and ends[1] < 0:
        return "lowers"
    if ends is not None and ends[0] > 0:
        return "raises"
    return NO_CLEAR_CHANGE


def label_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """A model's label, with '(random weights)' behind it where nobody trained it: no sentence travels without that.

    Args:
        rows: rows of one model, with the leading columns.
    """
    return f"{rows[0]['model']}{'' if is_trained(rows) else ' (random weights)'}"


def is_trained(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a model's weights are not random: what the paper reports is of trained networks.

    Args:
        rows: rows of one model, with the leading columns.
    """
    return not any(str(row["weights"]).startswith("random") for row in rows)


def capital(text: str, names: Sequence[str] = ()) -> str:
    """With a capital in front, unless it begins with the name of a model.

    Args:
        text: a sentence.
        names: the labels of models that it speaks of.
    """
    return text if text.startswith(tuple(names)) else text[:1].upper() + text[1:]


def region_names(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a model has several stages; a plain transformer has one, and thirds of depth take their place.

    Args:
        rows: all rows of one model, with the column `stage`.
    """
    return len({row["stage"] for row in rows if row["stage"] > 0}) > 1


def region_of(stage: int, depth: float, *, staged: bool) -> str:
    """The part of the network that a point belongs to.

    Args:
        stage: the point's stage.
        depth: the point's normalised depth.
        staged: from `region_names`.
    """
    if staged:
        return "the stem" if stage == 0 else f"stage {stage}"
    return ("the first third", "the middle third", "the last third")[min(int(depth * 3), 2)]


def span(ends: tuple[float, float] | None, *, digits: int = 3) -> str:
    """'95 % interval A to B', or why there is none.

    Args:
        ends: from `interval`.
        digits: significant digits.
    """
    if ends is None:
        return "no interval: too few images"
    return f"95 % interval {number(ends[0], digits)} to {number(ends[1], digits)}"


def joined(parts: Sequence[str]) -> str:
    """'a', 'a and b' or 'a, b and c'.

    Args:
        parts: what to list.
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def counted(count: int, one: str, many: str = "") -> str:
    """'1 image' or '256 images'.

    Args:
        count: how many.
        one: what they are, in the singular.
        many: the plural; by default with an s.
    """
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def grouped(count: float) -> str:
    """A whole number for people, with a narrow space between its thousands.

    Args:
        count: what to print.
    """
    return f"{count:,.0f}".replace(",", "\u202f")


def number(value: float | None, digits: int = 3) -> str:
    """A number for people: significant digits, a real minus sign, a dash for a missing or non-finite one.

    Args:
        value: what to print.
        digits: significant digits.
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # of what is shown: 9.999 is 10.0
    if exponent < -4 or exponent >= 6:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    return f"{value:.{max(0, digits - 1 - exponent)}f}".replace("-", "−")
