"""Sentences on how alike the points of a model, and of two models, are."""

import dataclasses
import math
from collections.abc import Iterator
from statistics import fmean
from typing import Any

import pyarrow as pa

from visionscope.core.finding import UNKNOWN, Finding, grouped, interval, number, span, verdict_of, weights_remark

_COLUMNS = (
    *("point_x", "point_y", "stage_x", "stage_y", "depth_x", "depth_y"),
    *("cka", "standard_error", "groups", "group"),
)
_LEAST_GROUPS = 4
_SHOWN = ("point_x", "point_y", "stage_x", "stage_y", "cka", "standard_error")


def similarity_findings(table: pa.Table) -> Iterator[Finding]:
    """One sentence for each model: whether points of one stage are more alike than points of different stages.

    Each unordered pair of different points counts once. The interval of the difference of the two means takes the
    sum of the mean standard errors, an upper bound for any correlation, and Student's t with groups - 1 degrees of
    freedom, because the errors are a jackknife over groups.

    Args:
        table: rows of the similarity diagnostic, with the leading columns.
    """
    for serial, (name, rows) in enumerate(grouped(table, _COLUMNS).items(), start=1):
        pairs = _pairs(rows)
        if not pairs:
            continue
        label = name + weights_remark(rows)
        anchor = f"rows-similarity-{serial}"
        stages = {row[key] for row in pairs for key in ("stage_x", "stage_y") if row[key] > 0}
        one = _staged(anchor, label, pairs) if len(stages) > 1 else _plain(anchor, label, pairs, "one stage")
        yield one if name == rows[0]["model"] else dataclasses.replace(one, brief=one.headline)


def between_findings(table: pa.Table) -> Iterator[Finding]:
    """One sentence for each pair of models: the mean CKA over all pairs of points, and the pair most alike.

    Args:
        table: rows with `model_x`, `model_y` and the columns of the similarity diagnostic.
    """
    columns = ("model_x", "model_y", *_COLUMNS)
    rows_by_pair: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table.select(columns).to_pylist():
        if row["cka"] is not None and math.isfinite(row["cka"]):
            rows_by_pair.setdefault((row["model_x"], row["model_y"]), []).append(row)
    for serial, ((first, second), rows) in enumerate(rows_by_pair.items(), start=1):
        best = max(rows, key=lambda row: row["cka"])
        yield Finding(
            anchor=f"rows-similarity_between-{serial}",
            diagnostic="similarity_between",
            model="",
            kind="",
            verdict="described",
            headline=(
                headline := f"Between {first} and {second}, the points most alike are {best['point_x']} and "
                f"{best['point_y']} (CKA {number(best['cka'])})."
            ),
            brief=headline,
            detail=f"Mean CKA over all {len(rows)} pairs of points {number(fmean(row['cka'] for row in rows))}.",
            columns=_SHOWN,
            rows=tuple(tuple(row[name] for name in _SHOWN) for row in rows),
            strength=0.0,
        )


def _pairs(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[frozenset[str], dict[str, Any]] = {}
    for row in rows:
        if row["point_x"] != row["point_y"] and row["cka"] is not None and math.isfinite(row["cka"]):
            found.setdefault(frozenset((row["point_x"], row["point_y"])), row)
    return list(found.values())


def _staged(anchor: str, label: str, pairs: list[dict[str, Any]]) -> Finding:
    within = [row for row in pairs if row["stage_x"] == row["stage_y"]]
    across = [row for row in pairs if row["stage_x"] != row["stage_y"]]
    if not within:
        return _plain(anchor, label, pairs, "one point in each stage")
    means = [fmean(row["cka"] for row in rows) for rows in (within, across)]
    errors = [_mean_error(rows) for rows in (within, across)]
    error = None if None in errors else sum(part for part in errors if part is not None)
    difference = means[0] - means[1]
    ends = interval(difference, error, min(row["groups"] for row in pairs) - 1)
    verdict = verdict_of(ends)
    relation = {
        "raises": "are more alike than points of different stages",
        "lowers": "are less alike than points of different stages",
    }.get(verdict, "show no clear difference in likeness from points of different stages")
    numbers = f"mean CKA {number(means[0])} over {len(within)} pairs against {number(means[1])} over {len(across)}"
    statement = f"points of the same stage {relation}: {numbers}"
    if ends is None:
        statement = f"whether points of the same stage are more alike than others {_too_few(pairs)}: {numbers}"
        verdict = UNKNOWN
    names = {"raises": "stages differ", "lowers": "stages differ", UNKNOWN: UNKNOWN}
    return _finding(
        anchor,
        pairs,
        verdict=names.get(verdict, "stages don't differ"),
        headline=f"In {label}, {statement}.",
        brief=f"{statement[0].upper()}{statement[1:]}.",
        detail="" if ends is None else f"Difference {number(difference)} ({span(ends)}).",
        strength=abs(difference) if verdict in ("raises", "lowers") else 0.0,
    )


def _plain(anchor: str, label: str, pairs: list[dict[str, Any]], shape: str) -> Finding:
    far = max(pairs, key=lambda row: abs(row["depth_x"] - row["depth_y"]))
    ends = f"{far['point_x']} and {far['point_y']}"
    statement = (
        f"{shape}, so there is no pattern of stages to see: mean CKA "
        f"{number(fmean(row['cka'] for row in pairs))} over {len(pairs)} pairs of points."
    )
    return _finding(
        anchor,
        pairs,
        verdict="described",
        headline=f"{label} has {statement}",
        brief=f"It has {statement}",
        detail=f"Its two ends, {ends}, have CKA {number(far['cka'])}.",
        strength=0.0,
    )


def _finding(
    anchor: str, pairs: list[dict[str, Any]], *, verdict: str, headline: str, brief: str, detail: str, strength: float
) -> Finding:
    return Finding(
        anchor=anchor,
        diagnostic="similarity",
        model=pairs[0]["model"],
        kind="",
        verdict=verdict,
        headline=headline,
        brief=brief,
        detail=detail,
        columns=_SHOWN,
        rows=tuple(tuple(row[name] for name in _SHOWN) for row in pairs),
        strength=strength,
    )


def _mean_error(rows: list[dict[str, Any]]) -> float | None:
    errors = [row["standard_error"] for row in rows]
    if any(error is None or not math.isfinite(error) for error in errors):
        return None
    return fmean(errors)


def _too_few(pairs: list[dict[str, Any]]) -> str:
    groups, group = min(row["groups"] for row in pairs), pairs[0]["group"]
    if groups >= _LEAST_GROUPS:
        return "can't be said, because no standard error is known"
    counted = f"{groups} group{'' if groups == 1 else 's'} of {group} images"
    return f"can't be said from {counted} (use at least {_LEAST_GROUPS * group})"
