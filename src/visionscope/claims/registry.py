"""The paper's claims, found in visionscope.claims.paper: one file each, whose `CLAIM` has its name."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from pathlib import Path

from visionscope.claims.claim import PRIMARY, Claim
from visionscope.errors import ConfigError, nearest


@functools.cache
def paper_claims() -> tuple[Claim, ...]:
    """All of them, in the order of their numbers."""
    folder = Path(__file__).parent / "paper"
    names = [module.name for module in pkgutil.iter_modules([str(folder)])]
    claims = [importlib.import_module(f"visionscope.claims.paper.{name}").CLAIM for name in names]
    return tuple(sorted(claims, key=lambda claim: claim.number))


def primary_claims() -> tuple[Claim, ...]:
    """The eight that are judged together."""
    return tuple(claim for claim in paper_claims() if claim.family == PRIMARY)


def claim(name: str) -> Claim:
    """A claim of the paper by its name.

    Args:
        name: of its file.

    Raises:
        ConfigError: when there is no such claim, naming the nearest one.
    """
    by_name = {one.name: one for one in paper_claims()}
    if name not in by_name:
        raise ConfigError(f"claims: there is no claim {name!r}.{nearest(str(name), by_name)}")
    return by_name[name]
