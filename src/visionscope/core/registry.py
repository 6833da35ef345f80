"""Diagnostics, found in visionscope.diagnostics or by the entry-point group of that name.

One is a file, or a package with a module `question`; packages without one are shared by several, as are files whose
name begins with an underscore.
"""

import dataclasses
import functools
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from visionscope.core.values import shown
from visionscope.errors import ConfigError, nearest

ENTRY_POINTS = "visionscope.diagnostics"


def diagnostic_names() -> tuple[str, ...]:
    """The names of all diagnostics, sorted; imports none of them."""
    return tuple(sorted({*_own(), *(entry.name for entry in entries())}))


def check_known(parameter: str, names: Iterable[str], *, beside: tuple[str, ...] = ()) -> None:
    """Refuses names that are of no diagnostic; imports none.

    Args:
        parameter: where they were given, for the error.
        names: of diagnostics.
        beside: what else might have been meant.

    Raises:
        ConfigError: naming the first of them, with the nearest name that there is.
    """
    known = diagnostic_names()
    for name in names:
        if name not in known:
            raise ConfigError(f"{parameter}: there is no diagnostic {name!r}.{nearest(name, (*known, *beside))}")


def diagnostic_class(name: str) -> Any:
    """The dataclass of a diagnostic: the class in its module whose `name` is the module's.

    Args:
        name: as `diagnostic_names` lists it.

    Raises:
        ConfigError: when there is no such diagnostic.
    """
    if not isinstance(name, str):
        raise ConfigError(f"name: must be that of a diagnostic, such as 'fourier'; got {shown(name)}")
    check_known("only", (name,))
    for entry in entries():
        if entry.name == name:
            return _loaded(entry)
    package = Path(__file__).parent.parent / "diagnostics" / name
    module = importlib.import_module(f"visionscope.diagnostics.{name}{'.question' if package.is_dir() else ''}")
    for value in vars(module).values():
        if isinstance(value, type) and getattr(value, "name", None) == name:
            return value
    raise ConfigError(f"visionscope.diagnostics.{name} holds no class whose name is {name!r}")


@functools.cache
def _own() -> tuple[str, ...]:
    folder = Path(__file__).parent.parent / "diagnostics"
    return tuple(
        module.name
        for module in pkgutil.iter_modules([str(folder)])
        if ((folder / module.name / "question.py").is_file() if module.ispkg else not module.name.startswith("_"))
    )


def entries() -> tuple[EntryPoint, ...]:
    """The diagnostics of other packages that are installed."""
    return _entries(entry_points, tuple(sys.path))


# Asks every installed package, which takes some 50 ms; a page wants to know hundreds of times.
@functools.lru_cache(maxsize=1)
def _entries(ask: Callable[..., Any], path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    return tuple(ask(group=ENTRY_POINTS))


def _loaded(entry: EntryPoint) -> Any:
    try:
        found = entry.load()
    except Exception as error:  # another package's module, which may raise anything
        said = f"{type(error).__name__}: {error}"
        raise ConfigError(f"diagnostic {entry.name!r} can't be loaded from {entry.value} ({said})") from error
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise ConfigError(f"diagnostic {entry.name!r}: {entry.value} must be a dataclass")
    return found
