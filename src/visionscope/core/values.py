"""What one parameter takes: its type, its bounds, the words that say so, and how a text stands for it."""

from __future__ import annotations

import dataclasses
import functools
import math
import numbers
import re
import reprlib
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal

from visionscope.errors import ConfigError, nearest

LONGEST_TEXT = 8192  # twice as long as paths get

_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,9})?")
_RATIO = re.compile(r"([0-9]{1,18})/([0-9]{1,18})")
_FEW = 10  # choices that a message lists
_TRUTHS = {"true": True, "false": False}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """What a value must be beside being of its type. Of a list, it is what each item must be, but for `count`.

    Attributes:
        least: the smallest number.
        most: the largest number.
        above: what a number must be greater than.
        below: what a number must be less than.
        choices: all that it may be.
        pattern: regular expression that a text matches as a whole.
        words: says the rule, where type, bounds and choices don't say enough.
        empty: whether a text may be empty.
        longest: characters of a text at most.
        count: fewest and most items of a list.
        distinct: whether the items of a list differ.
        commas: whether a text that stands for a list holds its items by comma; else it is the only item.
        ratio: whether a flag's text may be a ratio such as 1/16.
        meant: pairs of another spelling, which is refused, and the choice that was meant by it.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()
    pattern: str = ""
    words: str = ""
    empty: bool = True
    longest: int = LONGEST_TEXT
    count: tuple[int, int] = (0, 10_000)
    distinct: bool = False
    commas: bool = True
    ratio: bool = False
    meant: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Value:
    """What one parameter takes.

    Attributes:
        hint: its annotation: int, float, bool, str, Literal, a tuple of one of these, or one of all these or None;
            anything else is left unchecked.
        rule: what it must be beside that.
        default: of the field, for help; None where there is none.
    """

    hint: Any
    rule: Rule = Rule()
    default: Any = None

    @functools.cached_property
    def kind(self) -> Any:
        """The annotation without None; of a list, that of its items."""
        hint = self._bare
        return typing.get_args(hint)[0] if self.is_list else hint

    @functools.cached_property
    def optional(self) -> bool:
        """Whether it may be None."""
        return type(None) in typing.get_args(self.hint)

    @functools.cached_property
    def is_list(self) -> bool:
        """Whether it is a tuple."""
        return typing.get_origin(self._bare) is tuple and bool(typing.get_args(self._bare))

    @functools.cached_property
    def count(self) -> tuple[int, int]:
        """Fewest and most items of a list; equal where the annotation fixes the length."""
        items = typing.get_args(self._bare)
        return self.rule.count if Ellipsis in items else (len(items), len(items))

    @functools.cached_property
    def choices(self) -> tuple[Any, ...]:
        """All that it (or an item) may be, where that is a list."""
        return typing.get_args(self.kind) if typing.get_origin(self.kind) is Literal else self.rule.choices

    @functools.cached_property
    def words(self) -> str:
        """The rule as it follows 'must be': 'an integer from 1 to 1000'."""
        if self.is_list and self.rule.words:
            return self.rule.words
        one = self._one
        if not self.is_list:
            return one
        fewest, most = self.count
        many = f"each {one}"
        if fewest == most:
            return f"{fewest} values, {many}"
        return (
            f"{'a list' if fewest == 0 else 'a list of one or more'}, {many}{', without repeats' * self.rule.distinct}"
        )

    @functools.cached_property
    def range(self) -> str:
        """The bounds of a number, for help: 'from 1 to 1000'; empty where there are none to tell."""
        if self.choices or self.kind not in (int, float):
            return ""
        bounds = _bounds(self.rule, whole=True).strip()
        return bounds.removeprefix("of ")

    def checked(self, parameter: str, given: Any) -> Any:
        """The value as its annotation has it.

        Args:
            parameter: for errors.
            given: what a caller or a YAML file gave.

        Raises:
            ConfigError: when it breaks the rule.
        """
        if given is None and self.optional:
            return None
        if not self.is_list:
            return self._item(parameter, given, "must be")
        if isinstance(given, str):
            return self.read(parameter, given)
        if not isinstance(given, Sequence) or isinstance(given, bytes):
            raise ConfigError(f"{parameter}: must be {self.words}; got {shown(given)}")
        return self._items(parameter, given)

    def read(self, parameter: str, text: str) -> Any:
        """The value that a flag's text stands for.

        Args:
            parameter: for errors.
            text: as it was written; a list has commas between its items, and may have brackets around it.

        Raises:
            ConfigError: when it breaks the rule.
        """
        if not self.is_list:
            return self._item(parameter, self._meant(text), "must be")
        return self._items(parameter, [self._meant(part) for part in self._parts(text)])

    def read_item(self, parameter: str, text: str) -> Any:
        """One item of a list that takes several words of the command line.

        Args:
            parameter: for errors.
            text: the word.

        Raises:
            ConfigError: when it breaks the rule.
        """
        return self._item(parameter, self._meant(text), "each must be")

    @functools.cached_property
    def _bare(self) -> Any:
        if typing.get_origin(self.hint) not in (typing.Union, types.UnionType):
            return self.hint
        left = [hint for hint in typing.get_args(self.hint) if hint is not type(None)]
        return left[0] if len(left) == 1 else Any

    @functools.cached_property
    def _one(self) -> str:
        if self.rule.words and not self.is_list:
            return self.rule.words
        if self.choices:
            many = len(self.choices) > _FEW
            return f"one of {len(self.choices)} names" if many else f"one of {', '.join(map(str, self.choices))}"
        if self.kind is bool:
            return "true or false"
        if self.kind in (int, float):
            return f"{'an integer' if self.kind is int else 'a number'}{_bounds(self.rule, whole=self.kind is int)}"
        return "text" if self.rule.empty else "text that is not empty"

    def _parts(self, text: str) -> list[str]:
        if not self.rule.commas:
            return [text]
        text = text.strip()
        if text[:1] + text[-1:] in ("[]", "()"):
            text = text[1:-1]
        return [part.strip().strip("'\"") for part in text.split(",")] if text.strip() else []

    def _meant(self, text: str) -> Any:
        """What a text says by the annotation; the text itself where it says nothing of that kind."""
        if self.choices:
            return next((choice for choice in self.choices if str(choice) == text.strip()), text)
        bare = text.strip()
        if self.kind is bool:
            return _TRUTHS.get(bare.lower(), text)
        if self.kind is int and _INTEGER.fullmatch(bare):
            return int(bare)
        if self.kind is float:
            ratio = _RATIO.fullmatch(bare) if self.rule.ratio else None
            if ratio and int(ratio[2]):
                return int(ratio[1]) / int(ratio[2])
            return float(bare) if _NUMBER.fullmatch(bare) else text
        return text

    def _items(self, parameter: str, given: Sequence[Any]) -> tuple[Any, ...]:
        fewest, most = self.count
        if not fewest <= len(given) <= most:
            raise ConfigError(f"{parameter}: must be {self.words}; got {shown(given)}")
        items = tuple(self._item(parameter, one, "each must be") for one in given)
        if self.rule.distinct and len(set(items)) < len(items):
            twice = next(item for item in items if items.count(item) > 1)
            raise ConfigError(f"{parameter}: must not repeat an item; got {shown(twice)} twice")
        return items

    def _item(self, parameter: str, given: Any, must_be: str) -> Any:
        holds, value = self._fits(given)
        if holds:
            return value
        hint = self._hint(given)
        fault = _text_fault(given, self.rule) if self.kind is str and isinstance(given, str) else ""
        raise ConfigError(f"{parameter}: {must_be} {fault or self._one}; got {shown(given)}{hint}")

    def _hint(self, given: Any) -> str:
        """The nearest choice; all choices, where none is near and they don't stand in the rule already."""
        if not self.choices:
            return ""
        if is_whole(given) and all(map(is_whole, self.choices)):
            return f". Did you mean {min(self.choices, key=lambda one: abs(one - given))}?"
        meant = dict(self.rule.meant).get(str(given).lower())
        if meant:
            return f". Did you mean {meant!r}?"
        hint = nearest(str(given)[:80], map(str, self.choices)) if isinstance(given, str) else ""
        return f".{hint}" if "Did you mean" in hint or len(self.choices) > _FEW else ""

    def _fits(self, given: Any) -> tuple[bool, Any]:
        if self.choices:
            plain = int(given) if is_whole(given) else given
            return any(type(plain) is type(one) and plain == one for one in self.choices), plain
        if self.kind is bool:
            return isinstance(given, bool), given
        if self.kind is int:
            return is_whole(given) and _between(self.rule, int(given)), given if isinstance(given, bool) else _int(
                given
            )
        if self.kind is float:
            value = _float(given)
            return value is not None and _between(self.rule, value), value
        if self.kind is str:
            holds = isinstance(given, str) and (given or self.rule.empty) and not _text_fault(given, self.rule)
            return holds and re.fullmatch(self.rule.pattern or r"[\s\S]*", given) is not None, given
        return True, given


