"""Workers that are processes of this machine: tasks go in by a pipe, files come out by another.

A worker ends when its driver does, however that ends: its pipe is then at its end, which a thread of its own sees.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from visionscope.experiments.executors.executor import Executor
from visionscope.experiments.executors.work import ONE_THREAD, File, WorkerDied, items

_DONE = "done"
_PATIENCE = 10.0  # seconds for a worker to be gone whose pipe is
_LINE = 200  # characters of the worker's last words in a message


def process_executor(workers: int) -> Executor:
    """An executor whose workers are processes of this machine.

    Args:
        workers: how many.
    """
    devices = _Devices()
    return Executor(lambda gpus: Process(devices.environment(gpus)), workers)


class Process:
    """A worker in a process of its own, with one thread for sums."""

    def __init__(self, environment: dict[str, str]) -> None:
        """Starts it.

        Args:
            environment: added to this process's.
        """
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        # The same modules can be imported there as here.
        added = {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path), **ONE_THREAD, **environment}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "visionscope.experiments.executors.processes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **added},
        )

    def ready(self, seconds: float) -> bool:
        return True

    def run(self, task: bytes) -> Iterator[File | Exception]:
        try:
            _put(cast(BinaryIO, self._process.stdin), task)
            while (item := pickle.load(cast(BinaryIO, self._process.stdout))) != _DONE:
                yield item
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            raise WorkerDied(self._last_words()) from error

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):  # what was not written yet is for nobody
                cast(BinaryIO, pipe).close()

    def _last_words(self) -> str:
        """How it ended, and the last line that it wrote."""
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            return "the worker closed its pipe"
        if code == -signal.SIGKILL:
            return "the worker was killed (out of memory?)"
        lines = []
        with contextlib.suppress(ValueError):  # closed, for the executor is
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the worker ended with {how}{f': {lines[-1][:_LINE]}' if lines else ''}"


class _Devices:
    """Deals the GPUs of this machine out to the workers, one after the other."""

    def __init__(self) -> None:
        self._started = 0
        self._lock = threading.Lock()

    def environment(self, gpus: float) -> dict[str, str]:
        if not gpus:
            return {"CUDA_VISIBLE_DEVICES": ""}
        visible = self._visible()
        with self._lock:
            first, self._started = self._started, self._started + 1
        wanted = min(max(1, round(gpus)), len(visible))
        return {"CUDA_VISIBLE_DEVICES": ",".join(visible[(first + more) % len(visible)] for more in range(wanted))}

    def _visible(self) -> list[str]:
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        if named is not None:
            return [name for name in named.split(",") if name] or [""]
        import torch

        return [str(index) for index in range(torch.cuda.device_count())] or [""]


def _put(pipe: BinaryIO, item: Any) -> None:
    pickle.dump(item, pipe, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.flush()


def _work() -> None:
    """The worker's side: what the task prints goes to stderr, for stdout belongs to the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the driver decides
    tasks_in, files_out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.dup2(2, 1)
    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks_in, tasks), daemon=True).start()
    while True:
        for item in items(tasks.get()):
            _put(files_out, item)
        _put(files_out, _DONE)


def _read(pipe: BinaryIO, tasks: queue.SimpleQueue[bytes]) -> None:
    try:
        while True:
            tasks.put(pickle.load(pipe))
    except (EOFError, OSError, pickle.UnpicklingError):
        os._exit(0)  # whatever the task is at: nobody is there to take it


if __name__ == "__main__":
    _work()
