"""The rule over networks: an interval over networks, one over families of networks, and the more cautious verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from visionscope.claims.claim import EXPLORATORY
from visionscope.claims.networks import Kind, NetworkClaim, Structure
from visionscope.claims.one_seed import LAST, MissingError, OneSeed, Tables
from visionscope.claims.verdict import INCONCLUSIVE, NOT_ASSESSABLE, ruled
from visionscope.core.table import column
from visionscope.errors import StoreError
from visionscope.numerics.over_seeds import Interval, t_interval
from visionscope.numerics.paired import wilson
from visionscope.numerics.unpaired import welch_interval

FEWEST_FAMILIES = 5
"""Of each kind: networks of one family are no independent evidence, and as many seeds are needed elsewhere."""

_LABELLED = ("lesion_summary", "frequency_noise_summary")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkVerdict:
    """What became of one claim over networks."""

    number: int = column("number of the paper's claim")
    claim: str = column("name of the claim")
    family: str = column("exploratory: each by itself, uncorrected")
    text: str = column("what is claimed")
    over: str = column("the kind of networks, or the two kinds that are compared")
    verdict: str = column("not assessable, no effect, replicated, contradicted or inconclusive: the first that fits")
    effect: float | None = column(
        "mean over networks, of two kinds the difference of their means, of two halves the smaller",
        ends=("low", "high"),
    )
    low: float | None = column("lower end of its 95 % interval over networks: Student's t, of two kinds Welch's")
    high: float | None = column("upper end")
    family_effect: float | None = column("the same of the means of families", ends=("family_low", "family_high"))
    family_low: float | None = column("lower end of its 95 % interval over families")
    family_high: float | None = column("upper end")
    unit: str = column("of effects, ends, smallest effect and published value")
    n: int = column("networks that have a number", role="count")
    n_families: int = column("families of these", role="count")
    n_against: int = column("of n, those of the second kind; 0 where there is one kind", role="count")
    n_families_against: int = column("families of the second kind", role="count")
    direction: int = column("side of zero where the claim holds: 1 above, -1 below")
    smallest: float = column("smallest effect of interest: an interval inside it on both sides is no effect")
    published: float | None = column("what the paper's own numbers give, of single networks")
    published_data: str = column("what the paper's networks were trained on")
    note: str = column("what else there is to know")
    missing: str = column("networks of the kind that have no number, and why")

    @property
    def sentence(self) -> str:
        """The verdict with its effect, in at most 25 words."""
        counts = f"{_count(self.n, 'network')}, {_count(self.n_families, 'family', 'families')}"
        if self.verdict == NOT_ASSESSABLE:
            return f"{self.text}: {self.verdict}, {counts}."
        unit = " points" if self.unit.endswith("points") else ""
        told = f"{self.effect:+.3g}{unit}, interval {self.low:+.3g} to {self.high:+.3g}, {counts}"
        return f"{self.text}: {self.verdict} ({told})."


@dataclasses.dataclass(frozen=True)
class Measured:
    """The numbers of networks of one kind.

    Attributes:
        values: of each network, by name: one number, or one per half of the claim.
        families: of the same networks.
        missing: of each network of the kind without numbers, the reason.
    """

    values: Mapping[str, tuple[float, ...]]
    families: Mapping[str, str]
    missing: Mapping[str, str]

    @property
    def by_network(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """A row per network, a column per half."""
        return np.array(list(self.values.values()), dtype=np.float64)

    @property
    def by_family(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """A row per family, the mean of its networks, a column per half."""
        groups: dict[str, list[tuple[float, ...]]] = {}
        for network, value in self.values.items():
            groups.setdefault(self.families[network], []).append(value)
        return np.array([np.mean(own, axis=0) for own in groups.values()], dtype=np.float64)


def judge_networks(claims: Iterable[NetworkClaim], tables: Tables) -> tuple[NetworkVerdict, ...]:
    """The verdicts on claims over networks, in their order; what one network lacks costs that network alone.

    A claim on one kind of network is judged by the mean over networks with Student's interval, one that compares two
    kinds by the difference of their means with Welch's. Of a comparison of two halves the smaller difference counts,
    and its interval runs from the smaller lower end to the smaller upper end. The same is done with the means of
    families. Both must come to one verdict by `verdict.ruled`, else it is inconclusive; below 5 families of a kind
    there is none.

    Args:
        claims: of a study.
        tables: by name; those of diagnostics with the columns of experiments, `network` and `family`, `networks` with a
            row per network that was loaded, `failures` with the reasons.
    """
    return tuple(_verdict(claim, tables) for claim in claims)


def measure_networks(claim: NetworkClaim, kind: Kind, tables: Tables) -> Measured:
    """The numbers of all networks of a kind.

    Args:
        claim: says which numbers.
        kind: `claim.kind` or `claim.against`.
        tables: as `judge_networks` takes them.
    """
    values: dict[str, tuple[float, ...]] = {}
    families, missing = {}, {}
    known = tables["networks"] if "networks" in tables else pd.DataFrame(columns=["network", "family"])
    for network, family in zip(known["network"], known["family"], strict=True):
        structure = structure_of(tables, network)
        if structure is None or not kind.holds(structure):
            continue
        one = OneSeed(tables, 0, dict.fromkeys(claim.variants, network))
        try:
            _check_above_chance(claim, one)
            values[network] = tuple(float(half(one)) for half in claim.halves)
            families[network] = str(family)
        except (MissingError, StoreError) as error:  # a table of another shape costs what reads it
            missing[network] = _without_names(str(error), (network, *claim.variants))
    return Measured(values, families, missing)


def structure_of(tables: Tables, network: str) -> Structure | None:
    """What a network is made of, by its points; None where none are known.

    Args:
        tables: as `judge_networks` takes them.
        network: its name.
    """
    if "points" not in tables:
        return None
    rows = tables["points"][tables["points"]["network"] == network]
    if rows.empty:
        return None
    return Structure(frozenset(map(str, rows["kind"])), rows.loc[rows["stage"] > 0, "stage"].nunique())


def _without_names(text: str, names: Iterable[str]) -> str:
    """A reason without the name that stands before it, and without a moment of training."""
    for name in names:
        text = text.removeprefix(f"{name}: ")
    return text.removesuffix(f" at {LAST}")


def _check_above_chance(claim: NetworkClaim, one: OneSeed) -> None:
    """Leaves a network out whose accuracy without damage is not above chance: there is nothing to lose."""
    for table in _LABELLED:
        if table.removesuffix("_summary") not in claim.claim.diagnostics:
            continue
        row = one.rows(table, claim.variants[0]).iloc[0]
        accuracy, images = float(row["accuracy"]) - float(row["change"]) / 100, int(row["images"])
        if wilson(round(accuracy * images), images)[0] <= float(row["chance"]):
            chance = 100 * float(row["chance"])
            raise MissingError(f"its accuracy, {100 * accuracy:.3g} %, is not above chance, {chance:.3g} %")


def _verdict(claim: NetworkClaim, tables: Tables) -> NetworkVerdict:
    own = measure_networks(claim, claim.kind, tables)
    other = measure_networks(claim, claim.against, tables) if claim.against is not None else None
    groups = [own] if other is None else [own, other]
    over_networks = _estimated([group.by_network for group in groups])
    over_families = _estimated([group.by_family for group in groups])
    families = [len(group.by_family) for group in groups]
    paper = claim.claim
    verdict = NOT_ASSESSABLE
    if min(families) >= FEWEST_FAMILIES:
        intervals = [one.interval for one in (over_networks, over_families) if one.interval is not None]
        verdicts = {ruled(interval, paper.direction, paper.smallest, None) for interval in intervals}
        verdict = verdicts.pop() if len(verdicts) == 1 else INCONCLUSIVE
    low, high = over_networks.interval or (None, None)
    family_low, family_high = over_families.interval or (None, None)
    return NetworkVerdict(
        number=paper.number,
        claim=claim.name,
        family=EXPLORATORY,
        text=claim.text,
        over=claim.over,
        verdict=verdict,
        effect=over_networks.effect,
        low=low,
        high=high,
        family_effect=over_families.effect,
        family_low=family_low,
        family_high=family_high,
        unit=paper.unit,
        n=sum(len(group.values) for group in groups),
        n_families=len({family for group in groups for family in group.families.values()}),
        n_against=len(other.values) if other else 0,
        n_families_against=families[-1] if other else 0,
        direction=paper.direction,
        smallest=paper.smallest,
        published=paper.published.value if paper.published else None,
        published_data=paper.published.data if paper.published else "",
        note=_note(claim, families),
        missing=_told({network: why for group in groups for network, why in group.missing.items()}),
    )


@dataclasses.dataclass(frozen=True)
class _Estimated:
    effect: float | None
    interval: Interval | None


def _estimated(groups: Sequence[np.ndarray[tuple[int, int], np.dtype[np.float64]]]) -> _Estimated:
    """The smallest of the halves' effects, and the interval of that minimum; of two groups the differences."""
    if not all(map(len, groups)):
        return _Estimated(None, None)
    effects = groups[0].mean(axis=0) if len(groups) == 1 else groups[0].mean(axis=0) - groups[1].mean(axis=0)
    effect = float(effects.min())
    if min(map(len, groups)) < 2:
        return _Estimated(effect, None)
    columns = [[group[:, half].tolist() for group in groups] for half in range(groups[0].shape[1])]
    ends = [t_interval(own[0]) if len(own) == 1 else welch_interval(own[0], own[1]) for own in columns]
    return _Estimated(effect, (min(low for low, _ in ends), min(high for _, high in ends)))


def _note(claim: NetworkClaim, families: Sequence[int]) -> str:
    kinds = [kind.words for kind in (claim.kind, claim.against) if kind is not None]
    few = [
        f"{_count(n, 'family', 'families')} of the {FEWEST_FAMILIES} needed ({kind})"
        for n, kind in zip(families, kinds, strict=True)
        if n < FEWEST_FAMILIES
    ]
    return "; ".join(few)


def _told(missing: Mapping[str, str]) -> str:
    """Networks without a number and why, those that share a reason together."""
    groups: dict[str, list[str]] = {}
    for network, reason in missing.items():
        groups.setdefault(reason, []).append(network)
    return "; ".join(f"{', '.join(own)}: {reason}" for reason, own in groups.items())


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"
