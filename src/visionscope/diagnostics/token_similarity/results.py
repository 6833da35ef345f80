"""What token similarities come to: how the cosine moves at each point, and with each kind of block."""

import pyarrow as pa

from visionscope.diagnostics.changes.results import Quantity, kind_changes, point_changes
from visionscope.diagnostics.token_similarity.question import TokenSimilarity

QUANTITY = Quantity(words="the token similarity", value="cosine")


def comparisons(asked: TokenSimilarity, table: pa.Table) -> pa.Table:
    """A row per model and point."""
    return point_changes(table, QUANTITY)


def summary(asked: TokenSimilarity, table: pa.Table) -> pa.Table:
    """A row per model and kind of block."""
    return kind_changes(table, QUANTITY)
