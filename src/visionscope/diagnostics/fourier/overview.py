"""High frequencies for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.measure import Measure
from visionscope.diagnostics.changes.overview import change_measures
from visionscope.diagnostics.fourier.question import Fourier


def measures(asked: Fourier, tables: Tables) -> Sequence[Measure]:
    """Of each kind of branch the median change of the relative amplitude at the highest frequency."""
    return change_measures(tables, "high frequencies")
