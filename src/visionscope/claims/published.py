"""Numbers read off the figures of Park & Kim 2022, and what a claim of theirs comes to by them."""

from __future__ import annotations

import dataclasses
import functools
import json
from importlib.resources import files
from typing import Any

from visionscope.errors import ConfigError, nearest


@dataclasses.dataclass(frozen=True)
class Published:
    """The paper's number for a claim, computed like ours.

    Attributes:
        value: in the unit of the claim.
        data: what the paper's networks were trained on.
        of: what it was computed from.
    """

    value: float
    data: str
    of: str


def figure(name: str) -> Any:
    """The numbers of one figure, as `paper_figures.json` has them: digitized from the paper's vector figures.

    Args:
        name: such as `fig2b_noise`.

    Raises:
        ConfigError: when there is no such figure.
    """
    if name not in _figures():
        raise ConfigError(f"figure: there is no {name!r}.{nearest(name, _figures())}")
    return _figures()[name]


@functools.cache
def _figures() -> dict[str, Any]:
    text = (files("visionscope.claims") / "published" / "paper_figures.json").read_text(encoding="utf-8")
    read: dict[str, Any] = json.loads(text)
    return read
