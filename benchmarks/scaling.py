"""Executors: what a second worker brings, and what a task costs beside its work.

One worker and two do the same tasks in turns: small trainings, and the parts of one network's Hessian. Efficiency is
the CPU time of the tasks with one worker over that with two: what sharing caches and memory costs, whatever else the
machine does. Wall time stands beside it, where half is what two free cores would give. Each worker has done a task
before, so that start-up isn't counted.

A thousand empty tasks then go to a hundred workers that are no processes, which leaves the executor's own cost, and to
two processes; then an experiment's driver gives out a thousand empty trainings, each with a diagnosis that waits for
it, and writes their files. Five minutes on two free cores.
"""

import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import Measurement
from visionscope.claims.one_seed import LAST
from visionscope.experiments.driver import Driver, Standing, Task
from visionscope.experiments.executors.executor import Executor
from visionscope.experiments.executors.processes import process_executor
from visionscope.experiments.executors.work import File, Held, items
from visionscope.experiments.experiment import Asked, Variant
from visionscope.experiments.plan import DiagnoseTask, TrainTask

NETWORK, DATA = "resnet_nano", "embedded"
TASKS, ROUNDS = 4, 2
EPOCHS = 0.1
EMPTY_TASKS, EMPTY_WORKERS = 1000, 100
CONTENT = 1_000_000  # bytes that each hands over to tell whether the driver's memory grows
GOAL_EFFICIENCY, GOAL_MILLISECONDS, GOAL_MEGABYTES = 0.9, 50.0, 20.0

Submit = Callable[[Executor, int, Callable[[File], None]], Any]


def run() -> list[Measurement]:
    return [
        *_two_against_one("trainings", _submit_training),
        *_two_against_one("a Hessian's parts", _submit_part),
        *_empty("no processes", Executor(lambda gpus: InProcess(), EMPTY_WORKERS), 0),
        *_empty("processes", process_executor(2), CONTENT),
        *_experiment(),
    ]


def training(seed: int) -> Iterator[File]:
    """A training of a few steps."""
    from visionscope.training.train import train

    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        trained = train(NETWORK, DATA, folder, seed=seed, epochs=EPOCHS, report=lambda progress: None)
        yield File("last.safetensors", trained.checkpoint.read_bytes())
    yield File("cost", json.dumps(time.process_time() - began).encode())


def hessian() -> Any:
    """The job that measures the Hessian of a network with random weights, as a study plans it."""
    from visionscope.diagnostics.hessian.question import Hessian
    from visionscope.running.plan import plan
    from visionscope.running.study import Study

    question = Hessian(mini_batches=TASKS)
    (planned,) = plan(Study(models=(NETWORK,), data=DATA, diagnostics=(question,), random_weights=0))
    return planned.measuring[0]


def part(job: Any, number: int) -> Iterator[File]:
    """One mini-batch of it."""
    from visionscope.running.measuring import measure
    from visionscope.running.parts import part_content

    began = time.process_time()
    for name, rows in measure(job.diagnostic, job.subject, job.parts[number : number + 1]):
        yield File(f"{name}.parquet", part_content(job.record, name, job.diagnostic.row, rows))
    yield File("cost", json.dumps(time.process_time() - began).encode())


def empty(size: int) -> Iterator[File]:
    """A file of zeros."""
    yield File("empty", bytes(size))


class InProcess:
    """A worker that is no process."""

    def ready(self, seconds: float) -> bool:
        """At once."""
        return True

    def run(self, task: bytes) -> Iterator[File | Exception]:
        """In the thread of the executor."""
        return items(task)

    def end(self) -> None:
        """Nothing to end."""


def _submit_training(executor: Executor, number: int, receive: Callable[[File], None]) -> Any:
    return executor.submit(training, number, receive=receive)


def _submit_part(executor: Executor, number: int, receive: Callable[[File], None]) -> Any:
    return executor.submit(part, number, receive=receive, held=Held(hessian))


def _two_against_one(name: str, submit: Submit) -> Iterator[Measurement]:
    cpu: dict[int, list[float]] = {1: [], 2: []}
    wall: dict[int, list[float]] = {1: [], 2: []}
    with process_executor(1) as one, process_executor(2) as two:
        for repetition in range(ROUNDS + 1):
            for executor in (one, two):
                began = time.perf_counter()
                costs = _costs(executor, submit)
                if repetition:  # the first one starts the workers up
                    cpu[executor.workers].append(statistics.mean(costs))
                    wall[executor.workers].append(time.perf_counter() - began)
    gains = [alone / shared for alone, shared in zip(cpu[1], cpu[2], strict=True)]
    yield Measurement(
        name=f"{name}: efficiency of two workers (CPU time)",
        unit="share",
        value=statistics.median(gains),
        spread=(min(gains), max(gains)),
        goal=GOAL_EFFICIENCY,
        at_least=True,
        note=f"{statistics.median(cpu[1]):.2f} s a task with one worker, {statistics.median(cpu[2]):.2f} s with two",
    )
    speed = [alone / shared for alone, shared in zip(wall[1], wall[2], strict=True)]
    yield Measurement(
        name=f"{name}: two workers are faster by (wall time)",
        unit="times",
        value=statistics.median(speed),
        spread=(min(speed), max(speed)),
        note=f"{TASKS} tasks take {statistics.median(wall[1]):.1f} s with one worker; other programs count in this",
    )


