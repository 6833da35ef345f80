"""Sentences on Fourier vectors: which break a network, and which of two networks they break more."""

from collections.abc import Sequence

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import Finding
from visionscope.core.grouping import rows_by_model
from visionscope.diagnostics.fourier_heatmap.question import FourierHeatmap
from visionscope.diagnostics.outcomes.fairness import FAIRNESS_LIMIT
from visionscope.diagnostics.outcomes.frequencies import Row, between_models, worst_and_ends
from visionscope.diagnostics.outcomes.words import PAIRED_LIMIT, masks_limit

_LIMITS = (
    "Each place is one Fourier basis vector of fixed norm, added to every image: a picture of which directions hurt at "
    "that strength, from few images. Single places have wide intervals; look at regions.",
    PAIRED_LIMIT,
    FAIRNESS_LIMIT,
)


def limits(asked: FourierHeatmap, tables: Tables) -> Sequence[str]:
    """What single vectors can't tell."""
    return (*_LIMITS, *masks_limit(tables))


def findings(asked: FourierHeatmap, tables: Tables) -> list[Finding]:
    """For each model which vector costs most, high against low frequencies; for two models which loses more."""
    own = [
        worst_and_ends(
            sorted(rows, key=lambda row: float(row["change"])),
            tables,
            _named,
            none="no single Fourier vector",
            many="vectors",
            columns=asked.keys(),
        )
        for rows in rows_by_model(tables["summary"]).values()
    ]
    return [*own, *between_models(tables)]


def _named(row: Row) -> str:
    return f"the Fourier vector of ({row['row_frequency']}, {row['column_frequency']}) periods per height and width"
