"""Carries out a plan: gives tasks to workers as soon as what they need is there, and writes what comes back."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path, PurePosixPath

from visionscope.claims.one_seed import LAST
from visionscope.core.failures import one_line
from visionscope.core.files import write_whole
from visionscope.core.refusals import refusals
from visionscope.errors import StoreError
from visionscope.experiments.done import done_jobs, known_results, not_applicable, stored_tables
from visionscope.experiments.executors.executor import Executor
from visionscope.experiments.executors.work import File, WorkerDied
from visionscope.experiments.plan import DiagnoseTask, Plan, TrainTask, left_of
from visionscope.experiments.tables import TRAINING
from visionscope.experiments.work import diagnose_files, diagnose_work, train_files, train_work
from visionscope.running.store import Store, now
from visionscope.training.snapshots import forget

ATTEMPTS = 3
"""Of a task whose worker dies: what kills it every time, such as too little memory, is not tried for ever."""

ERROR = "error.json"
Task = TrainTask | DiagnoseTask


@dataclasses.dataclass
class Standing:
    """Which tasks of a plan are done, and which are left.

    Attributes:
        trainings: left, in order.
        diagnoses: left, each with the diagnostics that have no result yet.
        trained: how many trainings need not be done, because their weights or all their results are there.
        diagnosed: how many diagnoses have all their results.
    """

    trainings: list[TrainTask]
    diagnoses: list[tuple[DiagnoseTask, tuple[str, ...]]]
    trained: int
    diagnosed: int


def standing(plan: Plan, run: Path, *, only_training: bool = False) -> Standing:
    """What there is to do.

    Args:
        plan: the tasks.
        run: the run folder.
        only_training: whether diagnoses wait for another time.

    Raises:
        StoreError: when a table can't be read.
    """
    known, done = known_results(stored_tables(run)), done_jobs(run)
    there = {place for place, job in done.items() if job.whole} | known
    skipped = not_applicable(done)
    diagnoses = [(task, left_of(task, there, skipped)) for task in plan.diagnoses]
    left = [(task, names) for task, names in diagnoses if names]
    wanted = {task.train.training for task, _ in left}
    trainings: dict[str, TrainTask] = {}
    for train in plan.trainings:
        finished = (train.training, LAST, TRAINING) in known or bool(train.until)
        needed = train.training in wanted or not finished or (only_training and not plan.diagnoses)
        if needed and train.training not in trainings and not train.is_done(run):
            trainings[train.training] = train
    count = len({train.training for train in plan.trainings})
    return Standing(
        trainings=list(trainings.values()),
        diagnoses=[] if only_training else _once(left),
        trained=count - len(trainings),
        diagnosed=len(diagnoses) - len(left),
    )


def _once(left: list[tuple[DiagnoseTask, tuple[str, ...]]]) -> list[tuple[DiagnoseTask, tuple[str, ...]]]:
    """Each diagnosis of the same weights once, whatever number of variants they are."""
    found = {(task.train.training, task.asked.snapshot, names): (task, names) for task, names in reversed(left)}
    return list(reversed(found.values()))


class Driver:
    """Gives the tasks of a plan to an executor.

    Args:
        run: the run folder.
        executor: where they run.
        standing: what is left to do.
        changed: is called with the driver whenever a task begins or ends.
        gpus: of each task.

    Attributes:
        running: tasks with the time at which they began.
        seconds: what tasks took, by kind of task (`kind_of`).
        failed: tasks that failed, with the reason.
        done: how many tasks have ended well.
    """

    def __init__(
        self,
        run: Path,
        executor: Executor,
        standing: Standing,
        changed: Callable[[Driver], None],
        *,
        gpus: float = 0.0,
    ) -> None:
        self.running: dict[Task, float] = {}
        self.seconds: dict[tuple[str, str], list[float]] = {}
        self.failed: list[tuple[Task, str]] = []
        self.done = 0
        self._run, self._executor, self._changed, self._gpus = run, executor, changed, gpus
        self._trainings = deque(standing.trainings)
        self._diagnoses = deque(standing.diagnoses)
        self._attempts: dict[Task, int] = {}
        self._futures: dict[Future[None], Task] = {}
        self._lost: dict[str, str] = {}
        self._names: dict[Task, tuple[str, ...]] = {}
        self._jobs = done_jobs(run)

    @property
    def left(self) -> list[Task]:
        """The tasks that neither run nor are over."""
        return [*self._trainings, *(task for task, _ in self._diagnoses)]

    def carry_out(self, seconds: float | None = None) -> None:
        """Does all there is to do.

        Args:
            seconds: after which it ends, whatever is left; None for no limit.

        Raises:
            StoreError: when the disk refuses; what was written before is kept.
        """
        ends = None if seconds is None else time.monotonic() + seconds
        while self._submit() or self._futures:
            self._changed(self)
            left = 1.0 if ends is None else min(1.0, ends - time.monotonic())
            if left <= 0:
                return
            finished, _ = wait(self._futures, timeout=left, return_when=FIRST_COMPLETED)
            for future in finished:
                self._ended(future)
        self._changed(self)

    def _submit(self) -> bool:
        """Fills the executor's workers; whether anything was submitted."""
        before = len(self._futures)
        while len(self._futures) < self._executor.workers and (task := self._next()) is not None:
            self.running[task] = time.monotonic()
            self._attempts[task] = self._attempts.get(task, 0) + 1
            self._futures[self._started(task)] = task
        return len(self._futures) > before

    def _next(self) -> Task | None:
        """The first task whose weights are there, diagnoses before trainings: results of one before the next."""
        for place, (task, names) in enumerate(self._diagnoses):
            if task.train.training in self._lost:
                del self._diagnoses[place]
                self.failed.append((task, self._lost[task.train.training]))
                return self._next()
            if task.train.weights(self._run, task.asked.snapshot).is_file():
                del self._diagnoses[place]
                self._names[task] = names
                return task
        return self._trainings.popleft() if self._trainings else None

    def _started(self, task: Task) -> Future[None]:
        if isinstance(task, TrainTask):
            brought = _files(self._run, task.folder(self._run), ("*.safetensors", "*.pt", "log.csv"))
            return self._submitted(train_files, train_work(task), brought)
        weights = task.train.weights(self._run, task.asked.snapshot)
        brought = _files(self._run, weights.parent, (weights.name,))
        for folder in self._begun(task):
            brought += _files(self._run, folder, ("*.parquet", "job.json"))
        work = diagnose_work(task, self._names[task])
        return self._submitted(diagnose_files, work, brought)

    def _submitted(self, work: Callable[..., Iterator[File]], *args: object) -> Future[None]:
        return self._executor.submit(work, *args, receive=self._receive, gpus=self._gpus)

    def _begun(self, task: DiagnoseTask) -> Iterator[Path]:
        """The folders of jobs of a task of which some parts are there."""
        for name in self._names[task]:
            job = self._jobs.get((task.train.training, task.asked.snapshot, task.keys[name]))
            if job is not None:
                yield Store(self._run).folder(job.record)

    def _receive(self, file: File) -> None:
        """Writes a file of a task."""
        path = written(self._run, file)
        if path.name == f"{LAST}.safetensors":  # the training is over
            forget(path.parent)
            (path.parent / ERROR).unlink(missing_ok=True)

    def _ended(self, future: Future[None]) -> None:
        task = self._futures.pop(future)
        seconds = time.monotonic() - self.running.pop(task)
        error = future.exception()
        if error is None:
            self.done += 1
            self.seconds.setdefault(kind_of(task), []).append(seconds)
            return
        if isinstance(error, StoreError):
            raise error
        if isinstance(error, WorkerDied) and self._attempts[task] < ATTEMPTS:
            self._again(task)
            return
        reason = one_line(error) if isinstance(error, Exception) else str(error)
        if isinstance(error, WorkerDied):
            reason = f"its worker died {ATTEMPTS} times; is there too little memory?"
        self._fail(task, reason)

    def _again(self, task: Task) -> None:
        if isinstance(task, TrainTask):
            self._trainings.appendleft(task)
        else:
            self._diagnoses.appendleft((task, self._names[task]))

    def _fail(self, task: Task, reason: str) -> None:
        self.failed.append((task, reason))
        if isinstance(task, TrainTask):
            self._lost[task.training] = f"its training failed: {reason}"
            said = json.dumps({"message": reason, "time": now()}, indent=1) + "\n"
            self._receive(File(f"train/{task.training}/{ERROR}", said.encode()))


def written(run: Path, file: File) -> Path:
    """Writes a file that a worker sent, whole or not at all.

    Args:
        run: the run folder.
        file: from a worker.

    Returns:
        Its path.

    Raises:
        StoreError: for a file that lies elsewhere, and when the disk refuses.
    """
    place = PurePosixPath(file.path)
    if place.is_absolute() or ".." in place.parts:
        raise StoreError(f"a worker sent a file that lies outside of the run folder: {file.path}")
    path = run / place
    with refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, file.content)
    return path


def kind_of(task: Task) -> tuple[str, str]:
    """What tasks that take about the same time have in common: the variant, and what is done with it.

    Args:
        task: any.
    """
    if isinstance(task, TrainTask):
        return task.variant.name, "training"
    return task.train.variant.name, task.asked.snapshot


def _files(run: Path, folder: Path, patterns: tuple[str, ...]) -> list[File]:
    """What is there of some files, as they are sent to a worker."""
    paths = [path for pattern in patterns for path in sorted(folder.glob(pattern)) if not path.name.startswith(".")]
    return [File(str(path.relative_to(run).as_posix()), path.read_bytes()) for path in paths]
