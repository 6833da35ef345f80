"""How a finding stands to what the paper (Park & Kim 2022) reports of trained networks on the same question."""

from collections.abc import Mapping, Sequence
from typing import Any

from visionscope.core.diagnostic import Tables
from visionscope.core.finding import AGAINST_THE_PAPER, AS_THE_PAPER, NO_CLEAR_CHANGE, is_trained
from visionscope.core.grouping import rows_by_model
from visionscope.core.subject import Kind

POINTS = "points"
"""The table of what each network is made of, among those that sentences are computed from."""


def state_of(agreements: Sequence[bool | None], *networks: Sequence[Mapping[str, Any]]) -> str:
    """`as the paper`, `against the paper`, `no clear change`, or "" where the paper reports nothing.

    Args:
        agreements: for each part of what the paper reports, whether the finding agrees, or None where it is not clear.
            One part that disagrees is against the paper.
        networks: rows of each network that the finding is on; of random weights the paper reports nothing.
    """
    if not agreements or not all(map(is_trained, networks)):
        return ""
    if False in agreements:
        return AGAINST_THE_PAPER
    return AS_THE_PAPER if True in agreements else NO_CLEAR_CHANGE


def transformers(tables: Tables) -> set[str]:
    """The models whose branches attend and don't convolve.

    Args:
        tables: of one diagnostic, with `points`; without them no model is known to be one.
    """
    return {name for name, kinds in _kinds(tables).items() if Kind.MSA in kinds and Kind.CONV not in kinds}


def attending(tables: Tables) -> set[str]:
    """The models that have self-attention.

    Args:
        tables: of one diagnostic, with `points`.
    """
    return {name for name, kinds in _kinds(tables).items() if Kind.MSA in kinds}


def convolutional(tables: Tables) -> set[str]:
    """The models whose branches convolve and don't attend.

    Args:
        tables: of one diagnostic, with `points`.
    """
    return {name for name, kinds in _kinds(tables).items() if Kind.CONV in kinds and Kind.MSA not in kinds}


def _kinds(tables: Tables) -> dict[str, set[str]]:
    if POINTS not in tables:
        return {}
    return {name: {row["kind"] for row in rows} for name, rows in rows_by_model(tables[POINTS]).items()}
