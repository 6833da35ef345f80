"""What users might type, drawn at random: valid, nearly valid and odd, for every flag of every command.

Flags and what they take come from the parsers, so that a new field is tried without a line here.
"""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import strategies as st

from running.conftest import NETWORKS, study_of
from visionscope.commands import COMMANDS
from visionscope.config import study_text
from visionscope.core.registry import diagnostic_names
from visionscope.core.values import Value
from visionscope.flags import Parser

MODEL = f"cnn={NETWORKS}:convolutions"
ODD = (
    *(
        "",
        " ",
        "-1",
        "-0",
        "0",
        "1",
        "2",
        "3",
        "1e3",
        "1e400",
        "-1e-3",
        "nan",
        "inf",
        "-inf",
        "٣",
        "1_000",
        "0x10",
        "2.0",
    ),
    *(
        "9" * 50,
        "9" * 5000,
        "1/16",
        "1/0",
        "null",
        "true",
        "yes",
        "[",
        "]",
        "{",
        "}",
        "[]",
        "{}",
        "[1, 2]",
        "!x",
        "@file",
    ),
    *(
        "a,b",
        ",",
        ",,",
        "a=b",
        "=",
        "?",
        "?a",
        "#",
        "&",
        "*",
        "\x1b[31mred",
        "caf\udce9",
        "a\nb",
        "a\0b",
        "\u202eabc",
        "é",
    ),
    *("x" * 300, "x" * 9000, "~", "~nobody", "../..", "/", "/dev/null", "/nowhere", ".", "%s", "%(x)s", "[red]x[/red]"),
    *(
        ":smile:",
        "all",
        "embedded",
        "cuda:99",
        "meta",
        "--",
        "-",
        "–x",
        "--images 3",
        "None",
        "True",
        "\\",
        "'",
        '"',
        "\t",
    ),
)
MODELS = (
    MODEL,
    "resnet_nano",
    "a=vit_nano",
    "vit_nano?drop_rate=0.1",
    "resnt18",
    f"{NETWORKS}:nothing",
    "hf:nobody/nothing",
)
odd = st.sampled_from(ODD) | st.text(max_size=12)


