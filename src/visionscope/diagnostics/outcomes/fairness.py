"""Whose losses in accuracy are compared: networks about as accurate without damage, and better than chance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visionscope.core.finding import UNKNOWN, Finding, about, counted, number
from visionscope.diagnostics.outcomes.rows import CHANGES
from visionscope.diagnostics.outcomes.statistics import Measured
from visionscope.numerics.paired import Values, relative_losses, wilson

Row = Mapping[str, Any]

MOST_APART = 10.0
"""Percentage points by which the accuracies of two networks without damage may differ for what damages them to be
compared: further apart they have too different amounts to lose."""

FAIRNESS_LIMIT = (
    f"Two networks are compared where their accuracies on clean images differ by at most {MOST_APART:g} percentage "
    "points and both are above chance; losses are then shares of the accuracy above chance."
)


def unlike(first: Measured, second: Measured) -> str:
    """Why what damages two networks is not compared, or "".

    Args:
        first: with what it gets right without damage.
        second: the same of the other.
    """
    if first.intact is None or second.intact is None:
        return "their accuracy on clean images is not known"
    for one in (first, second):
        if not has_something_to_lose(one):
            return f"{one.first['model']} is not significantly above chance"
    apart = 100 * abs(float(first.intact.mean()) - float(second.intact.mean()))
    # Ten of a hundred images are ten points, whatever rounding makes of them.
    if apart > MOST_APART + 1e-9:
        return f"their accuracies on clean images differ by more than {MOST_APART:g} percentage points"
    return ""


def is_within_chance(right: int, images: int, chance: float) -> bool:
    """Whether a share is no larger than what guessing would give: its 95 % interval (Wilson) reaches that.

    Args:
        right: images that count.
        images: all images.
        chance: the share that guessing gives.
    """
    return wilson(right, images)[0] <= chance


def relative_loss(one: Measured, damaged: Values) -> Values:
    """(n,) per image, whose mean is the share of a network's accuracy above chance that damage costs.

    Args:
        one: what it gets right without damage.
        damaged: (n,) what it gets right with it.
    """
    assert one.intact is not None  # or the two were not compared
    return relative_losses(one.intact, damaged, one.chance)


def nothing_to_lose(rows: Sequence[Row]) -> Finding | None:
    """What is said instead of a network's losses where it is not significantly above chance; else None.

    Args:
        rows: of a summary of `ChangeRow`'s kind, of one model.
    """
    first = rows[0]
    intact = round((first["accuracy"] - first["change"] / 100) * first["images"])
    return at_chance(rows, intact, first["images"], first["chance"])


def _pixels_at_chance(rows: Sequence[Row], first: Row) -> Finding:
    """What is said where always answering the commonest class does as well."""
    share = 100 * first["accuracy"] - first["change"]
    return about(
        rows,
        f"pixel accuracy is {number(share)} %, not significantly above that of always the commonest class "
        f"({number(100 * first['chance'])} %)",
        detail=[f"Compared image by image, its 95 % interval begins at {number(100 * first['intact_low'])} %."],
        columns=CHANGES,
        verdict=UNKNOWN,
        measure="pixel accuracy",
        value=share,
        unit="%",
        n=first["images"],
    )


def at_chance(rows: Sequence[Row], right: int, images: int, chance: float) -> Finding | None:
    """The same from the counts.

    Args:
        rows: of a summary, of one model.
        right: images that it gets right without damage; of masks the rows tell it.
        images: all images.
        chance: accuracy of guessing.
    """
    of_masks = next((row for row in rows if row.get("intact_low") is not None), None)
    if of_masks is not None:
        return _pixels_at_chance(rows, of_masks) if of_masks["intact_low"] <= of_masks["chance"] else None
    if not is_within_chance(right, images, chance):
        return None
    low, high = (100 * end for end in wilson(right, images))
    share = 100 * right / images
    return about(
        rows,
        f"accuracy is {number(share)} %, not significantly above chance ({number(100 * chance)} %): there is nothing "
        "to lose",
        detail=[f"95 % interval {number(low)} to {number(high)} %, over {counted(images, 'image')}."],
        columns=CHANGES,
        verdict=UNKNOWN,
        measure="accuracy",
        value=share,
        low=low,
        high=high,
        unit="%",
        n=images,
    )


def has_something_to_lose(one: Measured) -> bool:
    """Whether a network is significantly above chance without damage.

    Args:
        one: with what it gets right without damage.
    """
    return one.intact is None or one.intact_low > float(np.mean(one.chance))
