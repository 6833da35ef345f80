"""Sentences on which blocks keep high frequencies, and which remove them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import Finding, number
from visionscope.diagnostics.changes.findings import change_findings
from visionscope.diagnostics.changes.words import DIGITS, INSIDE_ONE_NETWORK, OF_A_MEDIAN, percent
from visionscope.diagnostics.fourier.question import Fourier
from visionscope.diagnostics.fourier.results import QUANTITY

_HARDLY = 5.0
_LIMITS = (
    INSIDE_ONE_NETWORK,
    "High-frequency amplitude is measured relative to the mean of each map (frequency zero). A block that only shifts "
    "that mean moves the number as well.",
    OF_A_MEDIAN,
)


def limits(asked: Fourier, tables: Tables) -> Sequence[str]:
    """What an amplitude relative to the mean can't tell."""
    return _LIMITS


def findings(asked: Fourier, tables: Tables) -> Iterator[Finding]:
    """Of each model at how many points of each kind the high frequencies fall and rise."""
    return change_findings(tables, QUANTITY, _what_moved)


def _what_moved(kind: Mapping[str, Any]) -> str:
    """Whether the detail itself changed or the mean that it is measured against."""
    detail, mean = kind["detail_factor"], kind["mean_factor"]
    if detail is None or mean is None:
        return ""
    start = "The" if kind["points"] == 1 else "Medians: the"
    return f"{start} detail itself {_moved(detail)}; the mean {_moved(mean)}."


def _moved(factor: float) -> str:
    share = 100 * (factor - 1)
    if abs(share) < _HARDLY:
        return f"hardly changed ({percent(share)})"
    if share >= 100:
        return f"grew {number(factor, DIGITS)}-fold"
    return f"{'grew' if share > 0 else 'shrank'} by {number(abs(share), DIGITS)} %"
