"""Model specs: the one line of text that says which network, with which arguments and which weights."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionscope.errors import ConfigError, nearest

GRAMMAR = "[LABEL=]SPEC[?KEY=VALUE&...][@FILE]"
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
        checkpoint: a file of weights, or None.
    """

    label: str
    source: str
    name: str
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    checkpoint: Path | None = None

    @property
    def text(self) -> str:
        """The spec without its label, in full; `parse_spec` reads it back."""
        checkpoint = "" if self.checkpoint is None else f"@{self.checkpoint}"
        return f"{self.name if self.source == 'file' else f'{self.source}:{self.name}'}{self.query}{checkpoint}"

    @property
    def query(self) -> str:
        """The arguments as text: `?num_classes=10&img_size=64`, or nothing."""
        pairs = "&".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"?{pairs}" if pairs else ""


def parse_spec(text: str) -> ModelSpec:
    """Takes a model spec `[LABEL=]SPEC[?KEY=VALUE&...][@FILE]` apart; looks at no file and imports no library.

    SPEC is a timm name (`resnet50` or `timm:resnet50`), `torchvision:NAME`, `hf:NAME` (a name on the Hugging Face hub,
    a folder, or a configuration file) or `path/to/file.py:factory`. A VALUE is a Python literal; anything else is a
    string. The label ends at a `=` that stands before any of `? @ / :`; the checkpoint begins at the first `@`.
    Without LABEL the label is the spec's name with its arguments and, after `@`, the checkpoint's stem.

    Args:
        text: the spec.

    Raises:
        ConfigError: for an empty part, an unknown source, a Python file without its factory or a malformed argument.
    """
    found = _LABEL.fullmatch(text.strip())
    label, rest = (found[1].strip(), found[2]) if found else ("", text.strip())
    rest, at, checkpoint = rest.partition("@")
    name, mark, query = rest.partition("?")
    if at and not checkpoint:
        raise ConfigError(f"model spec {text!r}: a checkpoint's file must follow '@'; the form is {GRAMMAR}")
    if not name:
        raise ConfigError(f"model spec {text!r}: the name of a model is missing; the form is {GRAMMAR}")
    source, name = _source(name, text)
    arguments = _arguments(query, text) if mark else {}
    path = Path(checkpoint).expanduser() if at else None
    spec = ModelSpec(label=label, source=source, name=name, arguments=arguments, checkpoint=path)
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
    checkpoint = "" if spec.checkpoint is None else f"@{spec.checkpoint.stem}"
    return f"{prefix}{name}{spec.query}{checkpoint}"
