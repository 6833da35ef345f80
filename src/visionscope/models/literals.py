"""The values of a spec's arguments: Python literals of plain types, within what torch and a line of text can hold."""

from __future__ import annotations

import ast
import math
import warnings
from typing import Any

from visionscope.core.printable import quoted
from visionscope.errors import ConfigError

_WORDS = {"true": True, "false": False, "none": None}
_LONGEST = 500  # characters
_DEEPEST = 4  # of tuples and lists in one another
_LARGEST = 2**63 - 1
_PLAIN = (bool, int, float, str, type(None))


def read_value(parameter: str, text: str) -> Any:
    """The value that a text stands for: a Python literal, `true`, `false` or `none`, or else the text itself.

    Args:
        parameter: for errors.
        text: as it was written.

    Raises:
        ConfigError: for a text that is too long, a number that 64 bits don't hold or that is not finite, and other
            types than numbers, strings, True, False, None, and tuples, lists and dictionaries of these.
    """
    if text in _WORDS:
        return _WORDS[text]
    if not text.strip():
        raise ConfigError(f"{parameter}: a value must follow '='; got {text!r}")
    if len(text) > _LONGEST:
        raise ConfigError(f"{parameter}: must have at most {_LONGEST} characters; got {len(text)}: {quoted(text)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what only looks like a number, such as 1in
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        if text.lstrip()[0] in "([{\"'":
            raise ConfigError(f"{parameter}: begins like a Python literal but is not one; got {quoted(text)}") from None
        return text
    check_value(parameter, value)
    return value


def check_value(parameter: str, value: Any, depth: int = 0) -> None:
    """Refuses values that are no plain ones; see `read_value`.

    Args:
        parameter: for errors.
        value: a Python object.
        depth: in how many others it lies.

    Raises:
        ConfigError: naming the rule.
    """
    if isinstance(value, (tuple, list, dict)):
        if depth >= _DEEPEST:
            raise ConfigError(f"{parameter}: tuples lie in one another {_DEEPEST} deep at most; got {quoted(value)}")
        for inner in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
            check_value(parameter, inner, depth + 1)
    elif not isinstance(value, _PLAIN):
        raise ConfigError(
            f"{parameter}: must be a number, a string, True, False, None, or a tuple or list of these; got "
            f"{quoted(value)}, a {type(value).__name__}"
        )
    elif isinstance(value, int) and abs(value) > _LARGEST:
        raise ConfigError(f"{parameter}: whole numbers have at most 64 bits; got {quoted(value)}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{parameter}: must be a finite number; got {value}")
