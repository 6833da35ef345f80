"""The Hugging Face hub, asked once whether it is there at all."""

from __future__ import annotations

import functools
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import huggingface_hub.constants

_TIMEOUT = 5.0  # seconds


@functools.cache
def hub_answers() -> bool:
    """Whether the hub can be reached from here; asked once per process."""
    request = urllib.request.Request(huggingface_hub.constants.ENDPOINT, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_TIMEOUT).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def cache_alone_when_offline() -> Iterator[None]:
    """Inside, the hub's clients use what lies in their cache and ask for more only if the hub answers.

    Without it they retry every file for half a minute on a machine without network.
    """
    constants = huggingface_hub.constants
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not hub_answers()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
