"""Which claims are judged together: the family of each, over which Holm's rule raises p."""

from __future__ import annotations

from collections.abc import Iterable

from visionscope.claims.claim import EXPLORATORY, PRIMARY, Claim
from visionscope.claims.registry import primary_claims
from visionscope.errors import ConfigError, nearest


def families_of(claims: Iterable[Claim]) -> dict[str, tuple[Claim, ...]]:
    """The families of claims, by name; exploratory claims are in none.

    The primary family is always the paper's eight, whichever are asked for: to leave one out must not lower the p of
    the others. A study's own family is those of the study's claims that name it.

    Args:
        claims: of a study, all of them.
    """
    found: dict[str, dict[str, Claim]] = {PRIMARY: {one.name: one for one in primary_claims()}}
    for claim in claims:
        if claim.family != EXPLORATORY:
            found.setdefault(claim.family, {})[claim.name] = claim
    return {name: tuple(own.values()) for name, own in found.items()}


def check_families(claims: Iterable[Claim]) -> None:
    """Checks that no claim is alone in its family: a name that is mistyped would spare it Holm's rule.

    Args:
        claims: of a study, all of them.

    Raises:
        ConfigError: for the first that is alone, naming the nearest family.
    """
    families = families_of(claims)
    for name, own in families.items():
        if len(own) == 1:
            others = [other for other in families if other not in (name, PRIMARY)]
            raise ConfigError(
                f"claims.{own[0].name}.family: must be shared by two claims or more; no other claim has {name!r}."
                f"{nearest(name, others) if others else ' Leave it out, or name it in another claim'}"
            )


def told_family(name: str) -> str:
    """A family as sentences name it.

    Args:
        name: of the family.
    """
    return "the primary claims" if name == PRIMARY else f"the family {name}"
