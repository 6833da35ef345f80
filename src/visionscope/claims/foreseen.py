"""What a plan shows before anything runs: the effect that each claim could detect with its seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from visionscope.claims.claim import Claim
from visionscope.claims.families import families_of
from visionscope.claims.one_seed import Tables
from visionscope.claims.verdict import FEWEST_SEEDS
from visionscope.core.table import column
from visionscope.errors import StoreError
from visionscope.numerics.over_seeds import POWER, detectable, fewest_seeds

_SEEDS_FOR_SPREAD = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What one claim could show with the seeds of a study."""

    number: int = column("number of the claim")
    claim: str = column("name of the claim")
    family: str = column("primary, a study's own family, or exploratory")
    comparisons: int = column("claims of the family, which Holm's rule counts; 1 of an exploratory claim", role="count")
    text: str = column("what is claimed")
    n: int = column("seeds that all its variants have", role="count")
    deviations: float | None = column(
        f"smallest true effect that is shown in {POWER:.0%} of such studies, in standard deviations between seeds"
    )
    effect: float | None = column("the same in the claim's unit, by the seeds that are there; none below 3 of them")
    smallest: float = column("smallest effect of interest")
    unit: str = column("of effect and smallest effect")
    note: str = column("what stands in the way")


def foreseen(claims: Iterable[Claim], seeds: Mapping[str, Sequence[int]], tables: Tables) -> tuple[Foreseen, ...]:
    """What each claim could detect, with 80 % power: see `numerics.over_seeds.detectable`.

    Args:
        claims: of a study, all of them.
        seeds: of each of its variants, by name.
        tables: of what was trained and measured before; empty if nothing was.
    """
    listed = list(claims)
    families = families_of(listed)
    return tuple(_of(claim, len(families.get(claim.family, (claim,))), seeds, tables) for claim in listed)


def _of(claim: Claim, comparisons: int, seeds: Mapping[str, Sequence[int]], tables: Tables) -> Foreseen:
    lacking = [name for name in claim.variants if name not in seeds]
    n = 0 if lacking else len(set.intersection(*(set(seeds[name]) for name in claim.variants)))
    deviations = detectable(n, comparisons=comparisons) if n >= FEWEST_SEEDS else math.inf
    note = ""
    if lacking:
        note = f"the study has no {', '.join(lacking)}"
    elif n < FEWEST_SEEDS:
        note = f"{n} seed{'' if n == 1 else 's'}, {FEWEST_SEEDS} are needed"
    elif math.isinf(deviations):
        note = f"{n} seeds can't reach the family's p; {fewest_seeds(comparisons)} are needed"
    spread = _spread(claim, tables)
    told = math.isfinite(deviations)
    return Foreseen(
        number=claim.number,
        claim=claim.name,
        family=claim.family,
        comparisons=comparisons,
        text=claim.text,
        n=n,
        deviations=deviations if told else None,
        effect=deviations * spread if told and spread is not None else None,
        smallest=claim.smallest,
        unit=claim.unit,
        note=note,
    )


def _spread(claim: Claim, tables: Tables) -> float | None:
    try:
        values = list(claim.estimand(tables).values())
    except StoreError:
        return None
    return float(np.std(values, ddof=1)) if len(values) >= _SEEDS_FOR_SPREAD else None
