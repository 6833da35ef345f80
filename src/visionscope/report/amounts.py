"""How much something changed, in words: percentages first, no powers of ten, and what moved in a ratio."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from visionscope.report.finding import span
from visionscope.report.style import number

LEAST_PERCENT = 0.1
"""Below this share of the level a change is too small for a plain 'raises' or 'lowers'."""

_HARDLY = 5.0
_LEAST_NUMBER = 1e-4
_DIGITS = 2


def percent(share: float) -> str:
    """'+24 %', '−0.40 %' or 'less than 0.1 %'.

    Args:
        share: in percent.
    """
    if abs(share) < LEAST_PERCENT:
        return f"less than {LEAST_PERCENT} %"
    return f"{'+' if share > 0 else ''}{number(share, _DIGITS)} %"


def measured(what: str, mean: float, ends: tuple[float, float] | None, level: float | None) -> str:
    """The mean and its interval; as shares of the level where the numbers would need powers of ten.

    Args:
        what: what the mean is of.
        mean: in the quantity's own units.
        ends: its interval.
        level: what it is a change of, or None where shares make no sense.
    """
    numbers = (mean, *(ends or ()))
    plain = all(value == 0 or _LEAST_NUMBER <= abs(value) < 1 / _LEAST_NUMBER for value in numbers)
    if plain:
        return f"{what} {number(mean, _DIGITS)}, {span(ends, digits=_DIGITS)}"
    if level is None or level <= 0:
        return f"{what} too small to print, see the rows" if abs(mean) < 1 else f"{what} too large to print"
    if ends is None:
        return span(ends)
    shares = [100 * end / level for end in ends]
    return f"95 % interval {percent(shares[0])} to {percent(shares[1])} of the mean level"


def what_moved(rows: Sequence[Mapping[str, Any]], counted: Sequence[Mapping[str, Any]]) -> str:
    """Whether the detail itself changed or the mean that it is measured against.

    The mean over the counted points of the change of ln A(high) and of ln A(0) from the point it follows; their
    difference is the mean change of the log-amplitude relative to frequency 0.

    Args:
        rows: all rows of the model, in model order, with `log_amplitude`; without that column nothing is said.
        counted: the high-frequency rows whose `change` is known.
    """
    high: dict[str, float | None] = {}
    zero: dict[str, float | None] = {}
    for row in rows:
        if row["profile"] != "diagonal":
            continue
        if row["high_frequency"]:
            high[row["point"]] = row.get("log_amplitude")
        if row["frequency"] == 0:
            zero[row["point"]] = row.get("log_amplitude")
    moves: list[tuple[float, float]] = []
    for row in counted:
        ends = [(known.get(row["point"]), known.get(row["follows"])) for known in (high, zero)]
        if any(value is None or not math.isfinite(value) for pair in ends for value in pair):
            return ""
        moves.append((ends[0][0] - ends[0][1], ends[1][0] - ends[1][1]))  # type: ignore[operator]
    if not moves:
        return ""
    detail, mean = (_moved(fmean(part)) for part in zip(*moves, strict=True))
    return f"The detail itself {detail}; the mean {mean}."


def _moved(log: float) -> str:
    share = 100 * math.expm1(log)
    if abs(share) < _HARDLY:
        return f"hardly changed ({percent(share)})"
    if share >= 100:
        return f"grew {number(math.exp(log), _DIGITS)}-fold"
    return f"{'grew' if share > 0 else 'shrank'} by {number(abs(share), _DIGITS)} %"
