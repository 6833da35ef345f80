"""YAML files and command-line flags become a study: the same keys, the same rules, one line for whatever is wrong."""

import dataclasses
import functools
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace

from visionscope.core.registry import diagnostic_class, diagnostic_names
from visionscope.errors import ConfigError, nearest
from visionscope.running.study import DEFAULT_DIAGNOSTICS, Study

_HELP = {
    "data": "folder of photos, class folders or Parquet files; torch/NAME; hfds/NAME; embedded, drawn shapes; [:split]",
    "only": "diagnostics by comma, or all; without it fourier,variance,similarity",
    "images": "how many images of the data are looked at",
    "seed": "draws the sample",
    "batch": "images per forward pass; changes speed and memory only",
    "device": "auto, cpu, cuda, cuda:1, ...",
    "precision": "fp32, fp64 or bf16",
    "random_weights": "seed of random weights instead of pretrained ones",
    "n_forward": "passes with dropout whose mean is the prediction, from 2 on; for what asks for predictions alone",
    "size": "height and width in pixels instead of the model's own",
    "mean": "per channel, of pixels in [0, 1], instead of the model's own",
    "std": "per channel instead of the model's own",
    "output": "which output is the logits, by name or index, where a network returns several",
    "output_is": "probabilities where a network ends in a softmax or sigmoid; logits where that is wrongly supposed",
    "points": "names of points by comma instead of those that tracing chooses",
    "augmentation": "of training images, which curvature is measured on: strong (the paper's), weak or none",
    "label_smoothing": "of the loss whose curvature is measured; without it 0.1 with strong augmentation, else 0",
    "weight_decay": "of that loss",
    "decays": "which parameters do in that loss: all, or matrices (of two or more dimensions)",
    "out": "run folder; the same command resumes it",
}
_TEXTS = ("data", "only", "device", "precision", "output", "output_is", "points", "augmentation", "decays", "out")
_INTEGERS = ("images", "batch", "seed", "random_weights", "n_forward")
_FLOATS = ("label_smoothing", "weight_decay")
_REQUIRED = ("models", "data")


class Parser(ArgumentParser):
    """An argument parser whose errors are `ConfigError`s of one line."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(exit_on_error=False, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises what argparse would print, as one line with the nearest valid flag."""
        raise ConfigError(_one_line(message, self.flags())) from ex

    def flags(self) -> list[str]:
        """Every flag that this parser knows, for the nearest one in a message."""
        return [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]


def add_study_flags(parser: Parser, *, models: bool) -> None:
    """Adds the flags of a study, and `--DIAGNOSTIC.FIELD` for every parameter of every diagnostic.

    Args:
        parser: receives them.
        models: whether models are named as positional arguments.
    """
    if models:
        parser.add_argument(
            "models", nargs="+", type=str, metavar="MODEL", help="[LABEL=]SPEC[?key=value][@FILE[#PART][,FILE...]]"
        )
    defaults = {field.name: field.default for field in dataclasses.fields(Study)}
    types: dict[str, dict[str, Any]] = {
        **{name: {"type": str} for name in _TEXTS},
        **{name: {"type": int} for name in _INTEGERS},
        **{name: {"type": float} for name in _FLOATS},
        **{name: {"type": float, "nargs": "+"} for name in ("mean", "std")},
        "size": {"type": int, "nargs": 2, "metavar": ("H", "W")},
    }
    for name, text in _HELP.items():
        default = defaults.get(name)
        known = None if default is dataclasses.MISSING or default == () else default
        parser.add_argument(f"--{name.replace('_', '-')}", default=known, help=text, **types[name])
    for name in diagnostic_names():
        chosen = diagnostic_class(name)
        group = parser.add_argument_group(f"parameters of {name}")
        hints, texts = typing.get_type_hints(chosen), meanings(chosen)
        for field in dataclasses.fields(chosen):
            text, hint = texts.get(field.name, ""), hints[field.name]
            if typing.get_origin(hint) is tuple:
                hint, text = _by_comma(typing.get_args(hint)[0]), f"{text} Separated by commas."
            group.add_argument(f"--{name}.{field.name}", type=hint, default=field.default, help=text)


