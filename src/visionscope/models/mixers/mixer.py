"""What a mixer is, and the registry of all."""

from __future__ import annotations

import abc
import ast
import dataclasses
import functools
import importlib
import pkgutil
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import nn

from visionscope.core.printable import quoted
from visionscope.core.rules import check_rules
from visionscope.errors import ConfigError, nearest
from visionscope.models.literals import read_value

LowPass = Literal["always", "can be", "never"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixer(abc.ABC):
    """An operator that mixes the positions of a map, with its settings as fields.

    Three facts are declared, and measured by a test: whether it is a low-pass filter, whether it is specific to its
    data, and how far it reaches. They are about the operator alone, without the skip beside it.

    Attributes:
        name: in specs, as in `mix:NAME`.
        does: its formula or rule, in a few words.
        source: who published it; "a control" for what stands for nothing.
        library: the module of another library that does the work; empty where the code is ours.
        low_pass: `always` where it weakens high frequencies more than low ones in every channel, whatever its weights;
            `never` where it does so in none; else `can be`. Measured on white noise: the share of the upper third of
            frequencies in the output, relative to that of the lower third, in which the mean is counted.
        data_specific: whether its Jacobian depends on the input, so that what it does to a map depends on the map.
        step: the channels must be a multiple of it.
    """

    name: ClassVar[str]
    does: ClassVar[str]
    source: ClassVar[str]
    library: ClassVar[str] = ""
    low_pass: ClassVar[LowPass]
    data_specific: ClassVar[bool]
    step: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Holds every field to its rule."""
        check_rules(self, f"mixer {self.name}")

    @abc.abstractmethod
    def reach(self) -> int | None:
        """The largest distance, down or across, from which a position hears, in positions; None for the whole map."""

    @abc.abstractmethod
    def build(self, dim: int) -> nn.Module:
        """A module with fresh weights that maps (b, dim, h, w) to the same shape, for every h and w from 1.

        Args:
            dim: channels, a multiple of `step`.
        """


_KINDS: dict[str, type[Mixer]] = {}


def register(kind: type[Mixer]) -> type[Mixer]:
    """Puts a mixer into the registry; a decorator of its dataclass.

    Args:
        kind: the dataclass.
    """
    if kind.name in _KINDS:
        raise ValueError(f"there are two mixers with the name {kind.name!r}")
    _KINDS[kind.name] = kind
    return kind


@functools.cache
def mixer_kinds() -> dict[str, type[Mixer]]:
    """All mixers by name, in alphabetical order."""
    folder = Path(__file__).parent / "kinds"
    for module in pkgutil.iter_modules([str(folder)]):
        importlib.import_module(f"visionscope.models.mixers.kinds.{module.name}")
    return dict(sorted(_KINDS.items()))


@functools.cache
def mixer_of(text: str) -> Mixer:
    """The mixer that a text names: `guided`, or with settings `learned_blur(kernel_size=5)`.

    Args:
        text: name and settings.

    Raises:
        ConfigError: for a name or a setting that there is not, or a value that breaks its rule, naming the nearest.
    """
    name, bracket, rest = text.strip().partition("(")
    name = name.strip()
    if name not in mixer_kinds():
        raise ConfigError(f"mixer: there is no mixer {quoted(name)}.{nearest(name, mixer_kinds())}")
    kind = mixer_kinds()[name]
    known = [field.name for field in dataclasses.fields(kind)]
    given = _settings(name, f"({rest}" if bracket else "()")
    for key in given:
        if key not in known:
            hint = nearest(key, known) if known else " It has none"
            raise ConfigError(f"mixer {name}: there is no setting {quoted(key)}.{hint}")
    return kind(**given)


def _settings(name: str, brackets: str) -> dict[str, Any]:
    """`(key=value, ...)` as Python reads the arguments of a call; a bare word is text."""
    try:
        call = ast.parse(f"f{brackets}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        call = None
    if not isinstance(call, ast.Call) or call.args or any(one.arg is None for one in call.keywords):
        raise ConfigError(
            f"mixer {name}: settings must be written as {name}(key=value, ...); got {quoted(name + brackets)}"
        )
    return {str(one.arg): read_value(f"mixer {name}.{one.arg}", ast.unparse(one.value)) for one in call.keywords}
