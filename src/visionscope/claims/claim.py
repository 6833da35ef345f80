"""A claim: what is said, and how one number per seed is made that must lie on one side of zero if it holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Final, Literal

from visionscope.claims.one_seed import LAST, MissingError, OneSeed, Tables
from visionscope.claims.published import Published

PRIMARY: Final = "primary"
EXPLORATORY: Final = "exploratory"
SEEDS = {PRIMARY: 9, EXPLORATORY: 5}
"""Seeds that each family is planned with: 8 claims by Holm's rule need 9, since 8 * 2 / 2^9 = 0.031."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beside:
    """A second number that is told beside a claim's own, and decides nothing.

    Attributes:
        name: in one word.
        number_of: one seed's tables to one number.
        meaning: what that number is, in one sentence.
        unit: of the number.
        published: what the paper's own numbers give.
    """

    name: str
    number_of: Callable[[OneSeed], float]
    meaning: str
    unit: str
    published: Published


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """What is claimed, fixed before anything runs.

    Attributes:
        name: of its file.
        number: in the list of all; the eight primary claims come first.
        family: `primary`, the eight that are judged together by Holm's rule; `exploratory`, each by itself; or the name
            of a family of a study's own claims, judged together in the same way.
        text: the claim, in a few words.
        source: where the paper says so: figure and section.
        figure: id of the figure that shows it, such as `1c`; empty of a claim that is no paper's.
        variants: the trainings that it needs.
        diagnostics: what must be asked of them; none where the trainings' own scores do.
        snapshot: of the trainings at which they must be asked.
        number_of: one seed's tables to one number.
        meaning: what that number is, in one sentence.
        unit: of the number, and of the smallest effect; empty where the tables say it.
        direction: the side of zero on which the number lies where the claim holds, 1 or -1.
        smallest: the smallest effect of interest: nearer to zero than this the claim says nothing worth knowing.
        reason: why that one, in one sentence.
        published: what the paper's own numbers give.
        measure: `DIAGNOSTIC: MEASURE` of a claim that compares one; else empty.
        beside: a second number that decides nothing; None for most.
        roles: which of a study's variants stands for one that `number_of` names, where it has another name.
    """

    name: str
    number: int
    family: str
    text: str
    source: str
    figure: str
    variants: tuple[str, ...]
    diagnostics: tuple[str, ...]
    snapshot: str = LAST
    number_of: Callable[[OneSeed], float]
    meaning: str
    unit: str
    direction: Literal[1, -1]
    smallest: float
    reason: str
    published: Published | None = None
    measure: str = ""
    beside: Beside | None = None
    roles: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def with_roles(self, roles: Mapping[str, str]) -> Claim:
        """The same claim, made of variants that have other names in a study.

        It is exploratory: the primary family was written down for the variants that its claims name.

        Args:
            roles: the study's name of each variant that is called otherwise there.
        """
        variants = tuple(roles.get(name, name) for name in self.variants)
        return dataclasses.replace(self, variants=variants, roles=roles, family=EXPLORATORY)

    def estimand(self, tables: Tables) -> dict[int, float]:
        """One number for each seed that has all the claim needs, by seed in ascending order.

        Args:
            tables: of the experiment.
        """
        return self.measured(tables)[0]

    def measured(self, tables: Tables) -> tuple[dict[int, float], dict[int, str]]:
        """The number of each seed, and of each seed without one the reason.

        Seeds are those that all variants of the claim were trained with, or failed with.

        Args:
            tables: of the experiment.
        """
        numbers, missing = {}, {}
        for seed in sorted(set.intersection(*(seeds_of(tables, name) for name in self.variants))):
            try:
                numbers[seed] = float(self.number_of(OneSeed(tables, seed, self.roles)))
            except MissingError as error:
                missing[seed] = str(error)
        return numbers, missing


def seeds_of(tables: Tables, variant: str) -> set[int]:
    """The seeds of which any table has a row of a variant, be it that the training failed.

    Args:
        tables: of an experiment.
        variant: name of a training.
    """
    found: set[int] = set()
    for frame in tables.values():
        if {"variant", "seed"} <= set(frame):
            found.update(int(seed) for seed in frame.loc[frame["variant"] == variant, "seed"].unique())
    return found
