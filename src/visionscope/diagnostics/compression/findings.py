"""Sentences on compression: at which point the maps of compressed images differ most."""

from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import Finding, about, counted, number, span
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.compression.question import Compression

Row = Mapping[str, Any]
_COLUMNS = (
    "point", "kind", "quality", "high_change", "high_change_low", "high_change_high", "cka", "cka_low", "cka_high",
    "cosine", "images",
)  # fmt: skip
_LIMITS = (
    "Maps that differ need not cost accuracy, and directions that decide may be a small part of a map: ask corruption "
    "with the type jpeg. Images that were JPEG files before are compressed twice.",
)


def limits(asked: Compression, tables: Tables) -> Sequence[str]:
    """What the maps of compressed images can't tell."""
    return _LIMITS


def findings(asked: Compression, tables: Tables) -> list[Finding]:
    """For each model the least alike point at its worst quality."""
    models = rows_by_model(tables["summary"]).values() if "summary" in tables else []
    return [_least_alike(rows) for rows in models]


def _least_alike(rows: Sequence[Row]) -> Finding:
    quality = min(row["quality"] for row in rows)
    own = [row for row in rows if row["quality"] == quality]
    value = "cka" if all(row["cka"] is not None for row in own) else "cosine"
    row, last = min(own, key=lambda one: float(one[value])), own[-1]
    words = {"cka": "CKA", "cosine": "cosine"}[value]
    low, high = row[f"{value}_low"], row[f"{value}_high"]
    detail = [f"{words}: {span(None if low is None else (low, high))}, over {counted(row['images'], 'image')}."]
    detail.append(f"At the last point, {last['point']}, it is {number(last[value])}.")
    moved = [one for one in own if one["high_change"] is not None and one["high_change_low"] is not None]
    clear = [one for one in moved if one["high_change_low"] > 0 or one["high_change_high"] < 0]
    if moved:
        lower = sum(one["high_change"] < 0 for one in clear)
        detail.append(
            f"High frequencies are clearly weaker at {lower} and clearly stronger at {len(clear) - lower} of "
            f"{counted(len(moved), 'point')}."
        )
    return about(
        own,
        f"maps of clean and JPEG images of quality {quality} differ most at {row['point']}: {words} "
        f"{number(row[value])}",
        detail=detail,
        columns=_COLUMNS,
        strength=0.3,
        measure=words,
        value=row[value],
        low=low,
        high=high,
        n=row["images"],
    )
