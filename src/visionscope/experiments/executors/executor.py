"""Gives tasks to workers, one each at a time, and their files to whoever asked."""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, Protocol, Self

from visionscope.experiments.executors.work import File, Held, packed


class Worker(Protocol):
    """Where one task after another runs."""

    def ready(self, seconds: float) -> bool:
        """Whether it can take a task.

        Args:
            seconds: to wait for that at most.
        """

    def run(self, task: bytes) -> Iterator[File | Exception]:
        """Runs a task and hands over its files as they come; an error of the work is the last item.

        Args:
            task: from `work.packed`.

        Raises:
            WorkerDied: when the worker ends before the task.
        """

    def end(self) -> None:
        """Ends it at once, also from another thread while it runs a task; called once."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Task:
    packed: bytes
    receive: Callable[[File], None]
    gpus: float
    future: Future[None]


class Executor:
    """Runs tasks on several workers, in the order in which they were submitted, one per worker at a time.

    A worker that dies costs the task that it was at: that future gets `WorkerDied`, and the next task gets another
    worker. Nothing is done again by itself; whoever submitted the task has the files that came and submits the rest.

    A worker is started only for a task that waits, and a task is taken only by a worker that is ready, so that none
    waits for a machine while another worker is free. An idle worker is kept.

    Attributes:
        workers: how many tasks run at a time.
    """

    def __init__(
        self,
        start: Callable[[float], Worker],
        workers: int,
        *,
        idle_seconds: float | None = None,
        finish: Callable[[], None] = lambda: None,
    ) -> None:
        """Starts no worker yet.

        Args:
            start: starts a worker with so many GPUs.
            workers: how many at a time.
            idle_seconds: after which a worker without a task is ended; None for never.
            finish: is called when all workers have ended.
        """
        self.workers = workers
        self._start, self._idle_seconds, self._finish = start, idle_seconds, finish
        self._waiting: collections.deque[_Task] = collections.deque()
        self._alive: set[Worker] = set()
        self._spare = 0  # workers that start or are idle: so many of the waiting tasks are provided for
        self._closed = False
        self._changed = threading.Condition()
        self._receiving = threading.Lock()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        work: Callable[..., Iterator[File]],
        *args: Any,
        receive: Callable[[File], None],
        gpus: float = 0.0,
        held: Held | None = None,
    ) -> Future[None]:
        """Has a task done as soon as a worker is free.

        Args:
            work: a generator function at the top of a module, which yields the files that it makes.
            *args: for it; pickled.
            receive: gets each file as soon as it is there, in this process, one call at a time, in the order in which
                the task yielded them. The worker waits meanwhile, so that memory doesn't grow with what it makes. What
                it raises ends the task and becomes the future's.
            gpus: share of a GPU, or how many; a task sees none unless it is more than 0.
            held: what the worker makes once and keeps; the work gets it before `args`.

        Returns:
            A future that has no result. Its exception is the work's own `VisionscopeError`, `WorkError` for anything
            else that the work raised, or `WorkerDied`.

        Raises:
            TypeError: for a function that workers can't import.
            RuntimeError: when the executor is closed.
        """
        task = _Task(packed(work, args, held), receive, gpus, Future())
        with self._changed:
            if self._closed:
                raise RuntimeError("the executor is closed")
            self._waiting.append(task)
            self._changed.notify_all()
        return task.future

    def close(self) -> None:
        """Ends all workers at once: tasks that wait are cancelled, those that run have `WorkerDied`."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            waiting, alive = list(self._waiting), list(self._alive)
            self._waiting.clear()
            self._changed.notify_all()
        for task in waiting:
            task.future.cancel()
        for worker in alive:
            self._ended(worker)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _serve(self) -> None:
        """One worker after another, each with one task after another."""
        while not self._closed:
            try:
                worker = self._started()
            except Exception as error:
                self._refuse_next(error)
                continue
            if worker is None:
                continue
            gpus, able = worker
            try:
                while (task := self._next(gpus)) is not None and self._done(able, task):
                    pass
            finally:
                self._ended(able)

    def _started(self) -> tuple[float, Worker] | None:
        """A worker for the first task that none is provided for; None where it isn't needed any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._waiting) > self._spare)
            if self._closed:
                return None
            gpus = self._waiting[self._spare].gpus
            self._spare += 1
        try:
            worker = self._start(gpus)
            with self._changed:
                self._alive.add(worker)
            try:
                while self._is_wanted(gpus):
                    if worker.ready(1.0):
                        return gpus, worker
            except BaseException:
                self._ended(worker)
                raise
            self._ended(worker)
            return None
        finally:
            with self._changed:
                self._spare -= 1

    def _is_wanted(self, gpus: float) -> bool:
        with self._changed:
            return not self._closed and any(task.gpus == gpus for task in self._waiting)

    def _next(self, gpus: float) -> _Task | None:
        """The first task for a worker with so many GPUs; None where it should end."""
        with self._changed:
            self._spare += 1
            self._changed.wait_for(lambda: self._closed or self._waiting, self._idle_seconds)
            self._spare -= 1
            task = next((task for task in self._waiting if task.gpus == gpus), None)
            if task is not None:
                self._waiting.remove(task)
            return task

    def _done(self, worker: Worker, task: _Task) -> bool:
        """Runs a task; whether the worker can take another."""
        if not task.future.set_running_or_notify_cancel():
            return True
        failure: Exception | None = None
        try:
            for item in worker.run(task.packed):
                if isinstance(item, File):
                    with self._receiving:
                        task.receive(item)
                else:
                    failure = item
        except Exception as error:  # WorkerDied, or `receive` refused in the middle of the task
            self._ended(worker)
            task.future.set_exception(error)
            return False
        if failure is None:
            task.future.set_result(None)
        else:
            task.future.set_exception(failure)
        return True

    def _refuse_next(self, error: Exception) -> None:
        """No worker could be started: the first task in the queue fails with the reason, lest it be tried forever."""
        with self._changed:
            task = self._waiting.popleft() if self._waiting else None
        if task is not None and task.future.set_running_or_notify_cancel():
            task.future.set_exception(error)

    def _ended(self, worker: Worker) -> None:
        """Ends it, unless another thread does: two that close the same pipe at one time raise in either."""
        with self._changed:
            if worker not in self._alive:
                return
            self._alive.remove(worker)
        worker.end()
