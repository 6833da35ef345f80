"""One sentence of the summary with the rows that it was computed from, and the words all sentences share."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

NO_CLEAR_CHANGE = "no clear change"
UNCHANGED = "unchanged"
UNKNOWN = "can't be said"
MODELS_DIFFER = "models differ"
_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """A sentence computed from rows of a table.

    Attributes:
        anchor: the HTML id under which the page lists the rows.
        diagnostic: the table's name.
        model: the label of the model; "" for a sentence about two models.
        kind: the kinds of the points that it speaks of, joined by `/`, or "".
        verdict: `lowers`, `raises` (each also `slightly`), `mixed` (some do otherwise than others), `no clear change`
            or `unchanged`; for similarities `stages differ`, `stages don't differ`, `can't be said` or `described`;
            between models also `models differ`.
        headline: the sentence.
        brief: the same where the model has just been named.
        detail: sizes, intervals and places, in further sentences.
        columns: the names of the columns of `rows`.
        rows: exactly the rows counted.
        strength: from 0; the more points agree on a direction, the larger.
    """

    anchor: str
    diagnostic: str
    model: str
    kind: str
    verdict: str
    headline: str
    brief: str
    detail: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    strength: float

    @property
    def text(self) -> str:
        """Headline and detail as one paragraph."""
        return f"{self.headline} {self.detail}".strip()


def across_models(
    anchor: str,
    diagnostic: str,
    headline: str,
    *,
    verdict: str,
    detail: str,
    columns: Sequence[str],
    rows: Iterable[tuple[Any, ...]],
    strength: float,
) -> Finding:
    """A sentence on several models, which is the same in full and in brief.

    Args:
        anchor: see `Finding`, as for the others.
        diagnostic: the table's name.
        headline: the sentence.
        verdict: see `Finding`.
        detail: further sentences.
        columns: the names of the columns of `rows`.
        rows: those counted.
        strength: see `Finding`.
    """
    return Finding(
        anchor=anchor,
        diagnostic=diagnostic,
        model="",
        kind="",
        verdict=verdict,
        headline=headline,
        brief=headline,
        detail=detail,
        columns=tuple(columns),
        rows=tuple(rows),
        strength=strength,
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


def grouped(table: pa.Table, columns: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each model of each job, in table order, under a name that tells them apart.

    Args:
        table: result rows with the columns `model`, `data` and `job`.
        columns: which columns are needed besides.

    Returns:
        By name: the model's label, followed by data and job only where one label has several jobs in the table.
    """
    leading = ("model", "data", "weights", "job")
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in table.select([*leading, *(name for name in columns if name not in leading)]).to_pylist():
        rows.setdefault((row["model"], row["data"], row["job"]), []).append(row)
    named = {}
    for (model, data, job), members in rows.items():
        twins = [key for key in rows if key[0] == model]
        same_data = [key for key in twins if key[1] == data]
        name = model if len(twins) == 1 else f"{model} on {data}" if len(same_data) == 1 else f"{model} ({job})"
        named[name] = members
    return named


def weights_remark(rows: Sequence[Mapping[str, Any]]) -> str:
    """' (random weights)' behind the name of a model that nobody trained, so that no sentence travels without it.

    Args:
        rows: rows of one model.
    """
    return " (random weights)" if any(str(row["weights"]).startswith("random") for row in rows) else ""


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
    exponent = math.floor(math.log10(abs(value)))
    if exponent < -4 or exponent >= 6:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    return f"{value:.{max(0, digits - 1 - exponent)}f}".replace("-", "−")
