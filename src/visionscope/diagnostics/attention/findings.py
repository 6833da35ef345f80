"""Sentences on self-attention: how far its heads look at the beginning and at the end of a network."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import NO_CLEAR_CHANGE, UNKNOWN, Finding, about, counted, number, span, verdict_of
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.attention.question import AttentionHeads
from visionscope.diagnostics.attention.results import BY_DEPTH, placed_points
from visionscope.diagnostics.outcomes.statistics import SIGNIFICANT
from visionscope.diagnostics.outcomes.words import chance, compared_by_model

Row = Mapping[str, Any]
_SHOWN = (
    *("point", "stage", "depth", "head", "heads", "reach", "images", "distance", "distance_error"),
    *("uniform_distance", "entropy", "entropy_share", "entropy_error", "diversity", "diversity_error"),
    *("mutual_information", "mutual_information_error", "sink_share", "sink_share_error", "sink_value_norm"),
)
_MOVES = {
    "entropy": {"raises": "It looks more widely", "lowers": "It looks more narrowly"},
    "diversity": {"raises": "Its heads are less alike", "lowers": "Its heads are more alike"},
    "mutual information": {"raises": "It depends more on the query", "lowers": "It depends less on the query"},
}


def limits(asked: AttentionHeads, tables: Tables) -> Sequence[str]:
    """What attention weights can't tell."""
    return (
        "Attention weights say where values come from, not which of them change the outcome. Windows and coarse grids "
        "limit how far, and how finely, a head can look: compare with what looking everywhere alike would give.",
    )


def findings(asked: AttentionHeads, tables: Tables) -> Iterator[Finding]:
    """Of each model how far the first and the last attention look, whether distance goes with depth, and the heads."""
    if "summary" not in tables:  # of an image's maps alone
        return
    compared = compared_by_model(tables)
    for name, rows in rows_by_model(tables["summary"]).items():
        points = placed_points(rows)
        heads = [row for row in rows if row["distance"] is not None and row["head"] is not None]
        if points:
            own = {row["number"]: row for row in compared.get(name, ())}
            yield _of_ends(points, heads, own) if own else _of_one(points, heads)


def _of_one(points: Sequence[Row], heads: Sequence[Row]) -> Finding:
    row = points[0]
    even = "" if row["uniform_distance"] is None else f" (everywhere alike would be {number(row['uniform_distance'])})"
    return about(
        points,
        f"its only self-attention, {row['point']}, looks {number(row['distance'])} pixels far{even}",
        detail=[_of_heads(heads), _of_sinks(points)],
        columns=_SHOWN,
        shown=[*points, *heads],
    )


def _of_ends(points: Sequence[Row], heads: Sequence[Row], compared: Mapping[str, Row]) -> Finding:
    distance = compared["distance"]
    verdict = verdict_of(_ends(distance))
    numbers = f"{number(distance['last'])} pixels against {number(distance['first'])}"
    if verdict == NO_CLEAR_CHANGE:
        said = f"it is unclear whether the last attention looks farther than the first: {numbers}"
    else:
        farther = "farther" if verdict == "raises" else "less far"
        said = f"the last attention looks {farther} than the first: {numbers}"
    detail = [
        f"Difference {number(distance['difference'])} pixels ({span(_ends(distance))}).",
        _even(points[0], points[-1]),
        _trend(compared[BY_DEPTH]) if BY_DEPTH in compared else "",
        *(_moved(compared[name]) for name in _MOVES if name in compared),
        _of_heads(heads),
        _of_sinks(points),
    ]
    return about(
        points,
        said,
        detail=detail,
        columns=_SHOWN,
        strength=0.0 if verdict == NO_CLEAR_CHANGE else 0.3,
        verdict=UNKNOWN if verdict == NO_CLEAR_CHANGE else "described",
        shown=[*points, *heads],
        measure="attention distance at the last point less that at the first",
        value=distance["difference"],
        low=distance["low"],
        high=distance["high"],
        unit="pixels",
        n=distance["images"],
    )


def _ends(row: Row) -> tuple[float, float] | None:
    return None if row["low"] is None else (row["low"], row["high"])


def _even(first: Row, last: Row) -> str:
    """What the distances are to be compared with."""
    if first["uniform_distance"] is None or last["uniform_distance"] is None:
        return ""
    numbers = [number(row["uniform_distance"]) for row in (last, first)]
    would = numbers[0] if numbers[0] == numbers[1] else f"{numbers[0]} against {numbers[1]}"
    return f"Looking everywhere alike would give {would}."


def _trend(compared: Row) -> str:
    rho = compared["difference"]
    numbers = f"rank correlation {number(rho, 2)}, {chance(compared['p'])}, over {counted(compared['images'], 'point')}"
    if not compared["p"] < SIGNIFICANT:
        return f"No significant trend of distance with depth ({numbers})."
    return f"Distance {'grows' if rho > 0 else 'falls'} with depth ({numbers})."


def _moved(compared: Row) -> str:
    """What entropy and diversity do from the first point to the last, where it is clear."""
    verdict = verdict_of(_ends(compared))
    if verdict == NO_CLEAR_CHANGE:
        return ""
    unit = f" {compared['unit']}" if compared["unit"] else ""
    values = " to ".join(f"{number(compared[key])}{unit}" for key in ("first", "last"))
    return f"{_MOVES[compared['number']][verdict]} at the end ({compared['number']} {values})."


def _of_heads(heads: Sequence[Row]) -> str:
    if len(heads) < 2:
        return ""
    near, far = (chosen(heads, key=lambda row: float(row["distance"])) for chosen in (min, max))
    return f"Of all heads, {_head(near)} looks least far and {_head(far)} farthest."


def _of_sinks(points: Sequence[Row]) -> str:
    """Where a single token gets most of the attention, and what it gives."""
    most = max(points, key=lambda row: float(row["sink_share"]))
    said = f"A single token gets most at {most['point']}: {number(100 * most['sink_share'], 2)} % of all attention"
    if most["sink_value_norm"] is None:
        return f"{said}."
    return f"{said}, with a value of {number(most['sink_value_norm'], 2)} times the mean norm."


def _head(row: Row) -> str:
    return f"head {row['head']} of {row['point']} ({number(row['distance'])} pixels)"
