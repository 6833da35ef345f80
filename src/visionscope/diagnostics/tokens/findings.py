"""Sentences on where outlier tokens are, if there are any."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import NO_CLEAR_CHANGE, Finding, about, number, verdict_of
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.tokens.question import DEVIATIONS, TokenNorms
from visionscope.diagnostics.tokens.results import known_rows

Row = Mapping[str, Any]
_SHOWN = (
    *("point", "kind", "stage", "depth", "grid_height", "grid_width", "images", "norm", "largest"),
    *("outlier_share", "outlier_error", "border_share", "inside_share", "prefix_norm"),
)
_DIGITS = 2


def limits(asked: TokenNorms, tables: Tables) -> Sequence[str]:
    """What norms can't tell."""
    return (
        f"The rule of median + {DEVIATIONS:g} MAD finds what stands out in its own image; skewed norms, usual after a "
        "ReLU, have some such tokens by their shape alone. Look at the largest norm and at where the outliers lie.",
        "Norms of different networks, and of different points, have different scales: compare shares and ratios.",
    )


def findings(asked: TokenNorms, tables: Tables) -> Iterator[Finding]:
    """Of each model the point at which a token stands out most, and where outliers lie."""
    if "summary" not in tables:
        return
    borders = rows_by_model(tables["comparisons"]) if "comparisons" in tables else {}
    models = rows_by_model(tables["rows"])
    for name, (most,) in rows_by_model(tables["summary"]).items():
        border = next((row for row in borders.get(name, ()) if row["point"] == most["point"]), None)
        yield _finding(known_rows(models[name]), most, border)


def _finding(rows: Sequence[Row], most: Row, border: Row | None) -> Finding:
    if not any(row["outlier_share"] for row in rows):
        said = "no token is an outlier at any point"
    else:
        length, share = number(most["largest"]), _percent(most["outlier_share"])
        said = f"tokens stand out most at {most['point']}: the longest has {length} times the mean norm, "
        said += f"and {share} are outliers"
    detail = [
        _intervals(most),
        f"At the last point, {most['last_point']}, {_percent(most['last_share'])} are outliers.",
        _where(border),
        _prefix(most),
    ]
    return about(
        rows,
        said,
        detail=detail if most["outlier_share"] else (),
        columns=_SHOWN,
        measure="share of outlier tokens at the point where one stands out most",
        value=100 * most["outlier_share"],
        low=None if most["low"] is None else 100 * most["low"],
        high=None if most["high"] is None else 100 * most["high"],
        unit="%",
        n=most["images"],
    )


def _intervals(most: Row) -> str:
    if most["low"] is None:
        return "No intervals: too few images."
    length = f"{number(most['largest_low'])} to {number(most['largest_high'])} times"
    return f"95 % intervals {length} and {_percent(most['low'])} to {_percent(most['high'])}."


def _percent(share: float) -> str:
    return f"{number(100 * share, _DIGITS)} %"


def _where(border: Row | None) -> str:
    if border is None:
        return ""
    verdict = verdict_of(None if border["low"] is None else (border["low"], border["high"]))
    shares = f"{_percent(border['border_share'])} against {_percent(border['inside_share'])}"
    if verdict == NO_CLEAR_CHANGE:
        return f"They are not clearly more or less frequent at the edge of the map than inside ({shares})."
    return (
        f"They are {'more' if verdict == 'raises' else 'less'} frequent at the edge of the map than inside ({shares})."
    )


def _prefix(most: Row) -> str:
    if most["prefix_norm"] is None or not most["norm"]:
        return ""
    return f"The norm of prefix tokens there is {number(most['prefix_norm'] / most['norm'])} times that of the others."