def _costs(executor: Executor, submit: Submit) -> list[float]:
    """CPU seconds of each task."""
    costs: list[float] = []

    def receive(file: File) -> None:
        if file.path == "cost":
            costs.append(json.loads(file.content))

    for future in [submit(executor, number, receive) for number in range(TASKS)]:
        future.result()
    assert len(costs) == TASKS
    return costs


def _empty(name: str, executor: Executor, content: int) -> Iterator[Measurement]:
    done: list[int] = []

    def receive(file: File) -> None:
        done.append(len(file.content))

    def wait(size: int) -> None:
        for future in [executor.submit(empty, size, receive=receive) for _ in range(EMPTY_TASKS)]:
            future.result()

    with executor:
        wait(0)  # starts the workers up
        before, began_wall, began = _resident(), time.perf_counter(), time.process_time()
        wait(0)
        cost = 1000 * (time.process_time() - began) / EMPTY_TASKS
        wall = 1000 * (time.perf_counter() - began_wall) / EMPTY_TASKS
        wait(content)
        grown = _resident() - before
    assert done == [0] * 2 * EMPTY_TASKS + [content] * EMPTY_TASKS
    label = f"{EMPTY_TASKS} empty tasks, {executor.workers} workers, {name}"
    yield Measurement(
        name=f"{label}: the driver",
        unit="ms a task",
        value=cost,
        goal=GOAL_MILLISECONDS,
        note=f"CPU time; {wall:.2f} ms of wall time",
    )
    yield Measurement(
        name=f"{label}: its memory",
        unit="MB more",
        value=grown,
        goal=GOAL_MEGABYTES,
        note=f"after {2 * EMPTY_TASKS} more tasks, half of them with a file of {content / 1e6:.0f} MB",
    )


class EmptyTrainings(Driver):
    """An experiment's driver whose tasks do nothing."""

    def _started(self, task: Task) -> Any:
        training = task.training if isinstance(task, TrainTask) else task.train.training
        name = f"train/{training}/last.safetensors" if isinstance(task, TrainTask) else f"diagnosed/{training}"
        return self._executor.submit(empty_file, name, receive=self._receive)


def empty_file(name: str) -> Iterator[File]:
    """One file without content."""
    yield File(name, b"")


def _experiment() -> Iterator[Measurement]:
    recipe: dict[str, Any] = {"recipe": "laptop", "changes": {}, "fraction": 1.0, "same": "epochs"}
    variant = Variant(name="one", model=NETWORK, data=DATA, seeds=tuple(range(EMPTY_TASKS)), **recipe)
    costs: dict[str, Any] = {"until": "", "parameters": 0, "gmacs": None, "images": 0}
    trainings = [TrainTask(variant=variant, seed=seed, digest=f"{seed:064x}"[::-1], **costs) for seed in variant.seeds]
    asked = Asked(snapshot=LAST, settings={}, diagnostics=())
    diagnoses = [(DiagnoseTask(train=train, asked=asked, keys={}), ()) for train in trainings]
    standing = Standing(trainings=trainings, diagnoses=diagnoses, trained=0, diagnosed=0)
    for _ in range(2):  # the first one starts the workers' threads
        before, began = _resident(), time.process_time()
        with tempfile.TemporaryDirectory() as run, Executor(lambda gpus: InProcess(), EMPTY_WORKERS) as executor:
            driver = EmptyTrainings(Path(run), executor, standing, lambda driver: None)
            driver.carry_out()
        cost, grown = 1000 * (time.process_time() - began) / (2 * EMPTY_TASKS), _resident() - before
    assert (driver.done, driver.failed) == (2 * EMPTY_TASKS, [])
    label = f"{EMPTY_TASKS} trainings and as many diagnoses, {EMPTY_WORKERS} workers: the experiment's driver"
    note = "CPU time, with an empty file written for each"
    yield Measurement(name=label, unit="ms a task", value=cost, goal=GOAL_MILLISECONDS, note=note)
    yield Measurement(name=f"{label}'s memory", unit="MB more", value=grown, goal=GOAL_MEGABYTES)


def _resident() -> float:
    """The highest resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
