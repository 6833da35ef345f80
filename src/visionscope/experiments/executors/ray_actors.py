"""Workers on a Ray cluster: actors, each of which takes one step of a task at a time.

The driver asks for the next file when it has taken the last one, so that nothing piles up anywhere, and needs neither
generators of Ray nor its object store; it works through a client (`ray://`) as well.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from visionscope.errors import ConfigError
from visionscope.experiments.executors.executor import Executor
from visionscope.experiments.executors.work import ONE_THREAD, File, WorkerDied, items

IDLE_SECONDS = 10.0
"""After which an actor gives its core back to the cluster."""
_LINE = 300  # characters of Ray's own words in a message


def ray_executor(address: str, workers: int) -> Executor:
    """An executor whose workers are actors of Ray with one core each, and with GPUs where a task asks for them.

    `ray` attaches to the cluster of which this machine is a node (or which RAY_ADDRESS names); where there is none, it
    starts one of this machine alone. Workers that the cluster has no room for wait without a task.

    Args:
        address: `ray`, or `ray://HOST:PORT` of a cluster's client server.
        workers: how many actors at most.

    Raises:
        ConfigError: where Ray isn't installed or nobody answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    try:
        import ray
    except ImportError as error:
        raise ConfigError("on: ray is not installed: pip install 'visionscope[ray]'") from error
    attached = ray.is_initialized()
    if not attached:
        _attach(ray, address, workers)
    actor = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Steps)
    return Executor(
        lambda gpus: Actor(ray, actor.options(num_gpus=gpus)),
        workers,
        idle_seconds=IDLE_SECONDS,
        finish=(lambda: None) if attached else ray.shutdown,
    )


def _attach(ray: Any, address: str, workers: int) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address == "ray":
        try:
            if _is_left_over():
                raise ConnectionError
            ray.init(address="auto", **quiet)
        except ConnectionError:
            ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)
        return
    try:
        ray.init(address=address, **quiet)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ConfigError(f"on: no Ray cluster answers at {address!r} ({reason})") from error


def _is_left_over() -> bool:
    """Whether Ray would look for a cluster that was killed: a file still names it, and Ray waits minutes for it."""
    named = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray" / "ray_current_cluster"
    if "RAY_ADDRESS" in os.environ or not named.exists():
        return False
    host, _, port = named.read_text().strip().rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=5.0):
            return False
    except (OSError, ValueError):
        return True


class Steps:
    """The actor: goes through a task, one item a call."""

    def __init__(self) -> None:
        os.environ.update(ONE_THREAD)  # before a task imports torch
        self._items: Iterator[File | Exception] = iter(())

    def begin(self, task: bytes) -> File | Exception | None:
        """The first item of a task; None where it has none.

        Args:
            task: from `work.packed`.
        """
        self._items = items(task)
        return self.next()

    def next(self) -> File | Exception | None:
        """The next item; None at the end."""
        return next(self._items, None)

    def ready(self) -> None:
        """Answers when the actor runs."""


class Actor:
    """A worker: the driver's side of an actor."""

    def __init__(self, ray: Any, actor: Any) -> None:
        """Asks the cluster for an actor; it may have to wait for room.

        Args:
            ray: the module.
            actor: its class, with what it needs.
        """
        self._ray, self._actor = ray, actor.remote()
        self._ready = self._actor.ready.remote()
        self._ended = threading.Lock()

    def ready(self, seconds: float) -> bool:
        found, _ = self._ray.wait([self._ready], timeout=seconds)
        with self._losses():
            self._ray.get(found)
        return bool(found)

    def run(self, task: bytes) -> Iterator[File | Exception]:
        with self._losses():
            item = self._ray.get(self._actor.begin.remote(task))
        while item is not None:
            yield item
            with self._losses():
                item = self._ray.get(self._actor.next.remote())

    def end(self) -> None:
        if self._ended.acquire(blocking=False):
            with contextlib.suppress(self._ray.exceptions.RayError, ConnectionError):  # gone with its cluster
                self._ray.kill(self._actor)

    @contextlib.contextmanager
    def _losses(self) -> Iterator[None]:
        try:
            yield
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            said = " ".join(str(error).split())[:_LINE]
            raise WorkerDied(f"the worker on Ray was lost: {said}") from error
