"""A list of networks: a text file with a model spec per line."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from visionscope.core.files import read_regular
from visionscope.core.printable import printable
from visionscope.errors import ConfigError
from visionscope.models.builders import check_known
from visionscope.models.find import find_model
from visionscope.models.spec import ModelSpec

_MOST_BYTES = 2**20
_COMMENT = re.compile(r"(^|\s)#.*")  # FILE#PART is no comment


@dataclasses.dataclass(frozen=True)
class Listed:
    """A network of a list.

    Attributes:
        line: its number in the file.
        text: the model spec as it stands there.
        spec: the same, taken apart.
    """

    line: int
    text: str
    spec: ModelSpec

    @property
    def label(self) -> str:
        """How tables and figures call it."""
        return self.spec.label


def read_networks(path: Path) -> tuple[Listed, ...]:
    """The networks that a file lists: a model spec per line; what follows `#` at a line's beginning or a blank is left.

    Args:
        path: the file.

    Raises:
        ConfigError: for a file that can't be read or lists nothing; and naming the line, for a spec that can't be read,
            a model, tag or file that is not there, an ensemble, and a label that stands there twice.
    """
    try:
        content = read_regular(path, _MOST_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"models: {path} can't be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        reason = f"it is not UTF-8 at byte {error.start}"
        raise ConfigError(f"models: {path} can't be read ({reason}); save it as UTF-8") from None
    found: list[Listed] = []
    for number, line in enumerate(content.splitlines(), start=1):
        text = _COMMENT.sub("", line).strip()
        if text:
            found.append(_listed(path, number, text, found))
    if not found:
        raise ConfigError(f"models: {path} must list one model spec or more, a line each; got none")
    return tuple(found)


def _listed(path: Path, number: int, text: str, known: list[Listed]) -> Listed:
    place = f"models: {path}, line {number}"
    try:
        spec = find_model(text)
        spec.check_single()
        check_known(spec.source, spec.name)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None
    for other in known:
        if other.label == spec.label:
            shown = printable(spec.label)
            raise ConfigError(f"{place}: {shown} stands in line {other.line}, too; give one a label: LABEL=SPEC")
    return Listed(number, text, spec)
