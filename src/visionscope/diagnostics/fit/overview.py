"""Training loss for the overview."""

from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import interval
from visionscope.core.grouping import rows_of
from visionscope.core.measure import Measure
from visionscope.core.sample import MINI_BATCH
from visionscope.diagnostics.fit.question import Fit

_MEANING = "cross-entropy on augmented training images, in eval mode"


def measures(asked: Fit, tables: Tables) -> Sequence[Measure]:
    """Of each model its loss on augmented training images."""
    rows = rows_of(tables, "summary")
    return [Measure(**_loss(row)) for row in rows]


def _loss(row: Mapping[str, Any]) -> dict[str, Any]:
    ends = interval(row["nll_train"], row["nll_train_se"], -(-int(row["train_images"]) // MINI_BATCH) - 1)
    low, high = ends or (None, None)
    found = {"model": row["model"], "name": "NLL_train", "value": row["nll_train"]}
    return {**found, "low": low, "high": high, "unit": "nat", "n": row["train_images"], "meaning": _MEANING}