def shown(value: Any) -> str:
    """A value as messages show it: on one line, and not too long.

    Args:
        value: any.
    """
    text = _SHORT.repr(list(value) if isinstance(value, tuple) else value)
    return " ".join(line.strip() for line in text.splitlines())


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 60
        self.maxlevel, self.maxlist = 3, 8

    def repr_int(self, x: int, level: int) -> str:
        if x.bit_length() > 256:  # Python refuses to write very long ones out
            return f"an integer of about {int(x.bit_length() * math.log10(2)) + 1} digits"
        return repr(x)


_SHORT = _Short()


def _text_fault(text: str, rule: Rule) -> str:
    """What is wrong with a text whatever it is for; no file, table or terminal can do with these."""
    if len(text) > rule.longest:
        return f"text of at most {rule.longest:,} characters"
    if "\0" in text:
        return "text without NUL characters"
    if any("\ud800" <= one <= "\udfff" for one in text):  # stand for bytes that are no UTF-8
        return "text in UTF-8"
    return ""


def _bounds(rule: Rule, *, whole: bool) -> str:
    if rule.least is not None and rule.most is not None:
        return f" from {_figure(rule.least)} to {_figure(rule.most)}"
    lower = "" if rule.least is None else f" of at least {_figure(rule.least)}"
    lower = lower if rule.above is None else f" above {_figure(rule.above)}"
    upper = "" if rule.most is None else f"at most {_figure(rule.most)}"
    upper = upper if rule.below is None else f"below {_figure(rule.below)}"
    if lower and upper:
        return f"{lower} and {upper}"
    if lower or upper:
        return lower or f" {upper}"
    return "" if whole else " that is finite"


def _figure(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _between(rule: Rule, value: float) -> bool:
    return (
        (rule.least is None or value >= rule.least)
        and (rule.most is None or value <= rule.most)
        and (rule.above is None or value > rule.above)
        and (rule.below is None or value < rule.below)
    )


def is_whole(value: Any) -> bool:
    """Whether a value is an integer, of Python's or numpy's, and no truth value.

    Args:
        value: any.
    """
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _int(value: Any) -> Any:
    return int(value) if is_whole(value) else value


def _float(value: Any) -> float | None:
    """A finite number as a float, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return None
    return number + 0.0 if math.isfinite(number) else None
