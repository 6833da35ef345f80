"""The Hugging Face hub, asked once whether it is there at all, and what its models may ask for."""

from __future__ import annotations

import functools
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import huggingface_hub.constants

from visionscope.core.printable import printable, quoted
from visionscope.errors import ConfigError
from visionscope.models.arguments import check_numbers
from visionscope.models.spec import LOADING

_TIMEOUT = 5.0  # seconds
_LAYERS = re.compile(r"layers|depth|blocks|stages|repeat")
_MOST_LAYERS = 1_000
_SIZES = re.compile(r"num_|n_|size|dim|head|channel|width|height|features|classes|groups|ratio|kernel|filter|stem")
_MOST = 2**20


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


def check_config(name: str, content: Any) -> None:
    """Refuses a configuration that brings code, has timm read files, or asks for more than any network has.

    Args:
        name: of the model, for errors.
        content: of its `config.json`.

    Raises:
        ConfigError: naming what it asks for.
    """
    if not isinstance(content, dict):
        raise ConfigError(f"hf:{name}: its configuration must be a JSON object; got a {type(content).__name__}")
    inside: list[Any] = [content]
    while inside:
        one = inside.pop()
        if isinstance(one, dict) and one.get("auto_map"):
            raise ConfigError(
                f"hf:{name}: its configuration names code of its own, {quoted(one['auto_map'])}, which is never run; "
                "where you trust it, name a function that returns the network: path/to/file.py:FUNCTION"
            )
        if isinstance(one, dict):
            check_numbers(f"hf:{name}: config.json", one)
            _check_counts(name, one)
        inside.extend(one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
    given = content.get("model_args")
    loading = next((key for key in LOADING if isinstance(given, dict) and key in given), None)
    if loading or ":" in str(content.get("architecture", "")):
        found = f"model_args.{loading}" if loading else f"architecture={quoted(content['architecture'])}"
        raise ConfigError(f"hf:{name}: its configuration asks for {found}, which a configuration may not set")


def _check_counts(name: str, content: dict[str, Any]) -> None:
    """Bounds whatever counts or measures a part of a network, by whichever name a family has for it."""
    for key, value in content.items():
        most = _MOST_LAYERS if _LAYERS.search(key) else _MOST if _SIZES.search(key) else None
        for number in value if isinstance(value, list) else (value,):
            if most is not None and isinstance(number, int) and number > most:
                raise ConfigError(f"hf:{name}: config.json: {printable(key)} must be at most {most:,}; got {number:,}")


def first_line(error: Exception) -> str:
    """The first line of a library's error; one that advises to run a file's code is not for users.

    Args:
        error: of any library.
    """
    line = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
    line = "it needs code of its own, which is never run" if "trust_remote_code" in str(error) else str(line)
    return printable(line)[:300] or type(error).__name__
