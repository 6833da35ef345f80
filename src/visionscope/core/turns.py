"""Threads take turns: what looks into a network changes its mode, its hooks and torch's random state for a while."""

import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# One for all networks: torch's module hooks, its generators and its attention switch belong to the whole process.
_TURN = threading.RLock()


def in_turn(function: Callable[P, T]) -> Callable[P, T]:
    """A function whose calls wait until those of other threads, to it or to another such function, have ended.

    Args:
        function: any; it may call itself and others like it.
    """

    @functools.wraps(function)
    def waiting(*args: P.args, **kwargs: P.kwargs) -> T:
        with _TURN:
            return function(*args, **kwargs)

    return waiting