def _by_comma(kind: type) -> Callable[[Any], tuple[Any, ...]]:
    """Reads `a,b`, or `[a, b]` as YAML has it; what is no number stays text, and is refused with the field's name."""

    def read(given: Any) -> tuple[Any, ...]:
        if not isinstance(given, str):
            return tuple(given)
        items = [item.strip().strip("'\"") for item in given.strip().strip("[]()").split(",")]
        return tuple(item if kind is str else yaml.safe_load(item) for item in items if item)

    return read


def study_from_flags(parsed: Namespace) -> Study:
    """The study that parsed flags of `add_study_flags` describe.

    Args:
        parsed: what the parser returned.

    Raises:
        ConfigError: for a value that breaks its rule.
    """
    values = {name: value for name, value in parsed.as_dict().items() if value is not None}
    keys = _keys()
    return study_from({name: value for name, value in values.items() if name in keys})


def study_from_file(path: Path | str, **changes: Any) -> Study:
    """The study in a YAML file.

    Args:
        path: the file.
        **changes: values that replace the file's, by key; None leaves the file's.

    Raises:
        ConfigError: when the file can't be read, has an unknown key, or a value that breaks its rule.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"study: {path} can't be read ({getattr(error, 'strerror', None) or error})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"study: {path} is not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"study: {path} must hold keys and values such as 'models: [resnet18]'")
    return study_from({**values, **{name: value for name, value in changes.items() if value is not None}})


def study_from(values: Mapping[str, Any]) -> Study:
    """The study that plain values describe, as a YAML file holds them.

    Args:
        values: by key: the attributes of `Study`, `only` and one mapping of fields per diagnostic.

    Raises:
        ConfigError: for an unknown or missing key, or a value that breaks its rule.
    """
    keys = _keys()
    for name in values:
        if name not in keys:
            raise ConfigError(f"study: there is no key {name!r}.{nearest(str(name), keys)}")
    for name in _REQUIRED:
        if not values.get(name):
            raise ConfigError(f"{name}: must be given" + (", such as --data photos/" if name == "data" else ""))
    checked = _parsed({key: value for key, value in values.items() if key == "models" or key in _HELP})
    names = _only(checked.pop("only", None))
    diagnostics = tuple(diagnostic_of(name, values.get(name)) for name in names)
    return Study(diagnostics=diagnostics, **checked)


def diagnostic_of(name: str, fields: Mapping[str, Any] | None) -> Any:
    """A diagnostic with its parameters checked.

    Args:
        name: as the registry lists it.
        fields: values of its fields; the others keep their defaults.

    Raises:
        ConfigError: for an unknown diagnostic or field, or a value that breaks its rule.
    """
    chosen = diagnostic_class(name)
    known = [field.name for field in dataclasses.fields(chosen)]
    if fields is not None and not isinstance(fields, Mapping):
        raise ConfigError(f"{name}: must hold fields such as '{known[0] if known else 'field'}: value'; got {fields!r}")
    for field in fields or {}:
        if field not in known:
            raise ConfigError(f"{name}.{field}: {name} has no such field.{nearest(str(field), known)}")
    parser = _parser_of(chosen, name)
    return parser.instantiate(parser.parse_object({name: dict(fields or {})}))[name]


@functools.cache
def _parser_of(chosen: type, name: str) -> Parser:
    parser = Parser()
    parser.add_class_arguments(chosen, name)
    return parser


def study_text(study: Study) -> str:
    """The study as YAML, every value written out; `study_from_file` reads it back as an equal study."""
    head = "# What was asked; `visionscope run` with this file goes on where it stopped.\n"
    return head + yaml.safe_dump(study.plain(), sort_keys=False, allow_unicode=True)


def _parsed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The study's own values with their types checked and lists made tuples."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        if name in ("models", "points", "only"):
            result[name] = _names(name, value)
        elif name in ("size", "mean", "std"):
            result[name] = _numbers(name, value, int if name == "size" else float)
        elif name in _INTEGERS + _FLOATS:
            result[name] = _number(name, value, int if name in _INTEGERS else float)
        elif isinstance(value, str):
            result[name] = value
        elif name == "output" and isinstance(value, int) and not isinstance(value, bool):
            result[name] = str(value)
        else:
            raise ConfigError(f"{name}: must be text; got {value!r}")
    return result


def _names(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value] if name == "models" else [part.strip() for part in value.split(",")]
    if not isinstance(value, Sequence) or not all(isinstance(part, str) and part for part in value):
        raise ConfigError(f"{name}: must be a list of names; got {value!r}")
    return tuple(value)


def _numbers(name: str, value: Any, kind: type) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ConfigError(f"{name}: must be a list of numbers; got {value!r}")
    return tuple(_number(name, part, kind) for part in value)


def _number(name: str, value: Any, kind: type) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
        raise ConfigError(f"{name}: must be {'an integer' if kind is int else 'a number'}; got {value!r}")
    return kind(value)


def _only(names: tuple[str, ...] | None) -> tuple[str, ...]:
    if names == ("all",):
        return diagnostic_names()
    chosen, known = names or DEFAULT_DIAGNOSTICS, diagnostic_names()
    for name in chosen:
        if name not in known:
            raise ConfigError(f"only: there is no diagnostic {name!r}.{nearest(name, known)}")
    return chosen


def _keys() -> tuple[str, ...]:
    return ("models", *_HELP, *diagnostic_names())


def meanings(described: type) -> dict[str, str]:
    """What the `Attributes:` section of a docstring says, by attribute."""
    _, _, section = inspect.cleandoc(described.__doc__ or "").partition("Attributes:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section.split("\n\n")[0], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _one_line(message: str, flags: Sequence[str]) -> str:
    """What jsonargparse says over several lines, as parameter, rule, value and nearest valid choice."""
    text = " ".join(message.split())
    missing = re.search(r"arguments are required: (?:\w+\.)?(.+)$", text)
    if missing:
        return f"{missing[1]}: must be given"
    unknown = re.search(r"[Uu]nrecognized arguments: (--[^\s=]+)", text)
    if unknown:
        return f"{unknown[1]}: there is no such flag.{nearest(unknown[1], flags)}"
    wrong = re.search(r'[Pp]arser key "([^"]+)":? (?:element \d+: )?Expected an? (.+?)\. Got value: (.*)$', text)
    optional = re.search(
        r'[Pp]arser key "([^"]+)":? Does not validate .* Subtypes: \[(.+?)\] Errors: .* value: (.*)$', text
    )
    if optional:
        expected = optional[2].replace(", <class 'NoneType'>", "").removeprefix("typing.")
        return f"{optional[1]}: {_rule(expected)}; got {optional[3]!r}.{_choice(expected, optional[3])}".rstrip(".")
    if wrong:
        return f"{wrong[1]}: {_rule(wrong[2])}; got {wrong[3]!r}.{_choice(wrong[2], wrong[3])}".rstrip(".")
    return text


def _rule(expected: str) -> str:
    choices = re.findall(r"'([^']+)'", expected) if "Literal" in expected else []
    if choices:
        return f"must be one of {', '.join(choices)}"
    plain = {"<class 'int'>": "an integer", "<class 'float'>": "a number", "<class 'bool'>": "true or false"}
    return f"must be {plain.get(expected, expected)}"


def _choice(expected: str, value: str) -> str:
    choices = re.findall(r"'([^']+)'", expected) if "Literal" in expected else []
    return nearest(value, choices) if choices else ""
