"""Sentences on which blocks raise the variance over space, and which lower it."""

from collections.abc import Iterator, Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import Finding
from visionscope.diagnostics.changes.findings import change_findings
from visionscope.diagnostics.changes.words import INSIDE_ONE_NETWORK, OF_A_MEDIAN
from visionscope.diagnostics.variance.question import Variance
from visionscope.diagnostics.variance.results import QUANTITY


def limits(asked: Variance, tables: Tables) -> Sequence[str]:
    """What a variance can't tell."""
    return INSIDE_ONE_NETWORK, OF_A_MEDIAN


def findings(asked: Variance, tables: Tables) -> Iterator[Finding]:
    """Of each model at how many points of each kind the variance falls and rises."""
    return change_findings(tables, QUANTITY)
