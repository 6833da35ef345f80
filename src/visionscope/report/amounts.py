"""How much something changed, in words: percentages first, no powers of ten, and what moved in a ratio."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from visionscope.core.finding import NO_CLEAR_CHANGE, number, verdict_of

LEAST_PERCENT = 0.1
"""Below this share of the level a change is too small for a plain 'raises' or 'lowers'."""

_HARDLY = 5.0
_MOST_PERCENT = 1e5
_DIGITS = 2

Ends = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Typical:
    """What a block of some kind typically does: the median over its points, which no single block can make.

    Attributes:
        share: the median over points of the change, in percent of what the branch received.
        ends: its 95 % interval over images: from the median of the lower ends to that of the upper ends of the points'
            intervals, which hold all at once (Bonferroni's rule), however the points depend on each other. None where a
            point has no interval.
        points: how many.
    """

    share: float
    ends: Ends | None
    points: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return verdict_of(self.ends) != NO_CLEAR_CHANGE

    @property
    def text(self) -> str:
        """The median in words: 'Median over all 12 points −9.5 % (95 % interval −12 % to −8.1 %)'."""
        over = "both" if self.points == 2 else f"all {self.points}"
        where = "At its only point" if self.points == 1 else f"Median over {over} points"
        if self.ends is None:
            return f"{where} {percent(self.share)}; no interval: too few images."
        said = f"95 % interval {_end(self.ends[0])} to {_end(self.ends[1])}"
        if self.is_clear:
            return f"{where} {percent(self.share)} ({said})."
        return f"{where}: {NO_CLEAR_CHANGE} ({percent(self.share)}, {said})."


def typical(shares: Sequence[float], ends: Sequence[Ends | None]) -> Typical:
    """The median change of a kind of block.

    Args:
        shares: of each point, in percent.
        ends: the interval of each share; of all at once, see `Typical`.
    """
    known = [pair for pair in ends if pair is not None]
    middle = (median(low for low, _ in known), median(high for _, high in known)) if len(known) == len(ends) else None
    return Typical(median(shares), middle, len(shares))


def percent(share: float) -> str:
    """'+24 %', '−0.40 %' or 'less than 0.1 %'.

    Args:
        share: in percent.
    """
    if abs(share) < LEAST_PERCENT:
        return f"less than {LEAST_PERCENT} %"
    return _end(share)


def _end(share: float) -> str:
    sign = "+" if share > 0 else ""
    if abs(share) >= _MOST_PERCENT:
        return f"above {sign or '−'}100\u202f000 %"
    if abs(share) < LEAST_PERCENT:
        return f"{sign}{share:.2f} %".replace("-", "−")
    return f"{sign}{number(share, _DIGITS)} %"


def what_moved(rows: Sequence[Mapping[str, Any]], counted: Sequence[Mapping[str, Any]]) -> str:
    """Whether the detail itself changed or the mean that it is measured against.

    The medians over the counted points of the changes of A(high) and of A(0) from the point that is followed.

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
    detail, mean = (_moved(median(map(math.exp, part))) for part in zip(*moves, strict=True))
    return f"{'The' if len(moves) == 1 else 'Medians: the'} detail itself {detail}; the mean {mean}."


def _moved(factor: float) -> str:
    share = 100 * (factor - 1)
    if abs(share) < _HARDLY:
        return f"hardly changed ({percent(share)})"
    if share >= 100:
        return f"grew {number(factor, _DIGITS)}-fold"
    return f"{'grew' if share > 0 else 'shrank'} by {number(abs(share), _DIGITS)} %"
