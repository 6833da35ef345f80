"""Sentences on self-attention: how far its heads look at the beginning and at the end of a network."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from visionscope.core.finding import (
    NO_CLEAR_CHANGE,
    UNKNOWN,
    Finding,
    grouped,
    interval,
    joined,
    number,
    span,
    verdict_of,
)
from visionscope.numerics.ranks import rank_correlation
from visionscope.report.compare import SIGNIFICANT, about, chance

_SHOWN = (
    *("point", "stage", "depth", "head", "heads", "reach", "images", "distance", "distance_error"),
    *("uniform_distance", "entropy", "entropy_share", "entropy_error", "diversity", "diversity_error"),
)
_LEAST_POINTS = 5
_QUANTITIES = (("entropy", "nat", "more widely", "more narrowly"), ("diversity", "", "less alike", "more alike"))


def attention_findings(summary: pa.Table) -> Iterator[Finding]:
    """For each model how far the first and the last attention look, whether distance grows with depth, and the heads.

    The interval of the difference between two points takes the sum of their standard errors: they share their images,
    and for any correlation between them the true error is no larger.

    Args:
        summary: a row per head and per point.
    """
    serial = itertools.count(1)
    for name, rows in grouped(summary, summary.column_names).items():
        read = [row for row in rows if row["distance"] is not None]
        points = sorted((row for row in read if row["head"] is None), key=lambda row: float(row["depth"]))
        heads = [row for row in read if row["head"] is not None]
        if points:
            yield _distances(serial, name, points, heads)


def _distances(
    serial: Iterator[int], name: str, points: Sequence[Mapping[str, Any]], heads: Sequence[Mapping[str, Any]]
) -> Finding:
    first, last = points[0], points[-1]
    detail, verdict, strength = [], "described", 0.0
    if len(points) == 1:
        said = f"its only self-attention, {first['point']}, looks {_far(first)}"
    else:
        ends = _difference(first, last, "distance")
        moved = verdict_of(ends)
        difference = last["distance"] - first["distance"]
        reaches = f"{_far(first)} at {first['point']}, {_far(last)} at {last['point']}"
        detail.append(f"Difference {number(difference)} pixels ({span(ends)}).")
        if moved == NO_CLEAR_CHANGE:
            said, verdict = f"whether the last attention looks farther than the first can't be told: {reaches}", UNKNOWN
        else:
            said = f"the last attention looks {'farther' if difference > 0 else 'less far'} than the first: {reaches}"
            strength = 0.3
        detail += [_trend(points)] if len(points) >= _LEAST_POINTS else []
        detail += [_moved(first, last, *quantity) for quantity in _QUANTITIES]
    if len(heads) > 1:
        near, far = (chosen(heads, key=lambda row: float(row["distance"])) for chosen in (min, max))
        detail.append(f"Of all heads, {_head(near)} looks least far and {_head(far)} farthest.")
    return about(
        "attention", serial, name, points, said, detail=detail, columns=_SHOWN, strength=strength, verdict=verdict,
        shown=[*points, *heads],
    )  # fmt: skip


def _trend(points: Sequence[Mapping[str, Any]]) -> str:
    rho, p = rank_correlation([row["depth"] for row in points], [row["distance"] for row in points])
    numbers = f"rank correlation {number(rho, 2)}, {chance(p)}, over {len(points)} points"
    if not p < SIGNIFICANT:
        return f"No trend of distance with depth that can be told ({numbers})."
    return f"Distance {'grows' if rho > 0 else 'falls'} with depth ({numbers})."


def _moved(first: Mapping[str, Any], last: Mapping[str, Any], name: str, unit: str, up: str, down: str) -> str:
    """What entropy and diversity do from the first point to the last, where it is clear."""
    ends = _difference(first, last, name)
    verdict = verdict_of(ends)
    if verdict == NO_CLEAR_CHANGE:
        return ""
    units = f" {unit}" if unit else ""
    values = joined([f"{number(row[name])}{units}" for row in (first, last)])
    who = "It looks" if name == "entropy" else "Its heads are"
    return f"{who} {up if verdict == 'raises' else down} at the end ({name} {values.replace(' and ', ' to ')})."


def _difference(first: Mapping[str, Any], last: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    values = (first[name], last[name], first[f"{name}_error"], last[f"{name}_error"])
    if any(value is None for value in values):
        return None
    images = min(first["images"], last["images"])
    return interval(values[1] - values[0], values[2] + values[3], images - 1)


def _far(row: Mapping[str, Any]) -> str:
    even = row["uniform_distance"]
    beside = "" if even is None else f" (everywhere alike would be {number(even)})"
    return f"{number(row['distance'])} pixels far{beside}"


def _head(row: Mapping[str, Any]) -> str:
    return f"head {row['head']} of {row['point']} ({number(row['distance'])} pixels)"
