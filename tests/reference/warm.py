"""Processes that start at once: one server for each process of tests has imported what they need, and forks."""

import functools
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

CONTEXT = multiprocessing.get_context("forkserver")
# Modules that are installed; the server does not know the tests' folder.
_MODULES = [
    *("pyarrow.parquet", "pytest", "timm", "visionscope.api", "visionscope.cli", "visionscope.pages"),
    *("visionscope.data._corruption_library", "visionscope.training.train"),
]


@functools.cache
def start_server() -> None:
    """Its imports take seconds, which go on while the caller does something else.

    Its hashes are others than the caller's, and it looks for nothing in the net.
    """
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": seed}.items():
            patch.setenv(name, value)
        CONTEXT.set_forkserver_preload(_MODULES)
        forkserver.ensure_running()


def started(target: Callable[..., None], *arguments: object) -> BaseProcess:
    """A process that runs a function of a module."""
    start_server()
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    return process


def elsewhere(function: Callable[..., Any], *arguments: object) -> Any:
    """What a function of a module returns in another process."""
    receiving, sending = CONTEXT.Pipe(duplex=False)
    process = started(_send, sending, function, *arguments)
    sending.close()
    with receiving:
        value = receiving.recv()  # EOFError where it failed, which has told why
    process.join()
    return value


def _send(connection: Connection, function: Callable[..., Any], *arguments: object) -> None:
    connection.send(function(*arguments))
