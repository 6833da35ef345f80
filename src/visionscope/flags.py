"""The command line's flags: what they take comes from the rules of the fields that they stand for."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NoReturn

from visionscope.core.docstrings import first_paragraph, meanings, summary_of
from visionscope.core.registry import diagnostic_class, diagnostic_names
from visionscope.core.rules import values_of
from visionscope.core.terminal import say
from visionscope.core.values import Value, shown
from visionscope.errors import ConfigError, nearest
from visionscope.models.spec import parse_spec
from visionscope.running.study import DEFAULT_DIAGNOSTICS, ONLY, Study

_IN_FULL = "@FILE loads weights. In full: [LABEL=]SPEC[?key=value][@FILE[#PART][,FILE...]]"
MODEL_HELP = f"a timm name, torchvision:NAME, hf:NAME or FILE.py:FUNCTION; {_IN_FULL}"
_MODELS_HELP = (
    "a timm name, torchvision:NAME, hf:NAME, FILE.py:FUNCTION, or what train wrote, RUN/train/*/*.safetensors; "
    f"{_IN_FULL}"
)
_ONLY_HELP = f"diagnostics, comma-separated, or all; --only alone lists them (default {','.join(DEFAULT_DIAGNOSTICS)})"
_GROUPS = {
    "what is looked at": ("data", "only", "images", "seed", "points"),
    "how it is computed": ("out", "device", "batch", "precision"),
    "the networks": ("random_weights", "size", "mean", "std", "output", "output_is", "n_forward"),
    "the loss of hessian, density, landscape, sharpness and fit": (
        *("augmentation", "fraction", "fraction_seed", "label_smoothing", "weight_decay", "decays"),
    ),
}
_UNTOLD = 10_000  # a bound from here on keeps out what no machine could do
_DOTTED = re.compile(r"--(\w+)\.(\w+)")
_LONG_DASHES = "‐‑‒–—―−﹘﹣－"
_WIDE = 32  # columns of flags in a help page


class _Once(argparse.Action):
    """Stores a value; a flag that is given twice is refused, since one of the values would be lost."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        if getattr(namespace, self.dest, None) is not None:
            raise ConfigError(f"{option or self.dest}: is given twice")
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """A parser whose flags obey declared rules, and whose errors are `ConfigError`s of one line.

    Flags are spelt out in full and given once. What isn't given is None. `--DIAGNOSTIC.FIELD` is known where
    `add_study_flags` was called, and stays text until the diagnostic is asked for.
    """

    def __init__(self, **kwargs: Any) -> None:
        formatter = functools.partial(argparse.HelpFormatter, max_help_position=_WIDE)
        super().__init__(allow_abbrev=False, formatter_class=formatter, **kwargs)
        self._negative_number_matcher = re.compile(r"-(\.?[0-9]|inf|nan)")  # a value, not a flag
        self._selects = ""  # the flag that names diagnostics
        self._lists = False
        self._into: Any = self
        self._given: Sequence[str] = ()
        self.values: dict[str, Value] = {}  # what each flag takes; --DIAGNOSTIC.FIELD once help is wanted

    def begin_group(self, title: str, about: str = "") -> None:
        """Puts the flags that follow under a heading of the help page.

        Args:
            title: the heading.
            about: a sentence below it.
        """
        self._into = self.add_argument_group(title, about or None)

    def add_value(
        self, flag: str, value: Value, help: str, *, words: int | str | None = None, required: bool = False
    ) -> None:
        """Adds a flag, or a positional argument, that takes what a field takes.

        Args:
            flag: `--like-this`, or the name of a positional argument.
            value: what it takes.
            help: what it is for.
            words: how many words of the command line it takes, for a list: a number or `+`; else one.
            required: whether it must be given.
        """
        name = flag.removeprefix("--").replace("-", "_")
        read = value.read if words is None else value.read_item
        self.values[flag] = value
        given: dict[str, Any] = {"required": required, "dest": name} if flag.startswith("--") else {}
        if flag.startswith("--"):
            given["metavar"] = _metavar(value, words)
        into = self._into if flag.startswith("--") else self
        into.add_argument(
            flag, type=functools.partial(read, name), nargs=words, action=_Once, help=_help(help, value), **given
        )

    def add_field(
        self, described: type, name: str, *, help: str = "", words: int | str | None = None, default: Any = ...
    ) -> None:
        """Adds the flag of a dataclass's field: its rule, and what its docstring says.

        Args:
            described: the dataclass.
            name: of the field.
            help: what it is for, where that is not what the docstring says.
            words: as in `add_value`.
            default: what the help page says of it, None for nothing; by default that of the field.
        """
        value = values_of(described)[name]
        told = value if default is ... else dataclasses.replace(value, default=default)
        self.add_value(f"--{name.replace('_', '-')}", told, help or meanings(described)[name], words=words)

    def add_model(self, name: str = "model", words: str | None = None) -> None:
        """Adds the positional argument that names a model, or several.

        Args:
            name: of the argument.
            words: `+` for several.
        """
        read = functools.partial(values_of(Study)["models"].read_item, name)
        told = _MODELS_HELP if words else MODEL_HELP  # several are those of diagnose, which reads what such files say
        self.add_argument(name, nargs=words, metavar="MODEL", type=lambda text: _spec(read(text)), help=told)

    def add_switch(self, flag: str, help: str) -> None:
        """Adds a flag without a value.

        Args:
            flag: `--like-this`.
            help: what it is for.
        """
        self._into.add_argument(flag, action="store_true", help=help)

    def take_diagnostics_flags(self, by: str, *, listed: bool) -> None:
        """Makes `--DIAGNOSTIC.FIELD` known, without importing a diagnostic before its help is wanted.

        Args:
            by: the flag that names the diagnostics; alone, it lists them.
            listed: whether the help page lists them, too.
        """
        self._selects, self._lists = by, listed

    def add_diagnostics(self, names: Iterable[str]) -> None:
        """Adds the flags of some diagnostics, with what they are, for a help page; imports them.

        Args:
            names: of the diagnostics.
        """
        for name in names:
            chosen = diagnostic_class(name)
            texts, about = meanings(chosen), first_paragraph(chosen.__doc__).replace("`", "")
            group = self.add_argument_group(name, about if values_of(chosen) else f"{about} It has no flags.")
            for field, value in values_of(chosen).items():
                flag = f"--{name}.{field}"
                self.values[flag] = value
                group.add_argument(flag, metavar=_metavar(value, None), help=_help(texts.get(field, ""), value))

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parses all of the arguments.

        Args:
            args: of the command, without its name.
            namespace: receives the values.

        Raises:
            ConfigError: for a flag that there is not, a value that breaks its rule, a word too many or one missing.
        """
        given = list(args or ())
        words = given[: given.index("--")] if "--" in given else given
        if self._selects and words[-1:] == [self._selects]:
            for line in _listed():
                say(line)
            self.exit()
        named = _named_in_help(words) if self._selects else None
        if named is not None:
            self._help_of(named)
        for word in words:
            self._check_word(word)
        self._given = words
        parsed, left = self.parse_known_args(given, namespace)
        if left:
            raise ConfigError(f"{left[0]!r}: is an argument too many")
        return parsed

    def format_usage(self) -> str:
        """One line: the command, what must be given, and that there are flags."""
        must = [action for action in self._actions if not action.option_strings or action.required]
        return f"usage: {self.prog} {' '.join(map(_usage, must))} [--FLAG VALUE ...]\n".replace("  ", " ")

    def format_help(self) -> str:
        """The help page, with the short usage and, where they have flags, the diagnostics in a line each."""
        self.usage = self.format_usage().removeprefix("usage: ").strip().replace("%", "%%")
        page = super().format_help()
        if not self._lists:
            return page
        head = f"diagnostics; each has flags of its own, which {self.prog} --help NAME shows:"
        return "\n".join([page, head, *_listed()]) + "\n"

    def print_help(self, file: Any = None) -> None:
        """Writes the help page; a full disk is told, where argparse keeps quiet.

        Args:
            file: receives it; stdout by default.
        """
        (file or sys.stdout).write(self.format_help())

    def error(self, message: str) -> NoReturn:
        """Raises what argparse would print, in the words of the program.

        Args:
            message: argparse's.
        """
        missing = re.search(r"arguments are required: ([^\s,]+)", message)
        if missing:
            raise ConfigError(f"{missing[1].lstrip('-')}: must be given")
        few = re.search(r"argument (\S+): expected (one|\d+|at least one) argument", message)
        if few:
            raise ConfigError(self._too_few(few[1], few[2]))
        extra = re.search(r"argument (\S+): ignored explicit argument (.*)$", message, re.DOTALL)
        raise ConfigError(f"{extra[1]}: takes no value; got {extra[2]}" if extra else message)

    def _too_few(self, flag: str, count: str) -> str:
        """What a flag that got fewer words than it takes should have."""
        value = self.values.get(flag)
        if value is None or not count.isdecimal():
            words = value.words if value else "the field's"
            return f"{flag}: needs a value: {words}"
        needs = f"{flag}: needs {count} values with a space between them: {value.words}"
        given = _word_after(flag, self._given)
        return f"{needs}; got {shown(given)}{_apart(flag, value, given)}" if given else needs

    def _help_of(self, named: str) -> NoReturn:
        """Shows the flags of some diagnostics, comma-separated or `all`, and ends."""
        known = diagnostic_names()
        names = known if named == "all" else tuple(named.split(","))
        for name in names:
            if name not in known:
                others = known if "," in named else (*known, "all")
                raise ConfigError(f"help: there is no diagnostic {shown(name)}.{nearest(name[:80], others)}")
        page = Parser(prog=f"{self.prog} MODEL ... --data TEXT {self._selects} {named}", add_help=False)
        page.add_diagnostics(names)
        page.print_help()
        self.exit()

    def _check_word(self, word: str) -> None:
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        if word[:1] in _LONG_DASHES and word:
            near = nearest(f"--{word.lstrip(_LONG_DASHES + '-')}", flags)
            raise ConfigError(f"{word!r}: begins with a long dash; flags begin with two short ones.{near}")
        if word[:1] != "-" or word == "-" or self._negative_number_matcher.match(word):
            return
        flag = word.partition("=")[0]
        if flag in self._option_string_actions:
            return
        dotted = _DOTTED.fullmatch(flag) if self._selects else None
        if not dotted:
            named = flag if flag.isprintable() and " " not in flag else repr(flag)
            near = nearest(flag[:80], flags)
            near = near if "Did you mean" in near else " --help lists them."
            raise ConfigError(f"{named[:80]}: there is no such flag.{near}")
        if dotted[1] not in diagnostic_names():
            near = nearest(dotted[1], diagnostic_names())
            raise ConfigError(f"{flag}: there is no diagnostic {dotted[1]!r}.{near}")
        self.add_argument(flag, action=_Once)


def add_study_flags(parser: Parser) -> None:
    """Adds the models of a study, a flag for each of its other fields, and `--DIAGNOSTIC.FIELD`.

    Args:
        parser: receives them.
    """
    parser.add_model("models", "+")
    for title, names in _GROUPS.items():
        parser.begin_group(title)
        for name in names:
            add_study_flag(parser, name)
    parser.begin_group("before it starts")
    parser.take_diagnostics_flags("--only", listed=True)


def add_study_flag(parser: Parser, name: str, help: str = "") -> None:
    """Adds the flag of one key of a study.

    Args:
        parser: receives it.
        name: of the key.
        help: what it is for, where that is not what a study says.
    """
    if name == "only":
        parser.add_value("--only", ONLY, _ONLY_HELP)
        return
    value = values_of(Study)[name]
    words: int | str | None = None
    if value.is_list and value.kind is not str:  # numbers are words of the command line, names stand between commas
        fewest, most = value.count
        words = fewest if fewest == most else "+"
    parser.add_field(Study, name, help=help, words=words)


def _spec(text: str) -> str:
    parse_spec(text)
    return text


def _named_in_help(words: Sequence[str]) -> str | None:
    """What is named after --help."""
    for word, following in pairwise([*words, "-"]):
        if word.startswith("--help="):
            return word.removeprefix("--help=")
        if word in ("-h", "--help") and not following.startswith("-"):
            return following
    return None


def _word_after(flag: str, words: Sequence[str]) -> str:
    """The value that stands after a flag, or after its `=`; empty where there is none."""
    for word, following in pairwise([*words, "--"]):
        if word.startswith(f"{flag}="):
            return word.removeprefix(f"{flag}=")
        if word == flag:
            return "" if following.startswith("--") else following
    return ""


def _apart(flag: str, value: Value, given: str) -> str:
    """What may be meant by one word, such as `64,64`, `64x64` or 64, where a flag takes several words."""
    parts = re.split("[,x]", given)
    try:
        items = value.read(flag, ",".join(parts * value.count[0] if len(parts) == 1 else parts))
    except ConfigError:
        return ""
    return f". Did you mean '{flag} {' '.join(map(str, items))}'?"


def _metavar(value: Value, words: int | str | None) -> Any:
    names = {int: "INT", float: "NUMBER", bool: "{true,false}"}
    one = names.get(value.kind, "TEXT")
    if value.choices:
        listed = ",".join(map(str, value.choices))
        one = f"{{{listed}}}" if len(listed) <= _WIDE else "NAME"
    if isinstance(words, int):
        return (one,) * words
    return f"{one},..." if value.is_list and words is None else one


def _listed() -> list[str]:
    """The diagnostics, with a line on each."""
    wide = max(shutil.get_terminal_size().columns - 2, 40)
    lines = []
    for name in diagnostic_names():
        text = f"  {name:<18}{summary_of(name).replace('`', '')}"
        lines += textwrap.wrap(text, wide, subsequent_indent=" " * 20)
    return lines


def _told_range(value: Value) -> str:
    """The bounds of a number, without those that nobody comes near."""
    rule = value.rule
    if rule.most is None or rule.most < _UNTOLD:
        return value.range
    if rule.above is not None:
        return f"above {rule.above:g}"
    trivial = rule.least is None or rule.least <= 1 if value.kind is int else rule.least is None or rule.least < 0
    return "" if trivial else f"at least {rule.least:g}"


def _help(text: str, value: Value) -> str:
    notes = [_told_range(value)]
    if len(",".join(map(str, value.choices))) > _WIDE and str(value.choices[0]) not in text:
        notes.append(f"of {', '.join(map(str, value.choices))}")
    default = value.default
    if isinstance(default, tuple):
        default = "all of them" if default and default == value.choices else ",".join(map(str, default))
    if default not in (None, ""):
        plain = str(default).lower() if isinstance(default, bool) else default
        notes.append(f"default {plain:g}" if isinstance(default, float) else f"default {plain}")
    told = "; ".join(filter(None, notes))
    plain = re.sub(r"(?<!\.)\.$", "", text.replace("`", ""))
    return f"{plain}{f' ({told})' if told else ''}".replace("%", "%%")


def _usage(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest.upper()) if not action.option_strings else action.option_strings[0]
    if action.option_strings:
        return f"{name} {action.metavar}"
    return {"+": f"{name} [{name} ...]", "?": f"[{name}]"}.get(str(action.nargs), name)
