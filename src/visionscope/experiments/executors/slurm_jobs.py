"""Workers that are jobs of Slurm, through submitit: files pass through a folder that all machines share."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from visionscope.core.values import Rule, Value, shown
from visionscope.errors import ConfigError, nearest
from visionscope.experiments.executors.executor import Executor
from visionscope.experiments.executors.work import ONE_THREAD, File, WorkerDied, items

_DEFAULTS: Mapping[str, Any] = {"timeout_min": 24 * 60, "cpus_per_task": 1, "name": "visionscope"}
_OURS = {"nodes", "tasks_per_node", "gpus_per_node", "cpus_per_task", "stderr_to_stdout"}  # not for a study to choose
_CLUSTERS = ("slurm", "local")
_SHORTEST_WAIT, _LONGEST_WAIT = 0.1, 10.0  # seconds between two looks into the folder
_LATE_SECONDS = 60.0  # that a shared folder may take to show what was written before the job ended
_JOB = "job-id"


def slurm_executor(folder: Path, workers: int, options: Mapping[str, Any]) -> Executor:
    """An executor that makes a job of every task.

    A job writes each file into a folder of its own below `folder`, and the driver hands it on when it sees it. Jobs of
    a driver that died are cancelled by the next one. A job that ends at its time limit is a worker that died.

    Args:
        folder: on a disk that all machines share, for jobs alone.
        workers: how many jobs, waiting or running, at a time.
        options: submitit's, as `timeout_min` (minutes, by default a day), `mem_gb`, `slurm_partition`; and `cluster`,
            which is `slurm`, or `local` for processes of this machine.

    Raises:
        ConfigError: where submitit isn't installed, Slurm isn't there, or an option is unknown or of the wrong type.
    """
    try:
        import submitit
    except ImportError as error:
        raise ConfigError("on: submitit is not installed: pip install 'visionscope[slurm]'") from error
    chosen = {**_DEFAULTS, **options}
    cluster = Value(str, Rule(choices=_CLUSTERS)).checked("slurm.cluster", chosen.pop("cluster", "slurm"))
    _check(submitit, chosen)
    try:
        _submitter(submitit, folder, cluster, chosen, 0.0)
    except RuntimeError as error:  # submitit looks for the command
        raise ConfigError("on: slurm: the command srun was not found; is this machine part of a cluster?") from error
    except (AssertionError, NameError, TypeError, ValueError) as error:
        raise ConfigError(f"slurm: {str(error).partition(chr(10))[0]}") from error
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(submitit, folder, cluster)

    def start(gpus: float) -> Job:
        return Job(folder, lambda own: _submitter(submitit, own, cluster, chosen, gpus))

    return Executor(start, workers)


def write_items(task: bytes, folder: str) -> int:
    """The job: runs a task and writes its items, one file each, whole or not at all.

    Args:
        task: from `work.packed`.
        folder: for the items.

    Returns:
        How many there are.
    """
    os.environ.update(ONE_THREAD)  # before the task imports torch
    count = 0
    for item in items(task):
        begun = Path(folder) / "begun"
        begun.write_bytes(pickle.dumps(item))
        begun.replace(_place(Path(folder), count))
        count += 1
    return count


class Job:
    """A worker that takes one task, as a job with a folder of its own."""

    def __init__(self, folder: Path, submitter: Any) -> None:
        """Submits nothing yet.

        Args:
            folder: for all jobs.
            submitter: makes submitit's executor for a folder.
        """
        self._folder, self._submitter = folder, submitter
        self._job: Any = None
        self._cancelled = False
        self._stop = threading.Event()

    def ready(self, seconds: float) -> bool:
        return True

    def run(self, task: bytes) -> Iterator[File | Exception]:
        own = self._folder / uuid.uuid4().hex
        own.mkdir()
        self._job = self._submitter(own).submit(write_items, task, str(own))
        (own / _JOB).write_text(self._job.job_id)
        yield from self._read(own)
        shutil.rmtree(own, ignore_errors=True)  # of a job that died the logs are kept until the next start

    def end(self) -> None:
        self._stop.set()
        if self._job is not None and not self._cancelled and not self._job.done():
            self._cancelled = True  # a second interrupt would stop submitit's local controller before it kills the task
            self._job.cancel(check=False)

    def _read(self, own: Path) -> Iterator[File | Exception]:
        count, wait, ended = 0, _SHORTEST_WAIT, False
        while not ended:
            ended = self._job.done()  # asked first: what was written before the end is found below
            while (place := _place(own, count)).exists():
                yield _taken(place)
                count, wait = count + 1, _SHORTEST_WAIT
            if self._stop.wait(0.0 if ended else wait):
                raise WorkerDied("the job was cancelled")
            wait = min(2 * wait, _LONGEST_WAIT)
        written, until = self._count(own), time.monotonic() + _LATE_SECONDS
        while count < written:
            place = _place(own, count)
            if place.exists():
                yield _taken(place)
                count += 1
            elif time.monotonic() > until or self._stop.wait(_SHORTEST_WAIT):
                raise WorkerDied(f"the job wrote {written} files, of which {count} appeared in {own}")

    def _count(self, own: Path) -> int:
        """How many items the job wrote, once it has ended."""
        try:
            return int(self._job.result())
        except Exception as error:
            raise WorkerDied(f"the job {self._job.job_id} ended early ({self._job.state}); logs in {own}") from error


def _taken(place: Path) -> File | Exception:
    item: File | Exception = pickle.loads(place.read_bytes())
    place.unlink()
    return item


def _place(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}"


def _submitter(submitit: Any, folder: Path, cluster: str, options: Mapping[str, Any], gpus: float) -> Any:
    submitter = submitit.AutoExecutor(folder=folder, cluster=cluster)
    submitter.update_parameters(**options, nodes=1, tasks_per_node=1, gpus_per_node=math.ceil(gpus))
    return submitter


def _check(submitit: Any, options: Mapping[str, Any]) -> None:
    own = set(submitit.AutoExecutor._typed_parameters())
    known = {*own, *(f"slurm_{name}" for name in submitit.SlurmExecutor._valid_parameters()), "cluster"} - _OURS
    for name, value in options.items():
        if name in _DEFAULTS and value == _DEFAULTS[name]:
            continue
        if name not in known:
            hint = (
                nearest(f"slurm_{name}" if f"slurm_{name}" in known else str(name), known)
                or " See submitit's documentation of AutoExecutor."
            )
            raise ConfigError(f"slurm: {shown(name)} is not an option.{hint}")
    Value(int, Rule(least=1)).checked("slurm.timeout_min", options["timeout_min"])


def _sweep(submitit: Any, folder: Path, cluster: str) -> None:
    """Cancels what the jobs of a driver that died are at, and removes what they left."""
    for left in folder.iterdir():
        with contextlib.suppress(OSError):
            number = (left / _JOB).read_text()
            if cluster == "slurm":
                submitit.SlurmJob(folder=left, job_id=number).cancel(check=False)
        shutil.rmtree(left, ignore_errors=True)
