"""What a build-up is asked, and buildup.json in its run folder, which says so and what came of it; needs no torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionscope.core.files import read_regular, write_whole
from visionscope.core.refusals import refusals
from visionscope.core.values import shown
from visionscope.errors import ConfigError
from visionscope.models.spec import parse_spec

FILE = "buildup.json"
_MOST_BYTES = 2**24


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """What a build-up is asked.

    Attributes:
        model: spec of the network that it begins with.
        data: a data spec without split.
        recipe: a name in `RECIPES`.
        changes: fields of the recipe that are others than its own.
        fraction: share of the training images of each class.
        mixer: what stands in attention's place; empty for attention.
        warm_start: whether a candidate begins with its parent's trained weights of the same seed.
        pretrained: whether the network has its library's weights where its spec names no file.
        at_most_ms: milliseconds that a forward pass of one image may take; None for no limit.
    """

    model: str
    data: str
    recipe: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fraction: float = 1.0
    mixer: str = ""
    warm_start: bool = False
    pretrained: bool = False
    at_most_ms: float | None = None

    @property
    def fine_tunes(self) -> bool:
        """Whether the network has trained weights."""
        return self.pretrained or parse_spec(self.model).checkpoint is not None


def begun_in(run: Path) -> dict[str, Any]:
    """What buildup.json says; empty where there is none.

    Args:
        run: the run folder, which need not be there.

    Raises:
        ConfigError: when it can't be read.
    """
    try:
        return _checked(json.loads(read_regular(run / FILE, _MOST_BYTES)))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"out: {run / FILE} can't be read ({error}); name another folder") from error


def _checked(told: Any) -> dict[str, Any]:
    """Refuses what `keep` never writes; what older versions did not write may be missing."""
    if not isinstance(told, dict) or not {"asked", "seeds"} <= set(told):
        raise ValueError("it does not say what was asked")
    taken, result = told.get("milliseconds", {}), told.get("result") or {}
    holds = {
        "asked": isinstance(told["asked"], dict),
        "seeds": type(told["seeds"]) is int and told["seeds"] > 1,
        "milliseconds": isinstance(taken, dict) and all(type(one) in (int, float) for one in taken.values()),
        "result": isinstance(result, dict)
        and isinstance(result.get("sentences", []), list)
        and isinstance(result.get("failed", {}), dict),
    }
    for name, right in holds.items():
        if not right:
            raise ValueError(f"its {name} can't be {shown(told[name])}")
    return dict(told)


def control_asked(begun: Mapping[str, Any]) -> bool:
    """Whether a control was asked for; an older file says so by holding one.

    Args:
        begun: of `begun_in`.
    """
    return bool(begun.get("control", (begun.get("result") or {}).get("control")))


def is_done(begun: Mapping[str, Any]) -> bool:
    """Whether there is a result, with the control or the reason why there is none, if one was asked for.

    Args:
        begun: of `begun_in`.
    """
    result = begun.get("result") or {}
    return bool(result) and (not control_asked(begun) or bool(result.get("control") or result.get("no_control")))


def failed_before(begun: Mapping[str, Any]) -> dict[str, str]:
    """Why trainings failed before test accuracies were read, by their identity: tried again, they might decide anew.

    Args:
        begun: of `begun_in`.
    """
    return dict((begun.get("result") or {}).get("failed", {}))


def seeds_held(begun: Mapping[str, Any], run: Path, question: Question, seeds: int | None) -> int | None:
    """The seeds that a run folder was begun with; None where it was not.

    Args:
        begun: of `begun_in`.
        run: the run folder.
        question: that is asked now.
        seeds: that are asked for now, if any.

    Raises:
        ConfigError: for another question, or other seeds.
    """
    if not begun:
        return None
    try:
        asked, held = Question(**begun["asked"]), int(begun["seeds"])
    except TypeError as error:
        raise ConfigError(f"out: {run / FILE} can't be read ({error}); name another folder") from error
    if asked != question:
        raise ConfigError(f"out: {run} holds another build-up; name another folder, or ask the same")
    if seeds not in (None, held):
        raise ConfigError(
            f"seeds: must be {held} as the build-up in {run} was begun with, since its looks are fixed; got {seeds}"
        )
    return held


def keep(run: Path, told: Mapping[str, Any]) -> None:
    """Writes into buildup.json, and leaves there what it is not given, such as an earlier result.

    Args:
        run: the run folder.
        told: as JSON can hold it.

    Raises:
        ConfigError: when what is there can't be read.
        StoreError: when the disk refuses.
    """
    whole = {**begun_in(run), **told}
    with refusals(run / FILE):
        run.mkdir(parents=True, exist_ok=True)
        write_whole(run / FILE, (json.dumps(whole, indent=1, sort_keys=True) + "\n").encode())
