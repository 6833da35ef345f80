"""Outlier tokens for the overview."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.grouping import rows_of
from visionscope.core.measure import Measure, measure
from visionscope.diagnostics.tokens.question import DEVIATIONS, TokenNorms


def measures(asked: TokenNorms, tables: Tables) -> Sequence[Measure]:
    """Of each model the share of outliers at the point where one stands out most."""
    return [
        measure(
            row,
            "outlier tokens",
            "outlier_share",
            ends=("low", "high"),
            factor=100,
            unit="%",
            meaning=f"share of positions whose norm is above median + {DEVIATIONS:g} MAD, where one stands out most",
            note=f"at {row['point']}",
        )
        for row in rows_of(tables, "summary")
    ]
