"""The files of the user's own that code opens for reading, told by Python's audit events."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from visionscope.core.files import open_regular
from visionscope.models.places import is_own

_LARGEST = 64 * 2**20  # bytes that are hashed; a larger file holds weights, and those count by themselves
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_thread = threading.local()


class FilesRead:
    """What code opens for reading inside `noting`, and didn't write itself before."""

    def __init__(self) -> None:
        self._read: set[str] = set()
        self._written: set[str] = set()

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Notes what this thread opens inside."""
        _install()
        before = getattr(_thread, "files", None)
        _thread.files = self
        try:
            yield
        finally:
            _thread.files = before

    def note(self, path: Any, flags: Any) -> None:
        """Notes one file.

        Args:
            path: as it was opened; numbers of open files say nothing new.
            flags: as `os.open` takes them.
        """
        if isinstance(path, str | bytes | os.PathLike) and isinstance(flags, int):
            place = os.path.abspath(os.fsdecode(path))  # at once: the code may change the directory
            if not flags & _WRITING:
                self._read.add(place)
            elif place not in self._read:
                self._written.add(place)

    def lines(self, folder: str, apart: Collection[str]) -> set[str]:
        """A line for each file that is there: its path and sha256, or the size of a large one.

        Args:
            folder: paths are relative to it; of a file elsewhere the name alone counts.
            apart: absolute paths that are known otherwise.
        """
        lines = set()
        for place in self._read - self._written - set(apart):
            if is_own(place):
                name = (
                    os.path.relpath(place, folder) if place.startswith(os.path.join(folder, "")) else Path(place).name
                )
                with suppress(OSError):
                    lines.add(f"file {name!r} {_content(place)}\n")
        return lines


def _content(place: str) -> str:
    with open_regular(Path(place)) as file:
        size = os.fstat(file.fileno()).st_size
        return f"{size} bytes" if size > _LARGEST else hashlib.sha256(file.read()).hexdigest()


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        files = getattr(_thread, "files", None)
        if files is not None:
            with suppress(Exception):  # an error here would become the user's
                files.note(arguments[0], arguments[2])


_installed = threading.Event()


def _install() -> None:
    if not _installed.is_set():  # there is no way to take a hook away again, so one serves all
        _installed.set()
        sys.addaudithook(_heard)
