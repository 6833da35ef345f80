"""What is one for the whole process, and foreign code may change: put back after it, and as it left it for it alone."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

# By name: how to read one and how to set it.
_SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "directory": (lambda: _directory(), lambda place: _set_directory(place)),
    "environment": (lambda: dict(os.environ), lambda own: _set_environment(own)),
    "default type": (torch.get_default_dtype, torch.set_default_dtype),
    "default device": (lambda: torch.get_default_device(), lambda device: _set_device(device)),
    "gradients": (torch.is_grad_enabled, lambda on: torch.set_grad_enabled(on)),
    "threads": (torch.get_num_threads, torch.set_num_threads),
    "precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "determinism": (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda modes: torch.use_deterministic_algorithms(modes[0], warn_only=modes[1]),
    ),
    "cudnn": (
        lambda: (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        lambda modes: _set_cudnn(*modes),
    ),
    "denormals": (lambda: _flushes(), torch.set_flush_denormal),
    "recursion": (sys.getrecursionlimit, sys.setrecursionlimit),
}
# By name, too; code never finds these as it left them: seeds are given anew each time, the others are ours.
_OURS: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "random": (random.getstate, random.setstate),
    "numpy": (lambda: np.random.get_state(), lambda state: np.random.set_state(state)),
    "warnings": (lambda: list(warnings.filters), lambda filters: _set_filters(filters)),
    "stdin": (lambda: sys.stdin, lambda stream: setattr(sys, "stdin", stream)),
    "stdout": (lambda: sys.stdout, lambda stream: setattr(sys, "stdout", stream)),
    "stderr": (lambda: sys.stderr, lambda stream: setattr(sys, "stderr", stream)),
    "hook": (lambda: sys.excepthook, lambda hook: setattr(sys, "excepthook", hook)),
    "signals": (lambda: _handlers(), lambda handlers: _set_handlers(handlers)),
}


class Surroundings:
    """The settings of the process as one piece of foreign code wants them: inside `kept` alone."""

    def __init__(self) -> None:
        self._own: dict[str, Any] = {}

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Inside, settings are as the code left them last; afterwards all are as they were before."""
        before = {name: read() for name, (read, _) in {**_SETTINGS, **_OURS}.items()}
        for name, value in self._own.items():
            _SETTINGS[name][1](value)
        try:
            yield
        finally:
            for name, (read, set_) in {**_SETTINGS, **_OURS}.items():
                found = read()
                if name == "numpy" or found != before[name]:
                    set_(before[name])
                if name in _SETTINGS:
                    self._own.pop(name, None)
                    if found != before[name]:
                        self._own[name] = found


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return ""


def _set_directory(place: str) -> None:
    if place:
        os.chdir(place)


def _set_environment(own: dict[str, str]) -> None:
    for name in set(os.environ) - set(own):
        del os.environ[name]
    for name, value in own.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _set_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _set_cudnn(benchmark: bool, deterministic: bool) -> None:
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark, deterministic


def _flushes() -> bool:
    """Whether numbers near zero become zero; torch sets this without telling it."""
    return bool((torch.full((1,), 1e-40, dtype=torch.float32, device="cpu") * 1.0).item() == 0)


def _set_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]  # else what was looked up stays


def _handlers() -> dict[int, Any]:
    if threading.current_thread() is not threading.main_thread():
        return {}  # no other thread may set them
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def _set_handlers(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) != handler:
            signal.signal(number, handler)
