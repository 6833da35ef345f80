"""A line on stderr now and then while work goes on, where no bar shows how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from visionscope.core.terminal import tell

FIRST_SECONDS = 5.0  # work that is shorter is not spoken of
_LONGEST_SECONDS = 60.0


class Ticking:
    """Writes a line after 5 seconds, 10, 20 and so on, then every minute; nothing about work that ends before.

    Args:
        line: tells how far the work is; is given the seconds since its beginning. It is called by a thread of its own.
        shown: False for no line at all.
    """

    def __init__(self, line: Callable[[float], str], *, shown: bool = True) -> None:
        self._line = line
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="progress", daemon=True) if shown else None

    def __enter__(self) -> Ticking:
        if self._thread is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _tick(self) -> None:
        began, wait = time.perf_counter(), FIRST_SECONDS
        while not self._ended.wait(wait):
            elapsed = time.perf_counter() - began
            with suppress(OSError, ValueError):  # nobody listens on stderr
                tell(f"visionscope: {self._line(elapsed)}")
            wait = min(elapsed, _LONGEST_SECONDS)


def duration(seconds: float) -> str:
    """A time as a person reads it: `40 s`, `12 min`, `2.5 h`.

    Args:
        seconds: of it.
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
