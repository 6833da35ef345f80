"""One rule for all claims: numbers of seeds to effect, interval, p and one of five verdicts."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from visionscope.claims.claim import Claim, seeds_of
from visionscope.claims.families import families_of, told_family
from visionscope.claims.one_seed import MissingError, OneSeed, Tables
from visionscope.core.table import column
from visionscope.errors import StoreError
from visionscope.numerics.over_seeds import (
    Interval,
    bca_interval,
    fewest_seeds,
    prediction_interval,
    sign_flip,
    t_interval,
)
from visionscope.numerics.paired import holm

NOT_ASSESSABLE, NO_EFFECT, REPLICATED = "not assessable", "no effect", "replicated"
CONTRADICTED, INCONCLUSIVE = "contradicted", "inconclusive"
VERDICTS = (NOT_ASSESSABLE, NO_EFFECT, REPLICATED, CONTRADICTED, INCONCLUSIVE)
"""In the order in which they are tried: the first that fits counts."""

FEWEST_SEEDS = 5
SIGNIFICANT = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one claim."""

    number: int = column("number of the claim; the primary ones come first")
    claim: str = column("name of the claim")
    family: str = column(
        "primary, or a study's own name: judged together by Holm's rule; exploratory: each by itself, uncorrected"
    )
    text: str = column("what is claimed")
    verdict: str = column("not assessable, no effect, replicated, contradicted or inconclusive: the first that fits")
    effect: float | None = column("mean over seeds of the claim's number", ends=("low", "high"))
    low: float | None = column("lower end of its 95 % interval, Student's t over seeds")
    high: float | None = column("upper end")
    bca_low: float | None = column("lower end of its 95 % interval by the BCa bootstrap over seeds; it decides nothing")
    bca_high: float | None = column("upper end")
    unit: str = column("of effect, ends, smallest effect and published value")
    n: int = column("seeds that have a number", role="count")
    p: float | None = column("exact p over all flips of sign, two-sided", role="chance")
    p_holm: float | None = column("p raised by Holm's rule over the claims of the family; none for exploratory ones")
    direction: int = column("side of zero where the claim holds: 1 above, -1 below")
    smallest: float = column("smallest effect of interest: an interval inside it on both sides is no effect")
    published: float | None = column("what the paper's own numbers give")
    published_data: str = column("what the paper's networks were trained on")
    beside: str = column(
        "a second number with its mean, 95 % interval over seeds and published value; it decides nothing"
    )
    note: str = column("what else there is to know")
    missing: str = column("seeds that have no number, and why")

    @property
    def sentence(self) -> str:
        """The verdict with its effect, in at most 25 words."""
        if self.effect is None or self.low is None or self.high is None or self.verdict == NOT_ASSESSABLE:
            return f"{self.text}: {self.verdict}, {self.n} seed{'' if self.n == 1 else 's'}."
        unit = " points" if self.unit.endswith("points") else ""  # longer ones stand in the table alone
        told = f"{self.effect:+.3g}{unit}, interval {self.low:+.3g} to {self.high:+.3g}, {self.n} seeds"
        return f"{self.text}: {self.verdict} ({told})."


def judge(claims: Iterable[Claim], tables: Tables, *, paper_data: str = "") -> tuple[Verdict, ...]:
    """The verdicts on claims, in their order.

    Holm's rule goes over the claims of a family (see `families_of`); those that can't be assessed count as p = 1. What
    the tables lack costs the claims that need it alone: a seed without a number is left out and named.

    Args:
        claims: of the paper, or a user's own.
        tables: of one experiment, by name.
        paper_data: what the study was trained on, if at the paper's own scale: the published values of the same data
            are then compared with our prediction interval.
    """
    listed = list(claims)
    families = families_of(listed)
    together = {claim.name: claim for own in families.values() for claim in own}
    measured = {
        name: _measured(claim, tables) for name, claim in {**together, **{one.name: one for one in listed}}.items()
    }
    raised: dict[str, float] = {}
    for own in families.values():
        chances = [_chance(measured[claim.name].values) for claim in own]
        holms = holm([1.0 if p is None else p for p in chances])
        raised |= {claim.name: p for claim, p in zip(own, holms, strict=True)}
    return tuple(
        _verdict(
            claim,
            measured[claim.name],
            _Family(claim.family, len(families.get(claim.family, ())), raised.get(claim.name)),
            _unit(claim, tables),
            paper_data,
        )
        for claim in listed
    )


def ruled(interval: Interval, direction: int, smallest: float, p_holm: float | None) -> str:
    """The verdict on a claim that can be assessed.

    `no effect` where the interval lies inside the smallest effect of interest on both sides of zero; `replicated` where
    it lies beyond zero on the claimed side, `contradicted` on the other one, both in a family only where Holm's p is
    below 0.05; else `inconclusive`.

    Args:
        interval: 95 % interval of the effect.
        direction: side of zero where the claim holds, 1 or -1.
        smallest: smallest effect of interest.
        p_holm: None of an exploratory claim.
    """
    low, high = interval
    if -smallest < low and high < smallest:
        return NO_EFFECT
    if (low > 0 or high < 0) and (p_holm is None or p_holm < SIGNIFICANT):
        return REPLICATED if (low > 0) == (direction > 0) else CONTRADICTED
    return INCONCLUSIVE


