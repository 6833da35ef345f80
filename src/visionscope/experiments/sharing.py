"""Shares the parts of a study out among workers, each of which loads a network once and takes part after part."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from visionscope.config import study_from
from visionscope.core.failures import Failure, one_line
from visionscope.errors import StoreError
from visionscope.experiments.driver import ATTEMPTS, written
from visionscope.experiments.executors.executor import Executor
from visionscope.experiments.executors.work import File, Held, WorkerDied
from visionscope.experiments.work import absolute
from visionscope.running.devices import device_of
from visionscope.running.execute import execute, missing_parts
from visionscope.running.measuring import missing_of
from visionscope.running.plan import PlannedSubject, plan
from visionscope.running.store import Store
from visionscope.running.study import Study


@dataclasses.dataclass(frozen=True)
class Piece:
    """Some parts of one network's jobs that are computed together.

    Attributes:
        model: the number of the network in the study.
        part: the name of the parts.
        jobs: their digests: of all observers that share a span of images, or of one measuring job.
    """

    model: int
    part: str
    jobs: tuple[str, ...]


def shared_out(
    study: Study, planned: Sequence[PlannedSubject], store: Store, executor: Executor, *, gpus: float = 0.0
) -> list[Failure]:
    """Computes every part that is not done yet, on the workers of an executor.

    Args:
        study: what was asked.
        planned: what `plan(study)` made of it.
        store: the run folder's.
        executor: whose workers can load the networks and open the data under the same names.
        gpus: of each task.

    Returns:
        The parts that failed; the others were stored.

    Raises:
        StoreError: when the disk refuses; what was stored before is kept.
    """
    for subject in planned:
        for job in subject.jobs:
            store.sweep(job.record)
            store.write_job(job.record)
    values = {**study.plain(), "data": absolute(study.data)}
    failures: list[Failure] = []
    attempts: dict[Piece, int] = {}
    futures: dict[Future[None], Piece] = {}

    def receive(file: File) -> None:
        written(store.run, file)

    def submit(piece: Piece) -> None:
        attempts[piece] = attempts.get(piece, 0) + 1
        one = {**values, "models": [study.models[piece.model]]}
        held = Held(hold, (one,))
        future = executor.submit(piece_files, piece, held=held, receive=receive, gpus=gpus)
        futures[future] = piece

    for piece in pieces(planned, store):
        submit(piece)
    while futures:
        for future in wait(futures, return_when=FIRST_COMPLETED).done:
            piece, error = futures.pop(future), future.exception()
            if isinstance(error, StoreError):
                raise error
            if isinstance(error, WorkerDied) and attempts[piece] < ATTEMPTS:
                submit(piece)
            elif error is not None:
                reason = one_line(error) if isinstance(error, Exception) else str(error)
                failures += _failures(planned[piece.model], piece, reason)
    return failures + _stored_failures(planned, store)


def pieces(planned: Sequence[PlannedSubject], store: Store) -> Iterator[Piece]:
    """What is left of planned subjects, network by network, so that a worker seldom loads another.

    Args:
        planned: the networks with their jobs.
        store: tells what is done.
    """
    for number, subject in enumerate(planned):
        for part, jobs in missing_parts(subject, store).items():
            yield Piece(number, part, tuple(job.record["job"] for job in jobs))
        for job in subject.measuring:
            for part in missing_of(job, store):
                yield Piece(number, part, (job.record["job"],))


def hold(values: Mapping[str, Any]) -> tuple[Study, PlannedSubject]:
    """Loads and traces the one network of a study, in a worker that keeps it.

    Args:
        values: of the study, as a YAML file has them.
    """
    study = study_from(values)
    return study, plan(study)[0]


def piece_files(held: tuple[Study, PlannedSubject], piece: Piece) -> Iterator[File]:
    """Computes a piece, in a worker, and yields its parts' files.

    Args:
        held: from `hold`.
        piece: what is computed.
    """
    study, planned = held
    jobs = tuple(
        dataclasses.replace(job, record={**job.record, "parts": [piece.part]})
        for job in planned.jobs
        if job.record["job"] in piece.jobs
    )
    with tempfile.TemporaryDirectory(prefix="visionscope-") as folder:
        store = Store(folder)
        own = dataclasses.replace(planned, jobs=jobs)
        execute([own], store, batch=study.batch, device=device_of(study.device), bars=False)
        for job in jobs:
            for path in sorted(store.folder(job.record).glob(f"{piece.part}.*")):
                yield File(path.relative_to(folder).as_posix(), path.read_bytes())


def _failures(planned: PlannedSubject, piece: Piece, reason: str) -> Iterator[Failure]:
    for job in planned.jobs:
        if job.record["job"] in piece.jobs:
            yield Failure(job.record["model"]["label"], job.diagnostic.name, piece.part, reason)


def _stored_failures(planned: Sequence[PlannedSubject], store: Store) -> list[Failure]:
    """Parts whose error a worker sent."""
    return [
        Failure(job.record["model"]["label"], job.diagnostic.name, part, message)
        for subject in planned
        for job in subject.jobs
        for part, message in store.state(job.record, read=False).failed.items()
    ]
