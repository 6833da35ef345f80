"""Sentences on landscapes: how far the loss stays low, which network lies flatter, what is not finite."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import pyarrow as pa

from visionscope.core.finding import (
    MODELS_DIFFER,
    UNKNOWN,
    Finding,
    grouped,
    interval,
    joined,
    number,
    span,
    weights_remark,
)

_COLUMNS = ("quantity", "value", "deviation", "low", "high", "unit", "directions", "note")
_SETTINGS = ("data", "precision", "plane", "normalization", "images", "augmentation", "batch_norm", "label_smoothing")
_PLACES = ("draw", "x", "y", "place", "nll", "l2")
_ALL_PAIRS = 3
_RADIUS, _SHARPNESS, _HOLES = "radius at a rise of ", "sharpness: rise at step ", "non-finite places"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Around:
    """What is known of the surroundings of one network.

    Attributes:
        label: with a word on random weights.
        rows: of the summary.
        settings: under which they were measured.
        border: share of L2 in the rise of NLL + L2 at the border of the grid, or None.
    """

    label: str
    rows: list[dict[str, Any]]
    settings: dict[str, Any]
    border: float | None

    def find(self, start: str) -> dict[str, Any] | None:
        """The row of the quantity whose name begins like this."""
        return next((row for row in self.rows if row["quantity"].startswith(start)), None)


def landscape_findings(table: pa.Table, summary: pa.Table) -> Iterator[Finding]:
    """For each model how far the NLL stays low; for pairs of models which lies flatter, where the draws allow to say.

    A network is called flatter only where the 95 % interval of the difference of the mean sharpness (Welch's, over
    directions) excludes zero. Networks of one architecture share their draws, which makes that interval wider than it
    need be. Along eigenvectors and between checkpoints nothing was drawn.

    Args:
        table: landscapes with the leading columns.
        summary: what they come to, see `LandscapeSummaryRow`.
    """
    places = grouped(table, (*_SETTINGS, *_PLACES))
    serial = itertools.count(1)
    known: list[_Around] = []
    for name, rows in grouped(summary, summary.column_names).items():
        own = places[name]
        settings = {key: own[0][key] for key in _SETTINGS}
        around = _Around(label=name + weights_remark(rows), rows=rows, settings=settings, border=_l2_at_border(own))
        known.append(around)
        one = _of_model(f"rows-landscape-{next(serial)}", around, len(own))
        yield one if name == rows[0]["model"] else dataclasses.replace(one, brief=one.headline)
    for first, second, chosen_of in _pairs(known):
        yield _between(f"rows-landscape-{next(serial)}", first, second, chosen_of)


def _of_model(anchor: str, around: _Around, places: int) -> Finding:
    radius, sharpness, holes = (around.find(start) for start in (_RADIUS, _SHARPNESS, _HOLES))
    said, detail = "no number on flatness is known", []
    if radius is not None:
        rise = radius["quantity"].removeprefix(_RADIUS)
        if radius["value"] is not None:
            said = f"the NLL has risen by {rise} at a step of {_spread(radius)}"
            detail += [f"That is {radius['note']}."] if radius["note"] else []
        else:
            nearest = "" if radius["low"] is None else f"; where it is, the nearest is at step {number(radius['low'])}"
            said = f"a rise of {rise} is {radius['note']}{nearest}"
    if sharpness is not None:
        step = sharpness["quantity"].removeprefix(_SHARPNESS)
        told = f"{_spread(sharpness)} nat higher" if sharpness["value"] is not None else f"unknown: {sharpness['note']}"
        detail.append(f"At step {step} it is {told}, over {sharpness['directions']} directions.")
    if holes is not None and holes["value"]:
        detail.append(f"{holes['value']:.0f} of {places} losses are not finite; they are holes in the figure.")
    if around.border is not None:
        detail.append(f"At the border of the grid L2 makes {number(100 * around.border, 2)} % of the rise of NLL + L2.")
    normalization = f" of {around.settings['normalization']}-normalized directions"
    statement = said + (normalization if around.settings["plane"] == "random" else "")
    return Finding(
        anchor=anchor,
        diagnostic="landscape",
        model=around.rows[0]["model"],
        kind="",
        verdict="described",
        headline=f"Around {around.label}, {statement}.",
        brief=f"{statement[0].upper()}{statement[1:]}.",
        detail=" ".join(detail),
        columns=_COLUMNS,
        rows=tuple(tuple(row[key] for key in _COLUMNS) for row in around.rows),
        strength=0.1 if radius is not None else 0.0,
    )


def _between(anchor: str, first: _Around, second: _Around, chosen_of: int) -> Finding:
    rows = [around.find(_SHARPNESS) for around in (first, second)]
    reason, detail, flatter = _why_not(first, second, rows), "", ""
    if not reason:
        one, other = (row for row in rows if row is not None)
        difference, ends = _difference(one, other, chosen_of)
        step = one["quantity"].removeprefix(_SHARPNESS)
        texts = f"{_spread(one)} around {first.label}, {_spread(other)} around {second.label}"
        detail = f"Rise of the NLL at step {step}, in nat: {texts}; difference {number(difference)} ({span(ends)})."
        if ends is not None and ends[1] < 0:
            flatter = f"{first.label} lies flatter than {second.label}"
        elif ends is not None and ends[0] > 0:
            flatter = f"{second.label} lies flatter than {first.label}"
        else:
            reason = "the spread over directions is too large"
    pair = f"{first.label} or {second.label}"
    headline = f"{flatter}." if flatter else f"Whether {pair} lies flatter can't be told: {reason}."
    columns = ("model", *_COLUMNS)
    return Finding(
        anchor=anchor,
        diagnostic="landscape",
        model="",
        kind="",
        verdict=MODELS_DIFFER if flatter else UNKNOWN,
        headline=headline,
        brief=headline,
        detail=detail,
        columns=columns,
        rows=tuple(tuple(row[key] for key in columns) for row in rows if row is not None),
        strength=1.0 if flatter else 0.0,
    )


def _pairs(known: Sequence[_Around]) -> Iterator[tuple[_Around, _Around, int]]:
    """Each two of a few networks, or of many the flattest and the sharpest; and from how many they were chosen."""
    if len(known) <= _ALL_PAIRS:
        yield from ((first, second, 2) for first, second in itertools.combinations(known, 2))
        return
    told = [(row["value"], place) for place, one in enumerate(known) if (row := one.find(_SHARPNESS)) is not None]
    ranked = sorted((value, place) for value, place in told if value is not None)
    if len(ranked) > 1:
        yield known[ranked[0][1]], known[ranked[-1][1]], len(ranked)


def _why_not(first: _Around, second: _Around, rows: Sequence[Mapping[str, Any] | None]) -> str:
    """Why two landscapes don't compare, or ""."""
    pairs = {key: {value, second.settings[key]} for key, value in first.settings.items()}
    # A network without BatchNorm has no statistics that could differ.
    pairs["batch_norm"] -= {"none"}
    differing = [key.replace("_", " ") for key, pair in pairs.items() if len(pair) > 1]
    if differing:
        return f"they differ in {joined(differing)}"
    if first.settings["plane"] != "random":
        return f"directions of the plane of {first.settings['plane']} are no random draws"
    if any(row is None for row in rows) or len({row["quantity"] for row in rows if row is not None}) > 1:
        return "the two were not asked at the same step"
    for around, row in zip((first, second), rows, strict=True):
        if row is not None and row["value"] is None:
            return f"around {around.label} the loss is {row['note']}"
        if row is not None and row["deviation"] is None:
            return "one direction has no spread (ask for draws)"
    return ""


