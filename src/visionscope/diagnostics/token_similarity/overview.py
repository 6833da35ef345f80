"""Token similarity for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.measure import Measure
from visionscope.diagnostics.changes.overview import change_measures
from visionscope.diagnostics.token_similarity.question import TokenSimilarity


def measures(asked: TokenSimilarity, tables: Tables) -> Sequence[Measure]:
    """Of each kind of branch the median change of the mean cosine."""
    return change_measures(tables, "token similarity")
