"""What arguments a network's constructor takes, said in a line where a spec gives it others."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from visionscope.core.printable import message_of, printable, quoted
from visionscope.core.rules import MOST_PIXELS
from visionscope.errors import ConfigError, nearest

_UNKNOWN = re.compile(r"unexpected keyword argument '(\w+)'")
_TWICE = re.compile(r"multiple values for (?:keyword )?argument '(\w+)'")
_BOUNDS: dict[str, tuple[int | float, int | float]] = {
    "num_classes": (0, 1_000_000),
    "num_labels": (1, 1_000_000),
    **dict.fromkeys(("in_chans", "num_channels", "patch_size"), (1, 65_536)),
    **dict.fromkeys(("img_size", "image_size"), (1, MOST_PIXELS)),
    **dict.fromkeys(("depth", "depths", "layers", "num_layers", "num_hidden_layers"), (0, 1_000)),
    **dict.fromkeys(("num_heads", "num_attention_heads"), (1, 65_536)),
    **dict.fromkeys(("embed_dim", "embed_dims", "hidden_size", "hidden_sizes", "intermediate_size"), (1, 1_000_000)),
    **dict.fromkeys(("dim", "dims", "widths", "channels", "num_features", "stem_width"), (1, 1_000_000)),
    **dict.fromkeys(("drop_rate", "drop_path_rate", "attn_drop_rate", "proj_drop_rate", "pos_drop_rate"), (0.0, 1.0)),
}
_LONGEST_REASON = 300  # characters of what a constructor raised
_PLAIN: tuple[tuple[type, tuple[type, ...]], ...] = (
    (bool, (bool, int)),  # 0 and 1 will do
    (int, (int,)),
    (float, (float, int)),
    (str, (str,)),
)


def check_numbers(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuses numbers of classes, layers, pixels, ... that no network has, ahead of a constructor that fails oddly.

    The bounds are far above any network's; beyond them a constructor works for hours or asks for petabytes.

    Args:
        name: of the network, for errors.
        arguments: given by keyword; what is no number, or a tuple or list of them, is let through.

    Raises:
        ConfigError: naming the argument and its rule.
    """
    for key, value in arguments.items():
        least, most = _BOUNDS.get(key, (None, None))
        if least is None or most is None:
            continue
        for number in _numbers(value):
            if isinstance(number, bool) or (isinstance(number, float) and isinstance(least, int)):
                raise ConfigError(f"{name}: {key} must be a whole number; got {quoted(value)}")
            if number < least:
                raise ConfigError(f"{name}: {key} must be at least {least}; got {quoted(value)}")
            if number > most:
                raise ConfigError(f"{name}: {key} must be at most {most:,}; got {quoted(value)}")


def _numbers(value: Any) -> Iterator[int | float]:
    if isinstance(value, (tuple, list)):
        for inner in value:
            yield from _numbers(inner)
    elif isinstance(value, (int, float)):
        yield value


def check_arguments(name: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Refuses arguments that a function doesn't have, values that its annotations exclude, and what is left out.

    Args:
        name: of the network, for errors.
        function: that makes it.
        arguments: given by keyword.

    Raises:
        ConfigError: naming the argument, its rule and the nearest one that there is.
    """
    parameters = _parameters(function)
    open_ended = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    known = [key for key, one in parameters.items() if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)]
    for key in arguments:
        if key not in known and not open_ended:
            raise ConfigError(f"{name}: it has no argument {key!r}.{_choices(key, known)}")
    check_types(name, function, arguments)
    for key in known:
        if parameters[key].default is inspect.Parameter.empty and key not in arguments:
            raise ConfigError(f"{name}: needs the argument {key!r}; give it as ?{key}=VALUE")


def check_types(name: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Refuses values that a function's annotations exclude; what they leave open is let through.

    Args:
        name: of the network, for errors.
        function: that makes it, or its class.
        arguments: given by keyword; those that the function doesn't name are let through.

    Raises:
        ConfigError: naming the argument and its rule.
    """
    parameters = _parameters(function)
    try:
        hints = typing.get_type_hints(getattr(function, "__init__") if isinstance(function, type) else function)  # noqa: B009
    except Exception:  # annotations may name what is not there at run time
        return
    for key, value in arguments.items():
        if key in parameters and key in hints and not _allowed(hints[key], value):
            # The default of a class is not that of the names that are built from it.
            shown = parameters[key].replace(default=None) if isinstance(function, type) else parameters[key]
            raise ConfigError(f"{name}: {key} must be {_rule(hints[key], shown)}; got {quoted(value)}")


def explained(
    name: str, arguments: Mapping[str, Any], kind: Callable[..., Any] | None, error: Exception
) -> ConfigError:
    """The error of a constructor that failed, with its rule for the arguments that were given.

    Args:
        name: of the network.
        arguments: that it was given.
        kind: the class whose arguments they are, or None where that is not known.
        error: what the constructor raised.
    """
    start = f"{name} can't be built with {listed(arguments)}"
    parameters = {} if kind is None else _parameters(kind)
    unknown, twice = _UNKNOWN.search(str(error)), _TWICE.search(str(error))
    if unknown and unknown[1] in arguments:
        return ConfigError(f"{start}: it has no argument {unknown[1]!r}.{_choices(unknown[1], parameters)}")
    if twice and twice[1] in arguments:
        free = ", ".join(key for key in parameters if key != twice[1])
        return ConfigError(f"{start}: its name fixes {twice[1]}{f'; it takes {free}' if free else ''}")
    if kind is not None:
        try:
            check_types(start, kind, arguments)
        except ConfigError as refusal:
            return refusal
    return ConfigError(f"{start}: {reason_of(error)}")


def reason_of(error: BaseException) -> str:
    """Why a constructor failed, in one line: the error's type and the first line of its message.

    Args:
        error: what it raised.
    """
    line = printable(message_of(error).strip().partition("\n")[0])[:_LONGEST_REASON]
    if isinstance(error, MemoryError) or "can't allocate memory" in line:
        line = "it needs more memory than is available"
    return f"{type(error).__name__}: {line}".rstrip(": ")


def listed(arguments: Mapping[str, Any]) -> str:
    """Arguments as a message shows them.

    Args:
        arguments: by name.
    """
    return ", ".join(f"{key}={quoted(value)}" for key, value in arguments.items())[:300] or "no arguments"


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """By name; of a class with those of the classes that its further arguments are handed on to."""
    found: dict[str, inspect.Parameter] = {}
    for kind in function.__mro__[:-1] if isinstance(function, type) else (function,):
        try:
            own = inspect.signature(kind).parameters
        except (TypeError, ValueError):  # builtin callables
            own = inspect.signature(lambda **kwargs: None).parameters
        found = {**own, **found}
        if not any(one.kind is one.VAR_KEYWORD for one in own.values()):
            break
    return found


def _choices(key: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    names = [name for name in known if name not in ("args", "kwargs", "self")]
    return nearest(key, names) if names else " It takes none."


def _allowed(hint: Any, value: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_allowed(one, value) for one in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if hint is type(None):
        return value is None
    if origin in (tuple, list, Sequence):
        return isinstance(value, (tuple, list))
    for plain, kinds in _PLAIN:
        if hint is plain:
            return isinstance(value, kinds) and (plain is bool or not isinstance(value, bool))
    return True


def _rule(hint: Any, parameter: inspect.Parameter) -> str:
    """`int, 12 by default`."""
    word = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
    plain = isinstance(parameter.default, (int, float, str, tuple))
    return f"{word}, {parameter.default!r} by default" if plain else word
