"""RUN/experiments/: a file per experiment of a run folder, with its tasks, so that `status` tells what is left."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visionscope.core.documents import document_text
from visionscope.core.files import read_regular, write_whole
from visionscope.core.refusals import refusals

if TYPE_CHECKING:
    from visionscope.experiments.plan import Plan

FOLDER = "experiments"
_MOST_BYTES = 2**26
_LINE = re.compile(r"# task: (\{.*\})")
_COMMAND = "# go on with: "


@dataclasses.dataclass(frozen=True)
class Kept:
    """What an experiment's file says of one task.

    Attributes:
        variant: that is trained.
        seed: of the training.
        training: its digits.
        until: the snapshot that it may end with; "" for its end.
        questions: snapshot, diagnostic and key of everything that is asked of it.
        pretrained: whether others trained it.
    """

    variant: str
    seed: int
    training: str
    until: str
    questions: tuple[tuple[str, str, str], ...]
    pretrained: bool = False


@dataclasses.dataclass(frozen=True)
class ExperimentFile:
    """An experiment of a run folder.

    Attributes:
        path: its file, which `visionscope run` takes.
        title: as the study says.
        command: that goes on with it.
        tasks: a training each, with what is asked of it.
    """

    path: Path
    title: str
    command: str
    tasks: tuple[Kept, ...]


def write_experiment(run: Path, plan: Plan, command: str) -> Path:
    """Writes RUN/experiments/NAME.yaml, which is the study again with its tasks in comments.

    Args:
        run: the run folder.
        plan: the tasks.
        command: that goes on with it.

    Returns:
        The file.

    Raises:
        StoreError: when the disk refuses.
    """
    tasks = []
    for train in plan.trainings:
        own = [task for task in plan.diagnoses if task.train is train]
        questions = [(task.asked.snapshot, name, key) for task in own for name, key in task.keys.items()]
        tasks.append(Kept(train.variant.name, train.seed, train.training, train.until, tuple(questions)))
    return write_tasks(run, plan.experiment.values, tasks, command)


def write_tasks(run: Path, values: Mapping[str, Any], tasks: Iterable[Kept], command: str) -> Path:
    """Writes RUN/experiments/NAME.yaml.

    Args:
        run: the run folder.
        values: keys and values that say what is asked.
        tasks: that it comes to.
        command: that goes on with it.

    Returns:
        The file.

    Raises:
        StoreError: when the disk refuses.
    """
    lines = [f"{_COMMAND}{command}", *(f"# task: {json.dumps(dataclasses.asdict(one))}" for one in tasks)]
    path = experiment_path(run, values)
    with refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (document_text(dict(values)) + "\n".join(lines) + "\n").encode())
    return path


def experiment_path(run: Path, values: Mapping[str, Any]) -> Path:
    """The file of an experiment in its run folder, which need not be there.

    Args:
        run: the run folder.
        values: keys and values that say what is asked.
    """
    text = document_text(dict(values))
    return run / FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.yaml"


def read_experiments(run: Path) -> Iterator[ExperimentFile]:
    """The experiments of a run folder; a file that can't be read is passed over.

    Args:
        run: the run folder, which need not be there.
    """
    for path in sorted((run / FOLDER).glob("*.yaml")):
        try:
            lines = read_regular(path, _MOST_BYTES).decode(errors="replace").splitlines()
            tasks = [json.loads(match[1]) for match in map(_LINE.fullmatch, lines) if match]
            kept = [Kept(**{**task, "questions": tuple(map(tuple, task["questions"]))}) for task in tasks]
        except (OSError, ValueError, TypeError, KeyError):
            continue
        command = next((line.removeprefix(_COMMAND) for line in lines if line.startswith(_COMMAND)), "")
        title = next((line.removeprefix("title: ") for line in lines if line.startswith("title: ")), "")
        yield ExperimentFile(path, title, command, tuple(kept))
