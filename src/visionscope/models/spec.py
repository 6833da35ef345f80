"""Model specs: the one line of text that says which network, with which arguments and which weights."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionscope.errors import ConfigError, nearest

GRAMMAR = "[LABEL=]SPEC[?KEY=VALUE&...][@FILE[#PART][,FILE[#PART]...]]"
SOURCES = ("timm", "torchvision", "hf")

_LABEL = re.compile(r"([^=?@/:]+)=(.*)", re.DOTALL)
_FACTORY = re.compile(r"(.+\.py):([^:/]*)", re.DOTALL)
_WORDS = {"true": True, "false": False, "none": None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model spec taken apart.

    Attributes:
        label: how tables and figures call the model.
        source: `timm`, `torchvision`, `hf` or `file`.
        name: the name within the source; for `file` it is `path/to/file.py:factory`.
        arguments: keyword arguments of the architecture.
        checkpoint: a file of weights, with `#PART` where a part of it was named, or None.
        others: the files of an ensemble's further members.
    """

    label: str
    source: str
    name: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    checkpoint: Path | None = None
    others: tuple[Path, ...] = ()

    @property
    def text(self) -> str:
        """The spec without its label, in full; `parse_spec` reads it back."""
        files = () if self.checkpoint is None else (self.checkpoint, *self.others)
        checkpoint = f"@{','.join(map(str, files))}" if files else ""
        return f"{self.name if self.source == 'file' else f'{self.source}:{self.name}'}{self.query}{checkpoint}"

    @property
    def query(self) -> str:
        """The arguments as text: `?num_classes=10&img_size=64`, or nothing."""
        pairs = "&".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"?{pairs}" if pairs else ""


def parse_spec(text: str) -> ModelSpec:
    """Takes a spec `[LABEL=]SPEC[?KEY=VALUE&...][@FILE[#PART][,FILE...]]` apart; looks at no file, imports no library.

    SPEC is a timm name (`resnet50` or `timm:resnet50`), `torchvision:NAME`, `hf:NAME` (a name on the Hugging Face hub,
    a folder, or a configuration file) or `path/to/file.py:factory`. A VALUE is a Python literal; anything else is a
    string. The label ends at a `=` that stands before any of `? @ / :`; the checkpoint begins at the first `@`.
    `FILE#PART` is one of several networks in a file: `last.pth#model_ema`, `dino.pth#teacher`. Several files, between
    commas, are the members of an ensemble.
    Without LABEL the label is the spec's name with its arguments and, after `@`, the checkpoint's stem or the number of
    files.

    Args:
        text: the spec.

    Raises:
        ConfigError: for an empty part, an unknown source, a Python file without its factory or a malformed argument.
    """
    found = _LABEL.fullmatch(text.strip())
    label, rest = (found[1].strip(), found[2]) if found else ("", text.strip())
    rest, at, checkpoint = rest.partition("@")
    name, mark, query = rest.partition("?")
    files = checkpoint.split(",")
    if at and not all(files):
        raise ConfigError(f"model spec {text!r}: a checkpoint's file must follow '@'; the form is {GRAMMAR}")
    if not name:
        raise ConfigError(f"model spec {text!r}: the name of a model is missing; the form is {GRAMMAR}")
    source, name = _source(name, text)
    arguments = _arguments(query, text) if mark else {}
    path, *others = [Path(file).expanduser() if at else None for file in files]
    spec = ModelSpec(
        label=label,
        source=source,
        name=name,
        arguments=arguments,
        checkpoint=path,
        others=tuple(filter(None, others)),
    )
    return spec if found else dataclasses.replace(spec, label=_default_label(spec))


def _source(name: str, text: str) -> tuple[str, str]:
    source, colon, rest = name.partition(":")
    if colon and source in SOURCES:
        if not rest:
            raise ConfigError(f"model spec {text!r}: the name of a model must follow '{source}:'")
        return source, rest
    factory = _FACTORY.fullmatch(name)
    if factory:
        if not factory[2].isidentifier():
            raise ConfigError(f"model spec {text!r}: {factory[2]!r} is not the name of a function in {factory[1]}")
        return "file", name
    if name.endswith(".py"):
        raise ConfigError(f"model spec {text!r}: name the function that returns the model: {name}:FUNCTION")
    if colon:
        raise ConfigError(f"model spec {text!r}: there is no source {source!r}.{nearest(source, SOURCES)}")
    return "timm", name


def _arguments(query: str, text: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for pair in query.split("&"):
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier() or not value:
            raise ConfigError(f"model spec {text!r}: arguments are written ?KEY=VALUE&KEY=VALUE; got {pair!r}")
        if key in arguments:
            raise ConfigError(f"model spec {text!r}: argument {key!r} is given twice")
        arguments[key] = _literal(value)
    return arguments


def _literal(value: str) -> Any:
    if value in _WORDS:
        return _WORDS[value]
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def _default_label(spec: ModelSpec) -> str:
    name = spec.name
    if spec.source == "file" or name.startswith(("/", ".", "~")):
        path = Path(name)
        name = path.parent.name if path.name == "config.json" and path.parent.name else path.name
    prefix = f"{spec.source}:" if spec.source in ("torchvision", "hf") else ""
    checkpoint = "" if spec.checkpoint is None else f"@{_stem(spec.checkpoint)}"
    if spec.others:
        checkpoint = f"@{1 + len(spec.others)} files"
    return f"{prefix}{name}{spec.query}{checkpoint}"


def _stem(checkpoint: Path) -> str:
    """`last` of `last.pth`, `last#ema` of `last.pth#ema`."""
    name, mark, part = checkpoint.name.partition("#")
    return f"{Path(name).stem}{mark}{part}"
