"""Sentences on confidence: too high or too low, what a temperature changes, which of two models knows itself better."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import UNKNOWN, Finding, about, counted, label_of, number
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.calibration.question import Calibration
from visionscope.diagnostics.calibration.results import COOLED, NLL
from visionscope.diagnostics.outcomes.words import (
    Clear,
    between,
    chance,
    difference_of,
    is_clear,
    masks_limit,
    share_numbers,
    share_text,
)

Row = Mapping[str, Any]
_COLUMNS = (
    *("scaling", "temperature", "images", "fit_images", "bins", "accuracy", "confidence"),
    *("signed_ece", "signed_ece_low", "signed_ece_high", "ece", "ece_low", "ece_high"),
    *("nll", "nll_low", "nll_high", "brier"),
)
_LIMITS = (
    "Confidence is compared with accuracy on images of this data alone; on other data a network may be calibrated "
    "otherwise. ECE depends on its bins, and is above zero by chance even for a perfectly calibrated network: the "
    "fewer the images, the more.",
    "Temperature scaling is fitted on images that the measures don't see; it changes no decision.",
)


def limits(asked: Calibration, tables: Tables) -> Sequence[str]:
    """What a calibration can't tell."""
    return (*_LIMITS, *masks_limit(tables))


def findings(asked: Calibration, tables: Tables) -> list[Finding]:
    """For each model whether it is over- or under-confident and what a temperature changes; models compared."""
    comparisons = tables.get("comparisons")
    compared = [] if comparisons is None else comparisons.to_pylist()
    cooled = {row["model"]: row for row in compared if row["number"] == COOLED}
    own = [
        _confidence({row["scaling"]: row for row in rows}, cooled.get(rows[0]["model"]))
        for rows in rows_by_model(tables["summary"]).values()
    ]
    return own if comparisons is None else [*own, *between(comparisons, tables["summary"], _said(tables["summary"]))]


def _said(summary: pa.Table) -> Callable[[Sequence[Clear]], str]:
    """What is said of two models: over- or under-confident by how much each is, the one that is so by more first."""
    plain = [row for row in summary.to_pylist() if row["scaling"] == "none"]
    by_label = {label_of([row]): row for row in plain}

    def said_of(one: Clear, *, alone: bool) -> str:
        if one.number == NLL:
            return f"{one.less} has a lower NLL{f' than {one.more}' if alone else ''}"
        first, second = sorted((one.more, one.less), key=lambda name: -abs(by_label[name]["signed_ece"]))
        ways = [_way(by_label[name]) for name in (first, second)]
        sizes = [f"{100 * abs(by_label[name]['signed_ece']):.1f}" for name in (first, second)]
        way = f"{ways[1]} " if ways[0] != ways[1] else ""
        aside = "" if _is_apart(by_label[second]) else " (not significant)"
        return f"{first} is {ways[0]} by {sizes[0]} percentage points, {second} {way}by {sizes[1]}{aside}"

    return lambda clear: "; ".join(said_of(one, alone=len(clear) == 1) for one in clear)


def _way(row: Row) -> str:
    return "over-confident" if row["signed_ece"] > 0 else "under-confident"


def _is_apart(row: Row) -> bool:
    """Whether the interval of the signed error lies on one side of zero."""
    return bool(row["signed_ece_low"] > 0 or row["signed_ece_high"] < 0)


def _confidence(rows: Mapping[str, Row], cooled: Row | None) -> Finding:
    row = rows["none"]
    size = number(100 * abs(row["signed_ece"]))
    less = f"confidence falls short of accuracy by {size} percentage points"
    error = less if row["signed_ece"] < 0 else f"confidence exceeds accuracy by {size} percentage points"
    verdict = "described"
    if _is_apart(row):
        said = f"the network is {_way(row)}: {error}"
    else:
        said, verdict = f"it is unclear whether it is over- or under-confident: {error}", UNKNOWN
    ece = f"ECE {share_text(row, 'ece')} over {counted(row['images'], 'image')}; NLL {number(row['nll'])} nat"
    signed = f"Signed ECE {_points(row, 'signed_ece')}."
    detail = [f"{signed} {ece}, Brier score {number(row['brier'])}."]
    if cooled is not None:
        detail.append(_temperature(rows["temperature"], cooled))
    return about(
        list(rows.values()),
        said,
        detail=detail,
        columns=_COLUMNS,
        verdict=verdict,
        strength=0.6 if verdict == "described" else 0.0,
        **share_numbers(row, "signed_ece", "signed ECE"),
    )


def _temperature(row: Row, cooled: Row) -> str:
    numbers = f"{difference_of(cooled)}, {chance(cooled['p'])}"
    if is_clear(cooled):
        effect = f"{'lowers' if cooled['difference'] < 0 else 'raises'} NLL ({numbers})"
    else:
        effect = f"has no significant effect on NLL ({numbers})"
    fitted = f"A temperature of {number(row['temperature'])}, fitted on {counted(row['fit_images'], 'other image')}"
    return f"{fitted}, {effect}; ECE is then {share_text(row, 'ece')}."


def _points(row: Row, name: str) -> str:
    """A difference of shares with its interval."""
    value, low, high = (100 * row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{number(value)} percentage points (95 % interval {number(low)} to {number(high)})"