def mostly(valid: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Nine in ten from a strategy, the rest odd."""
    return st.integers(0, 9).flatmap(lambda number: odd if number == 0 else valid)


def texts_of(value: Value) -> st.SearchStrategy[str]:
    """Texts for a flag, most of them valid."""
    rule = value.rule
    one: st.SearchStrategy[Any] = st.sampled_from(["embedded", "cpu", "stem", "out", "name"])
    if value.choices:
        one = st.sampled_from(value.choices)
    elif value.kind is bool:
        one = st.sampled_from(["true", "false"])
    elif value.kind is int:
        one = st.integers(int(rule.least or 0), int(min(rule.most or 9, 50)))
    elif value.kind is float:
        least, most = rule.least if rule.least is not None else rule.above or 0, min(rule.most or rule.below or 1, 50)
        one = st.floats(least, most)
    valid = one.map(str)
    if value.is_list:
        valid = st.lists(valid, min_size=min(value.count[0], 4), max_size=min(value.count[1], 4)).map(",".join)
    return mostly(valid)


def parser_of(command: str) -> Parser:
    """A command's parser with the flags of all diagnostics, where it has such."""
    parser = Parser(prog=command)
    COMMANDS[command].flags(parser)
    if command == "diagnose":
        parser.add_diagnostics(diagnostic_names())
    return parser


PARSERS = {name: parser_of(name) for name in COMMANDS}


@st.composite
def command_lines(draw: Callable[..., Any]) -> list[str]:
    """A command with some of its flags."""
    command = draw(st.sampled_from(sorted(COMMANDS)))
    parser, words = PARSERS[command], [command]
    flags = [action for action in parser._actions if action.option_strings and action.dest != "help"]
    chosen = [action for action in flags if action.required and draw(st.integers(0, 9))]
    chosen += draw(st.lists(st.sampled_from(flags), max_size=4)) if flags else []
    groups = []
    for action in parser._actions:
        if not action.option_strings and draw(st.integers(0, 9)):
            name = (
                st.sampled_from(MODELS) if action.metavar == "MODEL" else st.sampled_from(["run", "study.yaml", "nano"])
            )
            groups.append([draw(mostly(name))])
    for action in chosen:
        flag = action.option_strings[0]
        if flag not in parser.values:
            groups.append([flag])
            continue
        count = action.nargs if isinstance(action.nargs, int) else 3 if action.nargs == "+" else 1
        value = parser.values[flag]
        kind = dataclasses.replace(value, hint=value.kind) if action.nargs else value
        given_words = [draw(texts_of(kind)) for _ in range(count)]
        groups.append([f"{flag}={given_words[0]}"] if count == 1 and draw(st.booleans()) else [flag, *given_words])
    if command == "diagnose":
        named = sorted({action.dest.partition(".")[0] for action in chosen if "." in action.dest})
        if named and draw(st.integers(0, 4)):
            groups.append(["--only", ",".join(named)])
    for group in draw(st.permutations(groups)):
        words += group
    change = draw(st.integers(0, 12))
    place = draw(st.integers(0, len(words)))
    if change == 0:
        words.insert(place, draw(odd))
    elif change == 1 and words:
        words.pop(min(place, len(words) - 1))
    elif change == 2:
        words += draw(st.sampled_from(groups or [["--help"]]))
    return words


@st.composite
def changed(draw: Callable[..., Any], content: Any) -> Any:
    """Plain values of which some were changed."""
    wild = (
        st.sampled_from([None, True, 0, -1, 2.5, 10**30, float("nan"), [], {}, [[1]], {"a": 1}, "", "a\0b", "x" * 300])
        | odd
    )
    if isinstance(content, dict) and content:
        chosen = draw(st.sets(st.sampled_from(sorted(content)), max_size=2))
        found = {name: draw(changed(value)) if name in chosen else value for name, value in content.items()}
        if not draw(st.integers(0, 9)):
            found.pop(draw(st.sampled_from(sorted(content))))
        if not draw(st.integers(0, 9)):
            found[draw(odd | st.sampled_from([*diagnostic_names(), "imags", "seed"]))] = draw(wild)
        return found
    if isinstance(content, list) and content and draw(st.booleans()):
        place = draw(st.integers(0, len(content) - 1))
        return [*content[:place], draw(changed(content[place])), *content[place + 1 :]]
    return draw(wild)


def damaged(draw: Callable[..., Any], content: bytes) -> bytes:
    """The content of a file of which some was cut off, changed or put in."""
    place = draw(st.integers(0, len(content)))
    some = draw(st.binary(max_size=8) | st.sampled_from([b"\0" * 9, b"&a [*a]", b"!!x", b"{" * 99, b"\xff", b"\t"]))
    return [content[:place], content[:place] + some + content[place:], some, b""][draw(st.integers(0, 3))]


@st.composite
def studies(draw: Callable[..., Any]) -> bytes:
    """A study file of which some was changed."""
    names = draw(st.sets(st.sampled_from(diagnostic_names()), min_size=1, max_size=2))
    valid = yaml.safe_load(study_text(study_of(only=sorted(names), size=[8, 8], mean=[0.5] * 3, random_weights=0)))
    content = yaml.safe_dump(draw(changed(valid)), allow_unicode=False).encode()
    return damaged(draw, content) if not draw(st.integers(0, 5)) else content


_LABELS = (*[""] * 8, "a=", "=", "\x1b=", "x" * 300 + "=")
_SOURCES = (*[""] * 8, "timm:", "torchvision:", "file:", "TIMM:")
_NAMES = ("resnet_nano", "vit_nano", f"{NETWORKS}:convolutions", f"{NETWORKS}:no", "x.py:f", "x.py")
_ARGUMENTS = (
    *[""] * 6,
    "?num_classes=5",
    "?num_classes=-5",
    "?a=b",
    "?in_chans=1",
    "?checkpoint_path=x",
    "?drop_rate=.1",
)
_FILES = (*[""] * 8, "@", "@/nowhere.pt", "@/dev/zero", "@a,b", "@#x", "@junk.pt", "@junk.safetensors")
_PARTS = (_LABELS, _SOURCES, _NAMES, _ARGUMENTS, _FILES)
specs = st.builds("".join, st.tuples(*(mostly(st.sampled_from(part)) for part in _PARTS)))
data = st.builds(
    "".join,
    st.tuples(
        mostly(st.sampled_from(["embedded", "torch/x", "hfds/", "hfds/..", "photos", "parquet", "wds/x", "x.py"])),
        mostly(st.sampled_from(["", "", ":test", ":train", ":nothing", ":", "::", "/"])),
    ),
)


@st.composite
def damages(draw: Callable[..., Any]) -> tuple[str, int, Callable[[bytes], bytes | None]]:
    """Which command looks at a run folder, which of its files is damaged, and how."""
    command = draw(st.sampled_from(["status", "status", "status", "report", "run"]))
    kind = draw(st.integers(0, 3))
    spoilt = draw(st.randoms(use_true_random=False))

    def change(content: bytes) -> bytes | None:
        if kind == 0:
            return None
        if kind == 1 and content[:1] == b"{":
            fields = json.loads(content)
            name = spoilt.choice(sorted(fields))
            fields[name] = spoilt.choice([None, 3, -1, "x", "../../x", [], {}, [[1]], 10**30, "\x1b[31m", True])
            if spoilt.random() < 0.3:
                del fields[name]
            return json.dumps(fields).encode()
        place = spoilt.randrange(len(content) + 1)
        return content[:place] + spoilt.randbytes(spoilt.randrange(9)) + (content[place:] if kind == 2 else b"")

    return command, draw(st.integers(0, 99)), change
