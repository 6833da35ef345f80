"""The order in which places for attention are tried, by the paper's rule; knows no network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

Places = tuple[int, ...]
"""How many blocks of each stage are others, from the highest resolution to the lowest."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """A candidate that is tried.

    Attributes:
        parent: what has been kept so far.
        places: the candidate: the parent with one more block in one stage.
    """

    parent: Places
    places: Places


def walk(most: Sequence[int], helps: Callable[[Step], bool]) -> Iterator[Step]:
    """The candidates, in the order of the paper's build-up rule (PAPER.md 1.15).

    A block goes to the end of the last stage. While that helps, another one goes to the same stage, further from its
    end. Where it does not help, or the stage is full, it goes to the end of the stage before. After the first stage
    nothing is left to try.

    Args:
        most: blocks that each stage has room for.
        helps: whether a candidate is better than its parent; it is asked once for each, after it was given out.
    """
    kept = (0,) * len(most)
    for stage in reversed(range(len(most))):
        while kept[stage] < most[stage]:
            places = tuple(count + (place == stage) for place, count in enumerate(kept))
            step = Step(parent=kept, places=places)
            yield step
            if not helps(step):
                break
            kept = places


def longest(most: Sequence[int]) -> tuple[Places, ...]:
    """The candidates of a walk on which everything helps: no walk has more.

    Args:
        most: blocks that each stage has room for.
    """
    return tuple(step.places for step in walk(most, lambda step: True))


def name_of(places: Places) -> str:
    """As tables call a candidate: `0,0,1`.

    Args:
        places: any.
    """
    return ",".join(map(str, places))
