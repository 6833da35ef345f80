"""Plain values in YAML, as people write them: read with care, and written so that they read back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from visionscope.core.files import read_regular
from visionscope.core.printable import printable
from visionscope.errors import ConfigError

MOST_BYTES = 2**20
_DEEPEST = 16
_LONGEST = 100  # characters of a complaint of the library's
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's takes a tenth of the time
_INTEGER = re.compile(r"[-+]?[0-9]{1,4000}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: Mapping[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{f"{sign}{word}": float(f"{sign}inf") for sign in ("", "-", "+") for word in (".inf", ".Inf", ".INF")},
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


def read_document(parameter: str, path: Path) -> dict[str, Any]:
    """The keys and values in a YAML file: texts, numbers, true, false, null, lists and mappings.

    Words mean what YAML 1.2 says (its core schema): `yes` is a text, `1e-3` a number, `12:30` a text. No tags, anchors
    or aliases, one document, no key twice: a file that means something else than it seems to is refused.

    Args:
        parameter: for errors.
        path: of the file, 1 MiB at most.

    Raises:
        ConfigError: when the file can't be read or holds anything else, with the line where it does.
    """
    try:
        content = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise ConfigError(f"{parameter}: {path} can't be read ({error.strerror or error})") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{parameter}: {path} is not valid YAML (it is not UTF-8 at byte {error.start}); save it as UTF-8"
        ) from None
    try:
        found = _values(iter(yaml.parse(text, Loader=_PARSER)))
    except yaml.YAMLError as error:
        raise ConfigError(f"{parameter}: {path} is not valid YAML ({_complaint(error)})") from None
    except RecursionError:
        raise ConfigError(f"{parameter}: {path} is nested too deeply") from None
    except _RefusalError as error:
        raise ConfigError(f"{parameter}: {path}{error.line}: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{parameter}: {path} must hold keys and values such as 'models: [resnet18]'")
    return found


def document_text(values: Mapping[str, Any]) -> str:
    """Plain values as YAML that `read_document` reads back as they were.

    Args:
        values: texts, numbers, true, false, None, lists and mappings, by key.
    """
    return yaml.dump(values, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=1000)


class _Writer(yaml.SafeDumper):
    """Quotes the texts that the reader would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_text(writer: _Writer, text: str) -> yaml.Node:
    quoted = "'" if _meant(text) is not text else None
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=quoted)


_Writer.add_representer(str, _write_text)


class _RefusalError(Exception):
    """Valid YAML that is not read."""

    def __init__(self, event: yaml.Event, reason: str) -> None:
        super().__init__(reason)
        mark = event.start_mark
        self.line = f", line {mark.line + 1}" if mark else ""


def _values(events: Iterator[yaml.Event]) -> Any:
    """The one document of a stream of events."""
    next(events)  # the stream's start
    event = next(events)
    if isinstance(event, yaml.StreamEndEvent):
        return None
    found = _node(next(events), events, 0)
    next(events)  # the document's end
    event = next(events)
    if not isinstance(event, yaml.StreamEndEvent):
        raise _RefusalError(event, "a second document begins; only one is read")
    return found


def _node(event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Any:
    if depth > _DEEPEST:
        raise _RefusalError(event, f"is nested more than {_DEEPEST} deep")
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        raise _RefusalError(event, "anchors and aliases (& and *) aren't read; write the value out")
    if getattr(event, "tag", None) not in (None, "!"):
        raise _RefusalError(event, f"tags such as {printable(str(getattr(event, 'tag', '')))[:60]} aren't read")
    if isinstance(event, yaml.ScalarEvent):
        return _meant(event.value) if event.implicit[0] and not event.style else event.value
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(inner := next(events), yaml.SequenceEndEvent):
            items.append(_node(inner, events, depth + 1))
        return items
    found: dict[str, Any] = {}
    while not isinstance(inner := next(events), yaml.MappingEndEvent):
        key = _node(inner, events, depth + 1)
        if not isinstance(key, str):
            raise _RefusalError(inner, "a key must be text")
        if key in found:
            raise _RefusalError(inner, f"key {key[:60]!r} is given twice")
        if key == "<<":
            raise _RefusalError(inner, "merge keys (<<) aren't read; write the values out")
        found[key] = _node(next(events), events, depth + 1)
    return found


def _meant(text: str) -> Any:
    """What a text without quotes means; the text itself where it is one."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _complaint(error: yaml.YAMLError) -> str:
    """What the library says, in a line that ends with the place."""
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{printable(str(said))[:_LONGEST]}{place}"
