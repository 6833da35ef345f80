"""What a task is, what it hands over, and how its errors travel; all that a worker needs, without any library."""

from __future__ import annotations

import dataclasses
import pickle
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from visionscope.errors import VisionscopeError

ONE_THREAD: Mapping[str, str] = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)
"""The environment of every worker, set before torch is imported: sums of one thread have the same bits everywhere."""


@dataclasses.dataclass(frozen=True)
class File:
    """A file that a task hands over.

    Attributes:
        path: relative to the run folder, with forward slashes.
        content: all its bytes.
    """

    path: str
    content: bytes


@dataclasses.dataclass(frozen=True)
class Held:
    """What a worker makes once and keeps for all tasks in a row that name it; they get it as their first argument.

    It stays in the worker: a network and its images are loaded once per worker, whatever number of parts it takes.
    Two are the same where `make` and `args` have the same pickled bytes. A job of Slurm makes it for each task.

    Attributes:
        make: a function at the top of a module.
        args: for it.
    """

    make: Callable[..., Any]
    args: tuple[Any, ...] = ()


class WorkerDied(Exception):  # noqa: N818 - it is no error of the work
    """The worker ended in the middle of a task: killed, out of memory, crashed, or lost with its machine."""


class WorkError(Exception):
    """The work raised something that isn't for a user to act on; the text has the worker's traceback.

    Attributes:
        reason: type and message, one line.
        trace: the traceback as text.
    """

    def __init__(self, reason: str, trace: str) -> None:
        super().__init__(reason, trace)
        self.reason, self.trace = reason, trace

    def __str__(self) -> str:
        return f"{self.reason}\n{self.trace}"


def packed(work: Callable[..., Iterator[File]], args: tuple[Any, ...], held: Held | None) -> bytes:
    """A task as bytes.

    Args:
        work: a generator function at the top of a module.
        args: for it.
        held: what it gets before them.

    Raises:
        TypeError: for a function that no other process can import.
    """
    for function in (work, *((held.make,) if held else ())):
        if function.__module__ == "__main__" or "<" in function.__qualname__:
            raise TypeError(f"{function.__qualname__}: workers can't import it; put it at the top of a module")
    return pickle.dumps((work, args, held and pickle.dumps(held)))


def items(task: bytes) -> Iterator[File | Exception]:
    """Runs a task, in the worker: its files as they come and, where it fails, the error as the last item.

    Args:
        task: from `packed`.
    """
    try:
        work, args, held = pickle.loads(task)
        kept = _kept(held)
        yield from work(*kept, *args)
    except (Exception, SystemExit) as error:
        yield _carried(error)


_KEPT: dict[bytes, tuple[Any]] = {}
"""What this process holds; at most one thing."""


def _kept(held: bytes | None) -> tuple[Any, ...]:
    if held not in _KEPT:
        _KEPT.clear()  # first, so that two are never in memory
    if held is None:
        return ()
    if held not in _KEPT:
        asked = pickle.loads(held)
        _KEPT[held] = (asked.make(*asked.args),)
    return _KEPT[held]


def _carried(error: BaseException) -> Exception:
    """An error as another process can read it: a user's own as it is, any other as text."""
    if isinstance(error, VisionscopeError):
        try:
            copy = pickle.loads(pickle.dumps(error))
        except Exception:
            copy = None
        if type(copy) is type(error) and str(copy) == str(error):
            return error
    said = str(error).strip().partition("\n")[0]
    reason = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return WorkError(reason, "".join(traceback.format_exception(error)).rstrip())
