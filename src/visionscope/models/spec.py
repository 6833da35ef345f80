"""Model specs: the one line of text that says which network, with which arguments and which weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionscope.core.files import user_path
from visionscope.core.printable import printable, quoted
from visionscope.errors import ConfigError, nearest
from visionscope.models.arguments import check_numbers
from visionscope.models.literals import read_value

GRAMMAR = "[LABEL=]SPEC[?KEY=VALUE&...][@FILE[#PART][,FILE[#PART]...]]"
SOURCES = ("timm", "torchvision", "hf")

_LABEL = re.compile(r"([^=?@/:]+)=(.*)", re.DOTALL)
_FACTORY = re.compile(r"(.+\.py):([^:/]*)", re.DOTALL)
_LONGEST_LABEL, _LONGEST_NAME, _LONGEST_KEY = 200, 4095, 100  # characters
# Of these a text can't be made that a terminal, a table and a file can all hold.
_UNWRITABLE = {"Cc": "control characters", "Zl": "line breaks", "Zp": "line breaks", "Cs": "bytes that are not UTF-8"}
LOADING = (
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "pretrained_filter_fn"),
    *("checkpoint_path", "cache_dir", "weights", "weights_backbone", "use_pretrained_backbone"),
)
"""Arguments by which libraries read files or fetch weights: `@FILE` and the name of the model say that here."""


BLOCK_CHANGES = "block_changes"
"""The argument that says which blocks are others, as JSON; it is `load_model` that puts them in, for every source."""


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

    def check_single(self) -> None:
        """Refuses an ensemble, where one network is needed.

        Raises:
            ConfigError: for several files.
        """
        if self.others:
            count = 1 + len(self.others)
            raise ConfigError(f"{self.label}: names {count} files, an ensemble; one network is needed here")

    @property
    def text(self) -> str:
        """The spec without its label, in full; `parse_spec` reads it back."""
        files = () if self.checkpoint is None else (self.checkpoint, *self.others)
        checkpoint = f"@{','.join(map(str, files))}" if files else ""
        return f"{self.name if self.source == 'file' else f'{self.source}:{self.name}'}{self.query}{checkpoint}"

    @property
    def query(self) -> str:
        """The arguments as text: `?num_classes=10&img_size=64`, or nothing."""
        # A text that is JSON is written as it is: between quotes it would be read back as a string's literal.
        shown = {key: value if key == BLOCK_CHANGES else repr(value) for key, value in self.arguments.items()}
        pairs = "&".join(f"{key}={value}" for key, value in shown.items())
        return f"?{pairs}" if pairs else ""


def parse_spec(text: str) -> ModelSpec:
    """Takes a spec `[LABEL=]SPEC[?KEY=VALUE&...][@FILE[#PART][,FILE...]]` apart; looks at no file, imports no library.

    SPEC is a timm name (`resnet50` or `timm:resnet50`), `torchvision:NAME`, `hf:NAME` (a name on the Hugging Face hub,
    a folder, or a configuration file) or `path/to/file.py:factory`. A VALUE is a Python literal of plain types;
    anything else is a string. `block_changes` is JSON: the blocks that are others than the network's own, as
    `surgery.changes_text` writes them. Arguments by which a library would read a file or fetch weights (`LOADING`) are
    refused; a Python file's own function may have such.

    The label ends at a `=` that stands before any of `? @ / :`; the checkpoint begins at the first `@`.
    `FILE#PART` is one of several networks in a file: `last.pth#model_ema`, `dino.pth#teacher`. Several files, between
    commas, are the members of an ensemble.
    Without LABEL the label is the spec's name with its arguments and, after `@`, the checkpoint's stem or the number of
    files.

    Args:
        text: the spec.

    Raises:
        ConfigError: for an empty or overlong part, characters that no terminal can show, an unknown source, a Python
            file without its factory, or an argument that is malformed or not for a spec.
    """
    _check_characters(text)
    found = _LABEL.fullmatch(text.strip())
    label, rest = (found[1].strip(), found[2]) if found else ("", text.strip())
    rest, at, checkpoint = rest.partition("@")
    name, mark, query = rest.partition("?")
    files = checkpoint.split(",")
    if at and not all(file.partition("#")[0] for file in files):
        raise ConfigError(f"model spec {quoted(text)}: a checkpoint's file must follow '@'; the form is {GRAMMAR}")
    if at and any(file.endswith("#") for file in files):
        raise ConfigError(f"model spec {quoted(text)}: a part of the file must follow '#'; the form is {GRAMMAR}")
    if not name.strip():
        raise ConfigError(f"model spec {quoted(text)}: the name of a model is missing; the form is {GRAMMAR}")
    if len(name) > _LONGEST_NAME:
        raise ConfigError(f"model spec {quoted(text)}: a name has at most {_LONGEST_NAME} characters; got {len(name)}")
    source, name = _source(name, text)
    arguments = _arguments(query, source, text) if mark else {}
    if source != "file":  # what a function of the user's own makes of its numbers is up to it
        check_numbers(f"model spec {quoted(text)}", arguments)
    path, *others = [user_path(f"model spec {quoted(text)}", file) if at else None for file in files]
    spec = ModelSpec(
        label=label,
        source=source,
        name=name,
        arguments=arguments,
        checkpoint=path,
        others=tuple(filter(None, others)),
    )
    spec = spec if found else dataclasses.replace(spec, label=_default_label(spec))
    if len(spec.label) > _LONGEST_LABEL:
        remedy = "give a shorter one" if found else "give the model one: LABEL=SPEC"
        raise ConfigError(
            f"model spec {quoted(text)}: a label has at most {_LONGEST_LABEL} characters; got {len(spec.label)}, "
            f"{remedy}"
        )
    return spec


def _check_characters(text: str) -> None:
    for one in text:
        if not one.isprintable() and unicodedata.category(one) in _UNWRITABLE:
            what = _UNWRITABLE[unicodedata.category(one)]
            raise ConfigError(f"model spec {quoted(text)}: it can't hold {what} such as {one!a}; rename the file")


def _source(name: str, text: str) -> tuple[str, str]:
    source, colon, rest = name.partition(":")
    if colon and source in SOURCES:
        if not rest:
            raise ConfigError(f"model spec {quoted(text)}: the name of a model must follow '{source}:'")
        return source, rest
    factory = _FACTORY.fullmatch(name)
    if factory:
        if not factory[2].isidentifier():
            raise ConfigError(
                f"model spec {quoted(text)}: {quoted(factory[2])} is not the name of a function in "
                f"{printable(factory[1])}"
            )
        return "file", name
    if name.endswith(".py"):
        raise ConfigError(f"model spec {quoted(text)}: name the function that returns the model: {name}:FUNCTION")
    if colon:
        raise ConfigError(
            f"model spec {quoted(text)}: there is no source {quoted(source)}.{nearest(source[:40], SOURCES)}"
        )
    return "timm", name


def _arguments(query: str, source: str, text: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for pair in query.split("&"):
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier() or not value or len(key) > _LONGEST_KEY:
            raise ConfigError(
                f"model spec {quoted(text)}: arguments are written ?KEY=VALUE&KEY=VALUE; got {quoted(pair)}"
            )
        if key in arguments:
            raise ConfigError(f"model spec {quoted(text)}: argument {key!r} is given twice")
        if key in LOADING and source != "file":
            raise ConfigError(
                f"model spec {quoted(text)}: {key!r} can't be set here; weights are named as in MODEL@FILE, and "
                "pretrained ones are taken without it"
            )
        parameter = f"model spec {quoted(text)}: {key}"
        arguments[key] = _json_list(parameter, value) if key == BLOCK_CHANGES else read_value(parameter, value)
    return arguments


def _json_list(parameter: str, text: str) -> str:
    """The text itself, where it is JSON of a list; what the list holds is looked into when it is used."""
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        held = None
    if not isinstance(held, list):
        raise ConfigError(
            f"{parameter}: must be a JSON list of blocks, as a harmonized file holds it; got {quoted(text)}"
        )
    return text


def _default_label(spec: ModelSpec) -> str:
    name = spec.name
    if spec.source == "file" or name.startswith(("/", ".", "~")):
        path = Path(name)
        name = path.parent.name if path.name == "config.json" and path.parent.name else path.name
    prefix = f"{spec.source}:" if spec.source in ("torchvision", "hf") else ""
    checkpoint = "" if spec.checkpoint is None else f"@{_stem(spec.checkpoint)}"
    if spec.others:
        checkpoint = f"@{1 + len(spec.others)} files"
    return f"{prefix}{name}{_short(spec).query}{checkpoint}"


def _short(spec: ModelSpec) -> ModelSpec:
    """The spec with a few digits that tell changed blocks from others, in the place of all that is said of them."""
    if BLOCK_CHANGES not in spec.arguments:
        return spec
    digits = hashlib.sha256(str(spec.arguments[BLOCK_CHANGES]).encode()).hexdigest()[:8]
    return dataclasses.replace(spec, arguments={**spec.arguments, BLOCK_CHANGES: digits})


def _stem(checkpoint: Path) -> str:
    """`last` of `last.pth`, `last#ema` of `last.pth#ema`."""
    name, mark, part = checkpoint.name.partition("#")
    return f"{Path(name).stem}{mark}{part}"
