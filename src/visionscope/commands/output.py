"""How commands tell what failed, and how they end when they are stopped."""

from __future__ import annotations

import dataclasses
import shlex
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from visionscope.core.files import user_path
from visionscope.core.terminal import say, tell
from visionscope.errors import ConfigError

if TYPE_CHECKING:
    from visionscope.core.failures import Failure


def folder_of(parameter: str, text: str) -> Path:
    """A folder that a user named.

    Args:
        parameter: for errors.
        text: what was written.

    Raises:
        ConfigError: for what can be no folder's name.
    """
    if not text.strip():
        raise ConfigError(f"{parameter}: name a folder; got {text!r}")
    return user_path(parameter, text)


def command_text(words: Sequence[str], given: Mapping[str, Any]) -> str:
    """A command as a shell takes it, such as the one that goes on with what was stopped.

    Args:
        words: that it begins with, after `visionscope`.
        given: what each flag was given, by the name that it has in Python: None and False leave it out, True is a
            switch.
    """
    told = ["visionscope", *words]
    for name, value in given.items():
        if value is not None and value is not False:
            told += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(told)


def say_page(findings: Sequence[str], page: Path) -> None:
    """Writes what a page says at its top, and in the last line where it is.

    Args:
        findings: one sentence each.
        page: its file.
    """
    for finding in findings:
        say(f"* {finding}")
    say(str(page))


def tell_failures(failures: Sequence[Failure]) -> int:
    """Writes a line on each failure to stderr, on parts that failed alike in one.

    Args:
        failures: of a run.

    Returns:
        The exit code: 1 where something failed, else 0.
    """
    alike: dict[tuple[str, str, str], list[Failure]] = {}
    for failure in failures:
        alone = "" if failure.computing else failure.part
        alike.setdefault((failure.diagnostic, failure.label, failure.message + alone), []).append(failure)
    for first, *others in alike.values():
        more = f" and {len(others)} more" if others else ""
        tell(f"visionscope: failed: {dataclasses.replace(first, part=first.part + more).text}")
    return 1 if failures else 0


class Stopped(KeyboardInterrupt):
    """A signal that ends what runs as Ctrl-C does.

    Attributes:
        number: of the signal: SIGTERM, as a cluster sends it before it kills, or SIGHUP, of a terminal that closes.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def stoppable() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP end what runs at once and cleanly, as Ctrl-C does, in the process that was asked.

    One that the caller handles or ignores, as `nohup` does, is left alone.

    Raises:
        Stopped: on one of them.
    """

    def stop(number: int, frame: object) -> NoReturn:
        raise Stopped(number)

    taken = []
    if threading.current_thread() is threading.main_thread():
        taken = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) == signal.SIG_DFL]
    for one in taken:
        signal.signal(one, stop)
    try:
        yield
    finally:
        for one in taken:
            signal.signal(one, signal.SIG_DFL)


def exit_code(stop: KeyboardInterrupt) -> int:
    """What a shell reports of a process that this ended: 143 after SIGTERM, 129 after SIGHUP, 130 after Ctrl-C.

    Args:
        stop: as it was raised.
    """
    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)
