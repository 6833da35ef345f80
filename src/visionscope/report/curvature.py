"""Sentences on the Hessian: how many eigenvalues are negative, how large the positive ones are, the whole spectrum."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from scipy.special import ndtri

from visionscope.core.finding import MODELS_DIFFER, UNKNOWN, Finding, grouped, joined, number, weights_remark

LEAST_MINI_BATCHES = 8
"""Below this, resampling mini-batches gives intervals that are too narrow to compare by."""

_MOST_LEFT_OUT = 0.05
_ALL_PAIRS = 3
_TAIL = 0.025
_APART = 4.0  # standard errors between two estimates of one trace
_ROWS = ("mini_batch", "rank", "eigenvalue", "residual", "converged")
_SETTINGS = ("data", "precision", "augmentation", "batch_norm", "weight_decay", "label_smoothing", "k")
_UNIT = "nat per squared weight"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """A number that two models are compared by.

    Attributes:
        name: of its column, `_low` and `_high` being its interval's.
        more: what is said of the model with the larger number and of the other.
        short: how the number is called.
        share: whether it is told in percent.
    """

    name: str
    more: str
    short: str
    share: bool

    def text(self, row: Mapping[str, Any]) -> str:
        """The number with its interval."""
        value, (low, high) = row[self.name], ends_of(row, self.name) or (None, None)
        if self.share:
            value, low, high = (None if part is None else 100 * part for part in (value, low, high))
        unit = " %" if self.share else ""
        said = f"{number(value)}{unit}"
        return f"{said}, no interval" if low is None else f"{said}, 95 % interval {number(low)} to {number(high)}{unit}"


COMPARED = (
    Compared(
        name="positive_mean",
        more="the positive eigenvalues of {} are larger than those of {}",
        short="mean of the positive",
        share=False,
    ),
    Compared(
        name="negative_share",
        more="more of the eigenvalues of {} are negative than of those of {}",
        short="share of negative",
        share=True,
    ),
)


def ends_of(row: Mapping[str, Any], name: str, chosen_of: int = 2) -> tuple[float, float] | None:
    """A number's 95 % interval, widened where the two that are compared were chosen as the extremes of several.

    Chance alone sets the extremes of m numbers apart. Bonferroni's rule over the m (m - 1) / 2 pairs asks for a
    difference of z * sqrt(2) errors; intervals that don't touch ask for half of that each.

    Args:
        row: of the summary.
        name: of the number's column.
        chosen_of: m, how many there were to choose from.
    """
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if low is None or high is None:
        return None
    widened = max(1.0, float(ndtri(1 - _TAIL / math.comb(chosen_of, 2)) / (math.sqrt(2) * ndtri(1 - _TAIL))))
    return value - widened * (value - low), value + widened * (high - value)


def hessian_findings(table: pa.Table, summary: pa.Table) -> Iterator[Finding]:
    """For each model NEP and APE of the whole, then of its parts; for pairs of models which has more, where it shows.

    A model is said to have more only where the 95 % intervals, bootstrapped over mini-batches, are apart: a stricter
    rule than an interval of the difference would be.

    Args:
        table: eigenvalues with the leading columns.
        summary: what they come to, see `HessianSummaryRow`.
    """
    eigenvalues = grouped(table, ("level", "scope", "label_smoothing", *_ROWS))
    numbers = grouped(summary, summary.column_names)
    whole: list[tuple[str, dict[str, Any]]] = []
    serial = itertools.count(1)
    for name, rows in numbers.items():
        label = name + weights_remark(rows)
        by_level = {
            level: [row for row in rows if row["level"] == level] for level in {row["level"]: 0 for row in rows}
        }
        for level, members in by_level.items():
            own = [row for row in eigenvalues[name] if row["level"] == level]
            anchor = f"rows-hessian-{next(serial)}"
            if level == "model":
                asked = {"label_smoothing": own[0]["label_smoothing"], "k": max(row["rank"] for row in own)}
                whole.append((label, {**members[0], **asked}))
                one = _of_model(anchor, label, members[0], own)
            else:
                one = _of_parts(anchor, label, level, members)
            yield one if name == rows[0]["model"] else dataclasses.replace(one, brief=one.headline)
    for compared in COMPARED:
        for first, second, chosen_of in _pairs(whole, compared.name):
            yield _between(f"rows-hessian-{next(serial)}", first, second, compared, chosen_of)


def density_findings(summary: pa.Table) -> Iterator[Finding]:
    """One sentence for each model: the trace with its error, and how much of the spectrum is negative.

    Args:
        summary: see `DensitySummaryRow`, with the leading columns.
    """
    columns = ("quantity", "value", "standard_error", "unit")
    for serial, (name, rows) in enumerate(grouped(summary, (*columns, "images", "parameters")).items(), start=1):
        known = {row["quantity"]: row for row in rows}
        said = []
        if "trace" in known:
            row = known["trace"]
            mean = number(row["value"] / row["parameters"], 2)
            said.append(f"the Hessian's trace is {_with_error(row)} {row['unit']}, {mean} per parameter")
        if "share of negative mass" in known:
            said.append(f"{_with_error(known['share of negative mass'], 100)} % of the spectrum is negative")
        if not said:
            continue
        label = name + weights_remark(rows)
        statement = f"over {rows[0]['images']} images {joined(said)}"
        ends = [known[key]["value"] for key in ("smallest Ritz value", "largest Ritz value") if key in known]
        detail = f"It reaches from {number(ends[0])} to {number(ends[1])}." if len(ends) == 2 else ""
        headline = f"In {label}, {statement}."
        yield Finding(
            anchor=f"rows-density-{serial}",
            diagnostic="density",
            model=rows[0]["model"],
            kind="",
            verdict="described",
            headline=headline,
            brief=f"{statement[0].upper()}{statement[1:]}." if name == rows[0]["model"] else headline,
            detail=f"{detail} {_disagreement(known)}".strip(),
            columns=columns,
            rows=tuple(tuple(row[key] for key in columns) for row in rows),
            strength=0.0,
        )


def _of_model(anchor: str, label: str, row: Mapping[str, Any], eigenvalues: Sequence[Mapping[str, Any]]) -> Finding:
    positive, negative = COMPARED
    count = row["eigenvalues"]
    if not count:
        said = "no eigenvalue converged"
    else:
        share = f"{number(100 * row['negative_share'])} %" if row["negative_share"] else "none"
        said = f"{share} of the {count} Hessian eigenvalues of largest magnitude "
        said += "is negative" if share == "none" else "are negative"
        mean = row["positive_mean"]
        said += "" if mean is None else f"; the positive ones average {number(mean)} {_UNIT}"
    detail = []
    if count:
        detail.append(f"NEP {negative.text(row)}; APE {positive.text(row)}, over {row['mini_batches']} mini-batches.")
        quartiles = f"{number(row['lower_quartile'])} and {number(row['upper_quartile'])}"
        detail.append(f"Median {number(row['median'])}, quartiles {quartiles}.")
    return Finding(
        anchor=anchor,
        diagnostic="hessian",
        model=row["model"],
        kind="",
        verdict="described",
        headline=f"In {label}, {said}.",
        brief=f"{said[0].upper()}{said[1:]}.",
        detail=" ".join([*detail, *_left_out(row)]),
        columns=_ROWS,
        rows=tuple(tuple(one[key] for key in _ROWS) for one in eigenvalues),
        strength=0.1 if count else 0.0,
    )


def _of_parts(anchor: str, label: str, level: str, rows: Sequence[Mapping[str, Any]]) -> Finding:
    """The parts with the largest and the smallest mean of the positive eigenvalues."""
    columns = ("scope", "parameters", "eigenvalues", "unconverged", *_with_ends("negative_share", "positive_mean"))
    known = sorted((row for row in rows if row["positive_mean"] is not None), key=lambda row: row["positive_mean"])
    said, verdict, detail = f"no {level} has a positive eigenvalue", "described", []
    if known:
        low, high = known[0], known[-1]
        apart = _verdict(high, low, "positive_mean", len(known)) == "more" and not _why_not(high, low)
        texts = [f"{row['scope']} ({COMPARED[0].text(row)})" for row in (high, low)]
        said = f"the positive eigenvalues are largest in {texts[0]} and smallest in {texts[1]}"
        if len(known) == 1:
            said = f"the positive eigenvalues of {high['scope']} average {COMPARED[0].text(high)}"
        elif not apart:
            said = f"which {level} has the largest positive eigenvalues can't be said"
            verdict, detail = UNKNOWN, [f"The extremes are {texts[0]} and {texts[1]}."]
    said = f"by {level}, {said}"
    missing = sum(row["unconverged"] for row in rows)
    if missing:
        detail.append(f"{missing} eigenvalues did not converge and are left out.")
    return Finding(
        anchor=anchor,
        diagnostic="hessian",
        model=rows[0]["model"],
        kind="",
        verdict=verdict,
        headline=f"In {label}, {said}.",
        brief=f"{said[0].upper()}{said[1:]}.",
        detail=" ".join(detail),
        columns=columns,
        rows=tuple(tuple(row[key] for key in columns) for row in rows),
        strength=0.0,
    )


def _between(
    anchor: str,
    first: tuple[str, dict[str, Any]],
    second: tuple[str, dict[str, Any]],
    compared: Compared,
    chosen_of: int,
) -> Finding:
    (high, row), (low, other) = sorted((first, second), key=lambda pair: -pair[1][compared.name])
    verdict = _verdict(row, other, compared.name, chosen_of)
    claim = compared.more.format(high, low)
    reason = _why_not(row, other)
    if verdict != "more" or reason:
        claim = f"whether {claim} can't be told"
        claim += f": {reason}" if reason else ": the intervals overlap"
    headline = f"{claim[0].upper()}{claim[1:]}."
    texts = f"{compared.text(row)}, against {compared.text(other)}"
    columns = ("model", *_SETTINGS, "mini_batches", "eigenvalues", "unconverged", *_with_ends(compared.name))
    clear = verdict == "more" and not reason
    return Finding(
        anchor=anchor,
        diagnostic="hessian",
        model="",
        kind="",
        verdict=MODELS_DIFFER if clear else UNKNOWN,
        headline=headline,
        brief=headline,
        detail=f"{compared.short[0].upper()}{compared.short[1:]}: {texts}.",
        columns=columns,
        rows=tuple(tuple(one[key] for key in columns) for one in (row, other)),
        strength=1.0 if clear else 0.0,
    )


def _pairs(
    models: Sequence[tuple[str, dict[str, Any]]], name: str
) -> Iterator[tuple[tuple[str, dict[str, Any]], tuple[str, dict[str, Any]], int]]:
    """Each two of a few models, or of many the two that differ most; and from how many they were chosen."""
    known = sorted((pair for pair in models if pair[1][name] is not None), key=lambda pair: -pair[1][name])
    if len(known) > _ALL_PAIRS:
        yield known[0], known[-1], len(known)
        return
    for first, second in itertools.combinations(known, 2):
        yield first, second, 2


def _verdict(row: Mapping[str, Any], other: Mapping[str, Any], name: str, chosen_of: int) -> str:
    ends, others = ends_of(row, name, chosen_of), ends_of(other, name, chosen_of)
    return "more" if ends is not None and others is not None and ends[0] > others[1] else UNKNOWN


def _why_not(row: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Why two models don't compare, or ""."""
    differing = [key.replace("_", " ") for key in _SETTINGS if key in row and row[key] != other[key]]
    if differing:
        return f"they differ in {joined(differing)}"
    fewest = min(row["mini_batches"], other["mini_batches"])
    if fewest < LEAST_MINI_BATCHES:
        return f"{fewest} mini-batches are too few (take at least {LEAST_MINI_BATCHES})"
    for one in (row, other):
        if one["unconverged"] > _MOST_LEFT_OUT * (one["unconverged"] + one["eigenvalues"]):
            return f"too many eigenvalues of {one['model']} did not converge ({one['unconverged']})"
    return ""


def _left_out(row: Mapping[str, Any]) -> list[str]:
    missing = row["unconverged"]
    total = missing + row["eigenvalues"]
    verb = "is" if missing == 1 else "are"
    return [f"{missing} of {total} did not converge and {verb} left out, marked in the rows."] if missing else []


def _with_ends(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}{end}" for name in names for end in ("", "_low", "_high"))


def _with_error(row: Mapping[str, Any], factor: float = 1.0) -> str:
    error = row["standard_error"]
    value = number(factor * row["value"])
    return value if error is None else f"{value} ± {number(factor * error, 2)}"


def _disagreement(known: Mapping[str, Mapping[str, Any]]) -> str:
    """A word where the two estimates of the trace are farther apart than chance makes likely."""
    rows = [known.get("trace"), known.get("trace from the density's probes")]
    if any(row is None or row["standard_error"] is None for row in rows):
        return ""
    first, second = (row for row in rows if row is not None)
    reach = _APART * math.hypot(first["standard_error"], second["standard_error"])
    if abs(first["value"] - second["value"]) <= reach:
        return ""
    return f"The density's own random vectors disagree on the trace: {_with_error(second)}. Take more probes."
