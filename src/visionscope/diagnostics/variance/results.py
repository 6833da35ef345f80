"""What variances come to: how they move at each point, and with each kind of block."""

from collections.abc import Mapping

import pyarrow as pa

from visionscope.core.subject import Kind
from visionscope.diagnostics.changes.results import Quantity, kind_changes, point_changes
from visionscope.diagnostics.variance.question import Variance

# Figures 9 and D.1: self-attention lowers the variance, MLPs and convolutions raise it.
_REPORTED: Mapping[str, str] = {Kind.MSA: "lowers", Kind.MLP: "raises", Kind.CONV: "raises"}
QUANTITY = Quantity(words="the feature-map variance", value="variance", reported=_REPORTED)


def comparisons(asked: Variance, table: pa.Table) -> pa.Table:
    """A row per model and point."""
    return point_changes(table, QUANTITY)


def summary(asked: Variance, table: pa.Table) -> pa.Table:
    """A row per model and kind of block."""
    return kind_changes(table, QUANTITY)
