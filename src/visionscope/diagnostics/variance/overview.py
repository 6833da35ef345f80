"""Variance for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.measure import Measure
from visionscope.diagnostics.changes.overview import change_measures
from visionscope.diagnostics.variance.question import Variance


def measures(asked: Variance, tables: Tables) -> Sequence[Measure]:
    """Of each kind of branch the median change of the variance."""
    return change_measures(tables, "variance")
