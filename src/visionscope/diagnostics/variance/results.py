"""What variances come to: how they move at each point, and with each kind of block."""

import pyarrow as pa

from visionscope.diagnostics.changes.results import Quantity, kind_changes, point_changes
from visionscope.diagnostics.variance.question import Variance

QUANTITY = Quantity(words="the feature-map variance", value="variance")


def comparisons(asked: Variance, table: pa.Table) -> pa.Table:
    """A row per model and point."""
    return point_changes(table, QUANTITY)


def summary(asked: Variance, table: pa.Table) -> pa.Table:
    """A row per model and kind of block."""
    return kind_changes(table, QUANTITY)
