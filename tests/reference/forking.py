"""Runs the real command line many times, each in a process of its own that starts in milliseconds.

A server forks for every call, with bounds on memory and processor time; so a call that hangs or eats memory ends alone,
and what it imports costs nothing.
"""

import dataclasses
import os
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from reference.warm import CONTEXT, started


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a call of the command line ended.

    Attributes:
        code: its exit code; None where it took too long or too much memory, and was killed.
        out: its stdout.
        err: its stderr.
        seconds: of processor time.
        peak: memory in MiB beyond what the server had.
    """

    code: int | None
    out: str
    err: str
    seconds: float
    peak: float


class CommandLine:
    """A server of calls; a context, which ends it."""

    def __enter__(self) -> "CommandLine":
        self._calls, end = CONTEXT.Pipe()
        self._server = started(_serve, end)
        end.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._calls.close()  # which ends the server
        self._server.join()

    def __call__(self, *arguments: str, folder: Path, timeout: float = 60.0, memory: float = 3000.0) -> Ended:
        """One call.

        Args:
            arguments: of the command line.
            folder: in which it is made.
            timeout: seconds after which it is killed.
            memory: MiB beyond what the server has after which it is killed.
        """
        self._calls.send({"arguments": arguments, "folder": str(folder), "timeout": timeout, "memory": memory})
        ended: Ended = self._calls.recv()
        return ended


def _serve(calls: Connection) -> None:
    torch.set_num_threads(1)
    with suppress(EOFError):
        while True:
            calls.send(_call(**calls.recv()))


def _call(arguments: Sequence[str], folder: str, timeout: float, memory: float) -> Ended:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            _run(arguments, folder, (out.fileno(), err.fileno()), timeout)
        code, used, peak = _waited(child, timeout, memory)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read(2**20).decode("utf-8", "backslashreplace"))
    return Ended(code, *texts, used.ru_utime + used.ru_stime, peak)


def _waited(child: int, timeout: float, memory: float) -> tuple[int | None, Any, float]:
    """The exit code, None where the process was killed; what it used, and its peak of memory in MiB."""
    descriptor, end = os.pidfd_open(child), time.monotonic() + timeout
    first, peak, ended = _resident(child), 0.0, False
    try:
        while not ended and peak < memory and time.monotonic() < end:
            ended = bool(select.select([descriptor], [], [], 0.05)[0])
            peak = max(peak, _resident(child) - first)
        if not ended:
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.kill(child, signal.SIGKILL)
        _, status, used = os.wait4(child, 0)
    finally:
        os.close(descriptor)
    return (os.waitstatus_to_exitcode(status) if ended else None), used, peak


def _resident(process: int) -> float:
    """MiB that a process holds; 0 for one that has ended."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def _run(arguments: Sequence[str], folder: str, streams: tuple[int, int], timeout: float) -> None:
    """In the child: never returns."""
    code = 99
    try:
        os.setsid()
        os.chdir(folder)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for place, descriptor in enumerate((nothing, *streams)):
            os.dup2(descriptor, place)
        # Room that is only reserved costs nothing; this bounds what is asked for at once.
        most = 2**36
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        resource.setrlimit(resource.RLIMIT_CPU, (int(timeout) + 1, int(timeout) + 2))
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
        from visionscope.cli import main

        try:
            code = main(arguments)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
    finally:
        os._exit(code)