def _difference(
    one: Mapping[str, Any], other: Mapping[str, Any], chosen_of: int
) -> tuple[float, tuple[float, float] | None]:
    """Welch's interval of the difference of two means; with Bonferroni's confidence for the extremes of several."""
    parts = [row["deviation"] ** 2 / row["directions"] for row in (one, other)]
    freedoms = [part**2 / (row["directions"] - 1) for part, row in zip(parts, (one, other), strict=True)]
    degrees = int(sum(parts) ** 2 / sum(freedoms)) if sum(freedoms) else min(one["directions"], other["directions"]) - 1
    difference = one["value"] - other["value"]
    return difference, interval(difference, math.sqrt(sum(parts)), degrees, comparisons=math.comb(chosen_of, 2))


def _spread(row: Mapping[str, Any]) -> str:
    text = number(row["value"])
    if row["deviation"] is None:
        return text
    ends = f"{number(row['low'])} to {number(row['high'])}"
    return f"{text} (standard deviation over directions {number(row['deviation'], 2)}, range {ends})"


def _l2_at_border(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """The mean share of L2 in the rise of NLL + L2 from the centre to the border of the grid, where both are finite."""
    grid = [row for row in rows if not row["draw"] and not row["place"] and row["l2"] is not None]
    centre = next((row for row in grid if row["x"] == row["y"] == 0), None)
    if centre is None or len({row["y"] for row in grid}) < 2:
        return None
    ends = {key: {min(row[key] for row in grid), max(row[key] for row in grid)} for key in ("x", "y")}
    border = [row for row in grid if row["x"] in ends["x"] or row["y"] in ends["y"]]
    rises = [(row["nll"] - centre["nll"], row["l2"] - centre["l2"]) for row in border]
    finite = [(nll, l2) for nll, l2 in rises if math.isfinite(nll) and math.isfinite(l2)]
    if not finite or any(nll < 0 or l2 < 0 for nll, l2 in finite):
        return None
    total = fmean(nll + l2 for nll, l2 in finite)
    return fmean(l2 for _, l2 in finite) / total if total > 0 else None
