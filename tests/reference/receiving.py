"""What takes the files of an executor's tasks in its tests."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

from visionscope.experiments.executors.executor import Executor
from visionscope.experiments.executors.work import File

PATIENCE = 300.0  # seconds; no test takes them


class Taken:
    """Takes files and lets a test wait for the first."""

    def __init__(self) -> None:
        self.files: list[File] = []
        self._first = threading.Event()

    def __call__(self, file: File) -> None:
        self.files.append(file)
        self._first.set()

    def first(self) -> File:
        assert self._first.wait(PATIENCE)
        return self.files[0]


def received(executor: Executor, work: Callable[..., Iterator[File]], *args: Any, **more: Any) -> list[File]:
    """The files of a task that has ended."""
    taken = Taken()
    executor.submit(work, *args, receive=taken, **more).result(PATIENCE)
    return taken.files