@dataclasses.dataclass(frozen=True)
class _Family:
    """A claim's family: its name, its number of claims (0 of an exploratory one), and the p that Holm's rule gives."""

    name: str
    count: int
    p_holm: float | None


@dataclasses.dataclass(frozen=True)
class _Measured:
    numbers: Mapping[int, float]
    missing: Mapping[int, str]
    note: str = ""
    not_run: str = ""
    beside: str = ""

    @property
    def values(self) -> list[float]:
        return list(self.numbers.values())


def _measured(claim: Claim, tables: Tables) -> _Measured:
    absent = [name for name in claim.variants if not seeds_of(tables, name)]
    not_run = f"not run: {', '.join(absent)}" if absent else ""
    try:
        numbers, missing = claim.measured(tables)
        return _Measured(numbers, missing, not_run=not_run, beside=_beside(claim, tables, numbers))
    except StoreError as error:  # tables of another shape than the claim's: the others may have theirs
        return _Measured({}, {}, str(error))


def _beside(claim: Claim, tables: Tables, seeds: Iterable[int]) -> str:
    """The number beside a claim's own, over the seeds that have both."""
    if claim.beside is None:
        return ""
    values = []
    for seed in seeds:
        with contextlib.suppress(MissingError):
            values.append(claim.beside.number_of(OneSeed(tables, seed, claim.roles)))
    if not values:
        return ""
    told, published = f"{claim.beside.name} {np.mean(values):.3g}", claim.beside.published
    if len(values) > 1:
        low, high = t_interval(values)
        told += f" ({low:.3g} to {high:.3g})"
    return f"{told} {claim.beside.unit}; published: {published.value:.3g} ({published.data})"


def _chance(values: Sequence[float]) -> float | None:
    return sign_flip(values) if len(values) >= FEWEST_SEEDS else None


def _unit(claim: Claim, tables: Tables) -> str:
    """The unit of a claim that takes it from the table of measures."""
    if claim.unit or not claim.measure or "measures" not in tables:
        return claim.unit
    frame = tables["measures"]
    units = frame.loc[frame["diagnostic"] + ": " + frame["measure"] == claim.measure, "unit"]
    unit = str(units.iloc[0]) if len(units) else ""
    return "percentage points" if unit == "%" else unit


def _verdict(claim: Claim, measured: _Measured, family: _Family, unit: str, paper_data: str) -> Verdict:
    values = measured.values
    n = len(values)
    spread = n > 1
    low, high = t_interval(values) if spread else (None, None)
    bca_low, bca_high = bca_interval(values) if spread else (None, None)
    verdict = NOT_ASSESSABLE
    if n >= FEWEST_SEEDS and low is not None and high is not None:
        verdict = ruled((low, high), claim.direction, claim.smallest, family.p_holm)
    published = claim.published
    return Verdict(
        number=claim.number,
        claim=claim.name,
        family=claim.family,
        text=claim.text,
        verdict=verdict,
        effect=float(np.mean(values)) if values else None,
        low=low,
        high=high,
        bca_low=bca_low,
        bca_high=bca_high,
        unit=unit,
        n=n,
        p=_chance(values),
        p_holm=family.p_holm if n >= FEWEST_SEEDS else None,
        direction=claim.direction,
        smallest=claim.smallest,
        published=published.value if published else None,
        published_data=published.data if published else "",
        beside=measured.beside,
        note="; ".join(_notes(claim, measured, family, paper_data)),
        missing=_told_missing(measured.missing),
    )


def _told_missing(missing: Mapping[int, str]) -> str:
    """Seeds without a number and why, those that share a reason together."""
    seeds: dict[str, list[str]] = {}
    for seed, reason in missing.items():
        seeds.setdefault(reason, []).append(str(seed))
    told = ((f"seed{'s' if len(own) > 1 else ''} {', '.join(own)}", reason) for reason, own in seeds.items())
    return "; ".join(f"{who}: {reason}" for who, reason in told)


def _notes(claim: Claim, measured: _Measured, family: _Family, paper_data: str) -> list[str]:
    values, notes = measured.values, [measured.note] if measured.note else []
    if len(values) < FEWEST_SEEDS:
        notes.append(measured.not_run or f"{len(values)} of the {FEWEST_SEEDS} seeds needed")
    elif family.count and len(values) < fewest_seeds(family.count):
        notes.append(
            f"{len(values)} seeds can't reach p < {SIGNIFICANT:g} by Holm's rule over {told_family(family.name)}"
        )
    if claim.published and paper_data == claim.published.data and len(values) >= FEWEST_SEEDS:
        low, high = prediction_interval(values)
        where = "in" if low <= claim.published.value <= high else "outside"
        notes.append(f"the published value lies {where} our prediction interval, {low:.3g} to {high:.3g}")
    return notes
