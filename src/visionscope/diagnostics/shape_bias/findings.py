"""Sentences on cues: whether shape or texture decides, and which of two models goes by shape more."""

from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import UNKNOWN, Finding, about, counted, number
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.outcomes.words import Clear, between, share_numbers, share_text
from visionscope.diagnostics.shape_bias.question import ShapeBias
from visionscope.diagnostics.shape_bias.results import ALL, MOST_APART, is_guessing

Row = Mapping[str, Any]
_EVEN = 0.5
_COLUMNS = ("shape_class", "shape_bias", "low", "high", "shape", "texture", "other", "images")
_LIMITS = (
    "Only decisions for the shape or for the texture count; a network that answers neither most of the time has a "
    "shape bias of few images. The share depends on how the images were made: numbers of one set do not compare with "
    "another's.",
    "Two networks are compared where both decide for shape or texture more often than by chance (2 in as many as there "
    f"are classes), and where these shares of images differ by at most {MOST_APART:g} percentage points.",
)


def limits(asked: ShapeBias, tables: Tables) -> Sequence[str]:
    """What a shape bias can't tell."""
    return _LIMITS


def findings(asked: ShapeBias, tables: Tables) -> list[Finding]:
    """For each model whether it goes by shape or by texture; for pairs of models which goes by shape more."""
    own = [_shape(rows) for rows in rows_by_model(tables["summary"]).values()]
    if "comparisons" not in tables:
        return own
    return [*own, *between(tables["comparisons"], tables["summary"], _said)]


def _said(clear: Sequence[Clear]) -> str:
    (one,) = clear
    return f"{one.more} goes by shape more than {one.less}"


def _shape(rows: Sequence[Row]) -> Finding:
    row = next(row for row in rows if row["shape_class"] == ALL)
    verdict, strength = UNKNOWN, 0.0
    decided = row["shape"] + row["texture"]
    if row["shape_bias"] is None:
        said = f"none of {counted(row['images'], 'image')} is decided for its shape or its texture"
    elif is_guessing(decided, row["images"], row["chance"]):
        share = number(100 * decided / row["images"])
        said = f"{share} % of images are decided for shape or texture, no more than by chance "
        said += f"({number(100 * row['chance'])} %): no bias to see"
    else:
        said = "it is unclear whether shape or texture decides more often"
        if row["low"] > _EVEN or row["high"] < _EVEN:
            more, less = ("shape", "texture") if row["low"] > _EVEN else ("texture", "shape")
            said, verdict, strength = f"{more} decides more often than {less}", "described", 0.5
        said += f": shape bias {number(100 * row['shape_bias'])} %"
    detail = f"{row['shape']} of {counted(row['images'], 'image')} are decided for their shape, "
    detail += f"{row['texture']} for their texture, {row['other']} for neither; {row['decision']}."
    ends = {"shape_bias": row["shape_bias"], "shape_bias_low": row["low"], "shape_bias_high": row["high"]}
    return about(
        rows,
        said,
        detail=[f"Shape bias {share_text(ends, 'shape_bias')}.", detail],
        strength=strength,
        verdict=verdict,
        columns=_COLUMNS,
        **share_numbers({**ends, "images": decided}, "shape_bias", "shape bias"),
    )
