"""One driver per run folder, so that nothing is trained twice; needs no torch."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from visionscope.core.refusals import refusals
from visionscope.errors import ConfigError

_LOCK = ".experiment.lock"


@contextlib.contextmanager
def alone(run: Path) -> Iterator[None]:
    """Keeps a second driver out of a run folder, so that nothing is trained twice; a killed one leaves no lock behind.

    Args:
        run: the run folder; made where it is missing.

    Raises:
        ConfigError: when another one is at work there.
        StoreError: when the disk refuses.
    """
    path = run / _LOCK
    with refusals(path):
        run.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        os.close(descriptor)
        raise ConfigError(
            f"out: {run}: another process carries out an experiment there; wait for it, or name another --out"
        ) from None
    except OSError:  # a file system without locks keeps nobody out
        pass
    try:
        yield
    finally:
        os.close(descriptor)
