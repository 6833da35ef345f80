"""Snapshots of a training, which say themselves which network they are of and when they were taken; needs no torch."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from visionscope.core.files import user_path
from visionscope.core.printable import printable, quoted
from visionscope.errors import ConfigError
from visionscope.models.find import opened_weights
from visionscope.models.spec import parse_spec

NAMESPACE = "visionscope."
"""What the metadata begin with that are ours."""

_WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".npz", ".th", ".tar")
_MOST_HEADER = 100 * 2**20  # bytes, as the library of the format has it
_EPOCH = re.compile(r"epoch-(\d+)")
_PREFERRED = ("init", "last", "epoch", "warmup", "best")
_AVERAGE = "ema"
_HANDED = ":"  # before the class of a network that no spec names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """When a file of weights was written, of which training.

    Attributes:
        training: the training's identity.
        label: how the training calls its network.
        name: of the moment: `init`, `epoch 5`, `last`, ...
        step: steps that the optimizer had made, or None where the file does not say.
        epoch: passes over the training images, with fractions, or None.
    """

    training: str
    label: str
    name: str
    step: int | None
    epoch: float | None

    @property
    def is_on_the_way(self) -> bool:
        """Whether the weights are the trained ones, and no average of them."""
        return self.name != _AVERAGE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named:
    """Model specs of which none is a bare file any more.

    Attributes:
        models: the specs.
        data: the data spec that all models were trained on; "" where one is no snapshot, or they have several.
        notes: what a user should know of it.
    """

    models: tuple[str, ...]
    data: str = ""
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Snapshot:
    path: str
    spec: str
    moment: Moment
    data: str
    weights: str
    """Digest of the tensors."""

    @property
    def order(self) -> tuple[float, int, str]:
        place = self.moment.name.partition(" ")[0]
        rank = _PREFERRED.index(place) if place in _PREFERRED else len(_PREFERRED)
        step = math.inf if self.moment.step is None else self.moment.step
        return (step, rank, self.path)


def moment_of(own: Mapping[str, str], path: Path) -> Moment | None:
    """When a file of weights was written; None for one that no training wrote.

    Args:
        own: metadata of the file by our names.
        path: of the file.

    Raises:
        ValueError: for metadata that say nothing sensible.
    """
    if "training" not in own or "trained" not in own:
        return None
    asked = json.loads(own.get("asked", "{}"))
    step = int(own["step"]) if "step" in own else None
    per_epoch = float(own.get("steps_per_epoch", 0))
    return Moment(
        training=own["training"],
        label=training_label(str(asked.get("model", own["trained"]))),
        name=_EPOCH.sub(lambda found: f"epoch {int(found[1])}", path.stem),
        step=step,
        epoch=step / per_epoch if step is not None and per_epoch > 0 else None,
    )


def training_label(asked: str) -> str:
    """How a training is called: by its model spec's label, else its network's name, without what no label can hold.

    Args:
        asked: the spec as it was given; of a network that was handed in, `:CLASS`.
    """
    if asked.startswith(_HANDED):
        label = asked.removeprefix(_HANDED)
    else:
        spec = parse_spec(asked)
        bare = dataclasses.replace(spec, arguments={}, checkpoint=None, others=()).text
        label = spec.label if parse_spec(spec.text).label != spec.label else parse_spec(bare).label
    return re.sub(r"[=?@/:]+", " ", label).strip() or "training"


def name_snapshots(models: Sequence[str]) -> Named:
    """Writes bare files of weights among model specs as `LABEL=SPEC@FILE`, from what the files say of themselves.

    The label tells the training and the moment: `vit_nano epoch 5`. Snapshots of one training stand where its first one
    stood, in the order of their steps. Of files that hold the same weights one is taken, as no network is measured
    twice.

    Args:
        models: specs and files.

    Raises:
        ConfigError: for a bare file that is not there, or does not say which network it is of.
    """
    found = {text: _snapshot(text) for text in dict.fromkeys(models) if _is_bare(text)}
    kept, notes = _without_twins([one for one in found.values()])
    labels = _labels(kept)
    named: list[str] = []
    told: set[str] = set()
    for text in models:
        own = found.get(text)
        if own is None:
            named.append(text)
        elif own.moment.training not in told:
            told.add(own.moment.training)
            mine = sorted(
                (one for one in kept if one.moment.training == own.moment.training), key=lambda one: one.order
            )
            named += [f"{labels[one.path]}={one.spec}@{one.path}" for one in mine]
    data = {one.data for one in found.values()} if len(found) == len(set(models)) else {""}
    return Named(models=tuple(named), data=data.pop() if len(data) == 1 else "", notes=tuple(notes))


def _is_bare(text: str) -> bool:
    """Whether a spec is a file of weights, and no model."""
    return text.endswith(_WEIGHTS) and "@" not in text and "?" not in text


def _snapshot(text: str) -> _Snapshot:
    path = user_path(f"model {quoted(text)}", text)
    shown = printable(text)
    with opened_weights(path) as file:
        own = _metadata(file) if path.suffix == ".safetensors" else {}
    try:
        moment = moment_of(own, path)
        if moment is None:
            raise ConfigError(f"model {shown}: the file does not say which network it is of; write NAME@{shown}")
        if own["trained"].startswith(_HANDED):
            name = own["trained"].removeprefix(_HANDED)
            raise ConfigError(
                f"model {shown}: it holds {quoted(name)}, which no spec names; write FILE.py:FUNCTION@{shown}"
            )
        return _Snapshot(
            path=text,
            spec=parse_spec(own["trained"]).text,
            moment=moment,
            data=own.get("data", ""),
            weights=own.get("sha256", text),
        )
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"model {shown}: its metadata can't be read; write NAME@{shown}") from error


def _metadata(file: BinaryIO) -> dict[str, str]:
    """Our metadata of a safetensors file, by our names; empty where it is none, or another program's."""
    size = int.from_bytes(file.read(8), "little")
    if not 0 < size <= _MOST_HEADER:
        return {}
    try:
        told: Any = json.loads(file.read(size)).get("__metadata__", {})
        return {key.removeprefix(NAMESPACE): str(told[key]) for key in told if key.startswith(NAMESPACE)}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _without_twins(snapshots: Sequence[_Snapshot]) -> tuple[list[_Snapshot], list[str]]:
    kept: dict[tuple[str, str], _Snapshot] = {}
    notes = []
    for one in sorted(snapshots, key=lambda one: one.order[1:]):
        first = kept.setdefault((one.moment.training, one.weights), one)
        if first is not one:
            notes.append(f"{printable(one.path)} has the weights of {printable(first.path)}; left out")
    return list(kept.values()), notes


def _labels(snapshots: Sequence[_Snapshot]) -> dict[str, str]:
    """A label for each file; trainings of one name are told apart by their digests."""
    trainings: dict[str, set[str]] = {}
    for one in snapshots:
        trainings.setdefault(one.moment.label, set()).add(one.moment.training)
    return {one.path: f"{name_of(one.moment, trainings[one.moment.label])} {one.moment.name}" for one in snapshots}


def name_of(moment: Moment, trainings: set[str]) -> str:
    """How a training is called among others.

    Args:
        moment: of it.
        trainings: the identities of all that have its label.
    """
    return moment.label if len(trainings) < 2 else f"{moment.label} {moment.training[:6]}"
