"""The scores of a training as measures, so that a study's own claim can compare them as any other."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from visionscope.claims.one_seed import Tables

if TYPE_CHECKING:
    import pandas as pd

TRAINED: Final = "training"
"""What stands for a diagnostic in `training: accuracy`."""


@dataclasses.dataclass(frozen=True)
class Score:
    """A number of the table of trainings.

    Attributes:
        measure: as claims name it.
        column: of the table.
        factor: from the table's number to the measure's.
        unit: of the measure.
    """

    measure: str
    column: str
    factor: float
    unit: str


SCORES: Final = (
    Score("accuracy", "top_1", 100.0, "%"),
    Score("NLL", "nll", 1.0, "nat"),
    Score("mean IoU", "mean_iou", 100.0, "%"),
    Score("pixel accuracy", "pixel_accuracy", 100.0, "%"),
)
"""Over all test images, at the end; a training has those of its task."""


def scores_of(trained: pd.DataFrame) -> pd.DataFrame:
    """The scores of trainings in the form of the table `measures`.

    Args:
        trained: the table `training`.
    """
    import pandas as pd

    keys = [name for name in ("variant", "seed", "snapshot", "training", "question") if name in trained]
    pieces = [
        trained[keys].assign(
            diagnostic=TRAINED, measure=score.measure, value=score.factor * trained[score.column], unit=score.unit
        )
        for score in SCORES
        if score.column in trained
    ]
    return pd.concat(pieces, ignore_index=True).dropna(subset="value", ignore_index=True)


def with_scores(tables: Tables) -> dict[str, pd.DataFrame]:
    """Tables of an experiment whose `measures` hold the scores of its trainings, too.

    Args:
        tables: by name.
    """
    import pandas as pd

    found = dict(tables)
    if TRAINED in found:
        pieces = [*([found["measures"]] if "measures" in found else []), scores_of(found[TRAINED])]
        found["measures"] = pd.concat(pieces, ignore_index=True)
    return found
