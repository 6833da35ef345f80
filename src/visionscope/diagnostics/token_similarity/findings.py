"""Sentences on which blocks make tokens alike, and how alike they are at the end."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import Finding, about, counted, interval, number, span
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.changes.findings import change_findings
from visionscope.diagnostics.changes.words import OF_A_MEDIAN
from visionscope.diagnostics.token_similarity.question import TokenSimilarity
from visionscope.diagnostics.token_similarity.results import QUANTITY

_SHOWN = (
    *("point", "kind", "stage", "depth", "grid_height", "grid_width", "channels", "images"),
    *("cosine", "cosine_error", "mean_share", "effective_rank", "rank_limit"),
)


def limits(asked: TokenSimilarity, tables: Tables) -> Sequence[str]:
    """What the similarity of tokens can't tell."""
    return (
        "Alike tokens are no fault by themselves: what all have in common, the last layer's mean over positions keeps. "
        "Maps after a ReLU have no negative values, so that their cosines are positive.",
        "The effective rank can't exceed the number of positions or of channels: across a change of grid or channels "
        "it does not compare.",
        OF_A_MEDIAN,
    )


def findings(asked: TokenSimilarity, tables: Tables) -> Iterator[Finding]:
    """Of each model at how many points of each kind the similarity falls and rises, and what it is at the end."""
    yield from change_findings(tables, QUANTITY)
    for rows in rows_by_model(tables["rows"]).values():
        known = [row for row in rows if row["cosine"] is not None]
        if known:
            yield _at_the_end(known)


def _at_the_end(rows: Sequence[Mapping[str, Any]]) -> Finding:
    last, most = rows[-1], max(rows, key=lambda row: float(row["cosine"]))
    ends = interval(last["cosine"], last["cosine_error"], last["images"] - 1)
    low, high = ends or (None, None)
    rank = f"effective rank {number(last['effective_rank'])} of {last['rank_limit']}"
    said = f"two tokens of the last point have cosine {number(last['cosine'], 2)} on average, {rank}"
    return about(
        rows,
        said,
        detail=[
            f"Mean cosine of the {counted(last['grid_height'] * last['grid_width'], 'token')} of {last['point']}: "
            f"{number(last['cosine'])} ({span(ends)}).",
            f"Their mean holds {number(100 * last['mean_share'])} % of the energy.",
            "" if most is last else f"They are most alike at {most['point']} (cosine {number(most['cosine'])}).",
        ],
        columns=_SHOWN,
        measure="mean cosine of two tokens at the last point",
        value=last["cosine"],
        low=low,
        high=high,
        n=last["images"],
    )
