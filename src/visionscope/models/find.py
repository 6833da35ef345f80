"""Whether what a model spec names is there: told before torch and timm are imported, which takes seconds."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import BinaryIO

from visionscope.core.files import open_regular, read_regular, user_path
from visionscope.core.printable import printable, quoted
from visionscope.errors import ConfigError, nearest
from visionscope.models.spec import ModelSpec, parse_spec

_LARGEST = 16 * 2**20  # bytes of a Python file
_REGISTERED = re.compile(r"^@register_model(?:\(\))?\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)
_NAMED = re.compile(r"""["']([\w.]+)["']""")  # older names among them, which libraries take, too
# What binds names that a file doesn't write out.
_BINDING = re.compile(
    r"\b(exec|eval|globals|locals|vars|setattr|modules|import_module|__import__|__dict__|__getattr__)\b"
    r"|\bimport\s*\(?\s*\*"
)
_IN_BOTH = "resnet50"  # its absence tells that a library keeps its models in another way


def find_model(text: str, *, registered: bool = False) -> ModelSpec:
    """Takes a model spec apart and checks that the files and the model that it names are there; opens none further.

    Args:
        text: the spec.
        registered: whether a Python file that will be run may register further names.

    Raises:
        ConfigError: see `parse_spec`; and for a file that is not there or is none, and a name that the source of timm
            or of torchvision does not hold.
    """
    spec = parse_spec(text)
    for file in (spec.checkpoint, *spec.others):
        if file is not None:
            with opened_weights(split_place(file)[0]):
                pass
    if spec.source == "file":
        _check_function(spec.name)
    elif spec.source == "hf":
        _check_folder(spec.name)
    elif not registered and sys.modules.get(spec.source) is None:  # a library that is there costs nothing to ask
        _check_name(spec.source, spec.name)
    return spec


def split_place(path: Path) -> tuple[Path, str]:
    """The file and the part of it that `FILE#KEY` names; a file whose own name has a `#` is that file.

    Args:
        path: with or without `#KEY`.
    """
    text, mark, key = str(path).rpartition("#")
    try:
        whole = path.is_file()
    except OSError:  # a folder on the way may not be looked into
        whole = False
    if not mark or whole:
        return path, ""
    return Path(text), key


@contextmanager
def opened_weights(path: Path) -> Iterator[BinaryIO]:
    """A file of weights, opened.

    Args:
        path: the file.

    Raises:
        ConfigError: when there is no such file, or it can't be read.
    """
    try:
        with open_regular(path) as file:
            yield file
    except FileNotFoundError:
        raise ConfigError(f"checkpoint {path}: there is no such file") from None
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise ConfigError(f"checkpoint {path}: it can't be read: {reason}") from error


def read_source(path: Path) -> bytes:
    """The content of a Python file.

    Args:
        path: of the file.

    Raises:
        OSError: when it can't be read, is no regular file, or is larger than any Python file; `strerror` says which.
    """
    return read_regular(path, _LARGEST)


def factory_source(name: str) -> tuple[Path, bytes, str]:
    """The Python file of `path/to/file.py:function`, its content, and the name of the function.

    Args:
        name: the file and the function in it.

    Raises:
        ConfigError: when there is no such file, or it can't be read.
    """
    text, _, attribute = name.rpartition(":")
    path = user_path(f"model {quoted(name)}", text)
    try:
        path = path.resolve()
        return path, read_source(path), attribute
    except FileNotFoundError:
        raise ConfigError(f"model {quoted(name)}: there is no file {path}") from None
    except (OSError, RuntimeError) as error:  # what resolve() makes of links that lead to one another
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"model {quoted(name)}: {path} can't be read: {printable(reason)}") from error


def _check_function(name: str) -> None:
    """Refuses a function whose name stands nowhere in its file, unless the file binds names that it does not write."""
    path, source, attribute = factory_source(name)
    text = source.decode(errors="replace")
    if attribute not in re.findall(r"\w+", text) and not _BINDING.search(text):
        own = re.findall(r"^(?:def|class) ([^\W_]\w*)", text, re.MULTILINE)
        near = nearest(attribute, own)
        raise ConfigError(f"model {quoted(name)}: {path.name} has no function {quoted(attribute)}.{near}")


def _check_folder(name: str) -> None:
    """Refuses what is written as a path, and can be no name on the hub, where nothing is."""
    if name.startswith(("/", ".", "~")) and not user_path(f"model hf:{quoted(name)}", name).exists():
        raise ConfigError(f"hf:{name}: there is no such folder or file")


def _check_name(source: str, name: str) -> None:
    """Refuses a name that stands nowhere in a library's source; where it does stand, the library has the last word."""
    names, others = _source_names(source)
    if _IN_BOTH not in names or name.partition(".")[0] in names | others:
        return
    if source == "timm":
        raise ConfigError(
            f"timm has no model {quoted(name)}.{nearest(name[:80], names)} `visionscope models` lists all."
        )
    raise ConfigError(f"torchvision has no image model {quoted(name)}.{nearest(name[:80], names)}")


@functools.cache
def _source_names(library: str) -> tuple[frozenset[str], frozenset[str]]:
    """The models that a library registers (of timm's, ours too), and all that stands between quotes beside them."""
    found = PathFinder.find_spec(library)
    folders = [Path(place, "models") for place in (found.submodule_search_locations or ())] if found else []
    names: set[str] = set()
    others: set[str] = set()
    for folder in [*folders, *([Path(__file__).parent] if library == "timm" else [])]:
        for path in [*folder.glob("*.py"), *folder.glob("segmentation/*.py"), *folder.glob("detection/*.py")]:
            text = path.read_text(encoding="utf-8", errors="replace")
            names.update(_REGISTERED.findall(text))
            others.update(_NAMED.findall(text))
    return frozenset(names), frozenset(others)
