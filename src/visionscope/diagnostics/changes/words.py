"""Words for what changes along the depth of a network: percentages, no powers of ten, and what they can't tell."""

from collections.abc import Mapping
from typing import Any

from visionscope.core.finding import NO_CLEAR_CHANGE, number, verdict_of
from visionscope.diagnostics.changes.results import LEAST_PERCENT

INSIDE_ONE_NETWORK = (
    "Compare changes inside one network. Absolute values depend on the width, the normalisation and the size of the "
    "grid: between networks, and across a change of grid, they don't compare."
)
OF_A_MEDIAN = (
    "A median over points says what the middle one of a kind's blocks does: no single block makes it. Its interval "
    "holds the median that many more images would give, however the blocks depend on each other; it says nothing of "
    "blocks that the network does not have."
)
DIGITS = 2
_MOST_PERCENT = 1e5

Row = Mapping[str, Any]


def percent(share: float) -> str:
    """'+24 %', '−0.40 %' or 'less than 0.1 %'.

    Args:
        share: in percent.
    """
    if abs(share) < LEAST_PERCENT:
        return f"less than {LEAST_PERCENT} %"
    return _end(share)


def is_clear(row: Row) -> bool:
    """Whether the interval of a kind's median lies on one side of zero.

    Args:
        row: of a `KindChangeRow`.
    """
    return row["low"] is not None and verdict_of((row["low"], row["high"])) != NO_CLEAR_CHANGE


def median_text(row: Row) -> str:
    """The median in words: 'Median over all 12 points −9.5 % (95 % interval −12 % to −8.1 %)'.

    Args:
        row: of a `KindChangeRow`.
    """
    if row["median"] is None:
        return ""
    points, counted = row["medians"], row["points"]
    over = f"{points} of {counted}" if points < counted else "both" if points == 2 else f"all {points}"
    where = "At its only point" if counted == 1 else f"Median over {over} points"
    if row["low"] is None:
        return f"{where} {percent(row['median'])}; no interval: too few images."
    said = f"95 % interval {_end(row['low'])} to {_end(row['high'])}"
    if is_clear(row):
        return f"{where} {percent(row['median'])} ({said})."
    return f"{where}: {NO_CLEAR_CHANGE} ({percent(row['median'])}, {said})."


def _end(share: float) -> str:
    sign = "+" if share > 0 else ""
    if abs(share) >= _MOST_PERCENT:
        return f"above {sign or '−'}100\u202f000 %"
    if abs(share) < LEAST_PERCENT:
        return f"{sign}{share:.2f} %".replace("-", "−")
    return f"{sign}{number(share, DIGITS)} %"
