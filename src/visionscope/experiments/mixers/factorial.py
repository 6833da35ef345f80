"""What being low-pass, specific to its data, and hearing more of the map adds to accuracy, by what mixers declare."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np

from visionscope.errors import ConfigError
from visionscope.experiments.mixers.choosing import CONTROLS
from visionscope.experiments.mixers.networks import Network
from visionscope.models.mixers.mixer import mixer_kinds, mixer_of
from visionscope.numerics.regression import Coefficient, least_squares

FEWEST: Final = 10
"""Mixers that are needed: fewer can hardly tell six effects apart."""

FACTS: Final = ("always low-pass", "data-specific", "share of the map")
_SHORT: Final = ("low-pass", "data-specific", "share of the map")
SLOTS: Final = (8, 4)
"""Sides of the maps in the slots, in pixels: a reach of 3 is local on the first, and hears nearly all of the second."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effect:
    """What a fact adds to accuracy, or two facts together beyond what each adds.

    Attributes:
        term: the fact, or two joined by a cross.
        effect: in percentage points.
        low: lower end of the 95 % interval.
        high: upper end.
        p: two-sided, uncorrected.
        with_it: mixers of which it holds, where the share is 1; of two facts, of which both do.
        mixers: in the analysis.
        seeds: that all of them have, over which each is averaged.
    """

    term: str
    effect: float
    low: float
    high: float
    p: float
    with_it: int
    mixers: int
    seeds: int


def effects_of(networks: Sequence[Network]) -> tuple[Effect, ...]:
    """The effects of the three facts and of their pairs; a pair that the mixers can't tell apart is left out.

    Facts are coded as -1/2 and +1/2, the share of the map that a pixel hears less 1/2. Their effects
    are those of a fit without pairs, pairs are from one with all.

    Args:
        networks: of a study.

    Returns:
        None at all of fewer than ten mixers, or where a fact holds for all of them or none.
    """
    used = [one for one in networks if one.mixer in mixer_kinds() and one.mixer not in CONTROLS]
    seeds = sorted(set.intersection(*(set(one.accuracy) for one in used))) if used else []
    if len(used) < FEWEST or not seeds:
        return ()
    values = [float(np.mean([one.accuracy[seed] for seed in seeds])) for one in used]
    facts = np.array([_facts(one.mixer) for one in used], dtype=np.float64)
    columns = [facts[:, place] - 0.5 for place in range(len(FACTS))]
    pairs = list(itertools.combinations(range(len(FACTS)), 2))
    products = [columns[first] * columns[second] for first, second in pairs]
    both = [(facts[:, first] == 1) & (facts[:, second] == 1) for first, second in pairs]
    names = [f"{_SHORT[first]} × {_SHORT[second]}" for first, second in pairs]

    def told(name: str, found: Coefficient, held: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Effect:
        numbers = {"effect": found.value, "low": found.low, "high": found.high, "p": found.p}
        return Effect(term=name, with_it=int(held.sum()), mixers=len(used), seeds=len(seeds), **numbers)

    try:
        single = least_squares(columns, values)
    except ConfigError:
        return ()
    rows = [
        told(name, found, facts[:, place] == 1) for place, (name, found) in enumerate(zip(FACTS, single, strict=True))
    ]
    try:
        crossed = least_squares([*columns, *products], values)[len(FACTS) :]
    except ConfigError:
        crossed = ()
    return (*rows, *(told(*one) for one in zip(names, crossed, both, strict=False)))


def share_of_map(reach: int | None) -> float:
    """The share of a slot's map that a pixel hears, mean over its pixels and over both slots.

    A pixel hears those at most `reach` rows and columns away that lie within the map; of an axis of n pixels
    `sum_i (min(i + reach, n - 1) - max(i - reach, 0) + 1) / n^2`, and of the map the square.

    Args:
        reach: in pixels; None for the whole map.
    """
    if reach is None:
        return 1.0
    axes = [sum(min(i + reach, n - 1) - max(i - reach, 0) + 1 for i in range(n)) / n**2 for n in SLOTS]
    return sum(axis**2 for axis in axes) / len(axes)


def _facts(mixer: str) -> tuple[float, float, float]:
    """Whether each of `FACTS` holds for a mixer with its own settings, 0 or 1; of the last, the share."""
    kind = mixer_of(mixer)
    return float(kind.low_pass == "always"), float(kind.data_specific), share_of_map(kind.reach())
