"""What the numbers of a whole page can and can't tell; what those of one diagnostic can't, it says itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Answer

_FEW_IMAGES = 100


def has_random_weights(jobs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether any model of the run was never trained.

    Args:
        jobs: the runs' `job.json` dicts.
    """
    return any(str(job["model"]["weights"]).startswith("random") for job in jobs)


def limits_of(answers: Sequence[Answer], jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What no number of this run can tell.

    Args:
        answers: what each diagnostic found.
        jobs: the runs' `job.json` dicts.
    """
    said = [
        "An interval says how far a number would move with other images of the same kind. It knows nothing of other "
        "training runs: one network is one sample. Of 20 such intervals, one misses the true value by chance.",
    ]
    if has_random_weights(jobs):
        said.append("Models with random weights show what the architecture does before it has learned anything.")
    images = [int(job["data"]["images"]) for job in jobs]
    if images and min(images) < _FEW_IMAGES:
        said.append(f"{min(images)} images are few: intervals are wide, and rare kinds of image are missing.")
    return [*said, *(text for answer in answers for text in _without_number(answer))]


def _without_number(answer: Answer) -> list[str]:
    """How many points of a table have a note in a number's place."""
    table = answer.tables["rows"]
    if not {"note", "point"} <= set(table.column_names):
        return []
    rows = zip(*(table.column(key).to_pylist() for key in ("model", "point", "note")), strict=True)
    noted = {(model, point) for model, point, note in rows if note}
    if not noted:
        return []
    points = "1 point has" if len(noted) == 1 else f"{len(noted)} points have"
    reasons = sorted({note for note in table.column("note").to_pylist() if note})
    return [f"{answer.diagnostic}: {points} no number ({'; '.join(reasons)})."]
