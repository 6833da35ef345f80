"""From an experiment to its tasks: trainings and diagnoses, each named by a digest, and which of them are done."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from visionscope.building.measure import costs
from visionscope.claims.one_seed import LAST
from visionscope.data.digest import source_digest
from visionscope.data.sources import Source
from visionscope.errors import ConfigError
from visionscope.experiments.done import Place
from visionscope.experiments.experiment import THREADS, Asked, Experiment, Variant
from visionscope.models.load import LoadedModel
from visionscope.training.asked import training_digest
from visionscope.training.folder import is_kept
from visionscope.training.launching import check_task, open_splits
from visionscope.training.networks import network_for

DIGITS = 12
"""Of a training's digest, which name its folder."""

_FORMULA = 1
"""Of the identity of a question; raised where what an experiment asks beside the settings changes."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrainTask:
    """One training.

    Attributes:
        variant: that is trained.
        seed: of everything.
        digest: its identity.
        until: the snapshot that it may end with; "" for its end.
        parameters: of the network.
        gmacs: 1e9 multiply-accumulates of a forward pass of one image; None where it has an operation of unknown cost.
        images: that are trained on, each epoch.
    """

    variant: Variant
    seed: int
    digest: str
    until: str
    parameters: int
    gmacs: float | None
    images: int

    @property
    def training(self) -> str:
        """The first digits of its identity."""
        return self.digest[:DIGITS]

    @property
    def text(self) -> str:
        """As people read it."""
        return f"{self.variant.name}, seed {self.seed}"

    def folder(self, run: Path) -> Path:
        """Where its files lie.

        Args:
            run: the run folder.
        """
        return run / "train" / self.training

    def weights(self, run: Path, snapshot: str) -> Path:
        """The file of a moment's weights.

        Args:
            run: the run folder.
            snapshot: the moment.
        """
        return self.folder(run) / f"{snapshot}.safetensors"

    def is_done(self, run: Path) -> bool:
        """Whether the weights that it was to end with are there, whole.

        Args:
            run: the run folder.
        """
        ends = (LAST, self.until) if self.until else (LAST,)
        return any(is_kept(self.weights(run, name), self.digest) for name in ends)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DiagnoseTask:
    """Everything that is asked of one training's weights at one moment.

    Attributes:
        train: the training.
        asked: what is asked.
        keys: of each diagnostic, the identity of the question that it is asked.
    """

    train: TrainTask
    asked: Asked
    keys: Mapping[str, str]

    @property
    def text(self) -> str:
        """As people read it."""
        return f"{self.train.text}, {self.asked.snapshot}: {', '.join(self.keys)}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The tasks of an experiment.

    Attributes:
        experiment: what is asked.
        trainings: seed by seed, so that the first results are of all variants.
        diagnoses: in the order of the trainings.
    """

    experiment: Experiment
    trainings: tuple[TrainTask, ...]
    diagnoses: tuple[DiagnoseTask, ...]


def plan_of(experiment: Experiment) -> Plan:
    """Names every task; builds every network for that, and trains none.

    Args:
        experiment: what is asked.

    Raises:
        ConfigError: for a model that can't be had.
        DataError: for images that can't be read.
    """
    data = {spec: _opened(spec) for spec in dict.fromkeys(variant.data for variant in experiment.variants)}
    for variant in experiment.variants:
        check_task(variant.task, data[variant.data][0])
    trainings = tuple(
        _training(experiment, variant, seed, *data[variant.data])
        for seed in experiment.seeds
        for variant in experiment.variants
        if seed in variant.seeds
    )
    diagnoses = tuple(
        DiagnoseTask(train=train, asked=asked, keys={one.name: question_key(one, asked) for one in asked.diagnostics})
        for train in trainings
        for asked in experiment.asked_of(train.variant.name)
        if asked.diagnostics
    )
    return Plan(experiment=experiment, trainings=trainings, diagnoses=diagnoses)


def question_key(diagnostic: Any, asked: Asked) -> str:
    """The identity of a question, 12 hexadecimal digits; with a training and a moment it names a result.

    Args:
        diagnostic: with its parameters.
        asked: the settings beside them; a batch size changes nothing.
    """
    fields = diagnostic.identity() if hasattr(diagnostic, "identity") else dataclasses.asdict(diagnostic)
    settings = {name: value for name, value in asked.settings.items() if name != "batch"}
    told = [_FORMULA, diagnostic.name, diagnostic.version, fields, settings]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:DIGITS]


def left_of(task: DiagnoseTask, there: Collection[Place], skipped: Collection[tuple[str, str, str]]) -> tuple[str, ...]:
    """The names of a task's diagnostics that have no result yet.

    Args:
        task: the task.
        there: where results belong that are there.
        skipped: training, snapshot and name of each diagnostic that has nothing to ask of those weights.
    """
    training, snapshot = task.train.training, task.asked.snapshot
    return tuple(
        name
        for name, key in task.keys.items()
        if (training, snapshot, key) not in there and (training, snapshot, name) not in skipped
    )


def _opened(spec: str) -> tuple[Source, tuple[str, str]]:
    train, test = open_splits(spec)
    return train, (source_digest(train), source_digest(test))


def _training(
    experiment: Experiment, variant: Variant, seed: int, source: Source, digests: tuple[str, str]
) -> TrainTask:
    recipe, terms = variant.trained_by, variant.terms(seed)
    loaded = network_for(
        variant.model, len(source.classes), seed=seed, drop_path=recipe.drop_path, note=lambda line: None
    )
    return TrainTask(
        variant=variant,
        seed=seed,
        digest=training_digest(loaded, recipe, terms, digests, threads=THREADS),
        until=experiment.until(variant),
        parameters=sum(parameter.numel() for parameter in loaded.model.parameters()),
        gmacs=_gmacs(variant.model, loaded),
        images=round(variant.fraction * (1 - variant.validation) * len(source)),
    )


_GMACS: dict[tuple[str, int | None], float | None] = {}


def _gmacs(spec: str, loaded: LoadedModel) -> float | None:
    """What a network costs, which all seeds of a spec share."""
    key = (spec, loaded.num_classes)
    if key not in _GMACS:
        try:
            _GMACS[key] = costs(loaded.model, loaded.input.size, len(loaded.input.mean)).gmacs
        except ConfigError:  # an operation that the table of costs doesn't know keeps nobody from training
            _GMACS[key] = None
    return _GMACS[key]
