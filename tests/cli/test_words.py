"""Plain English in what users read: help pages, errors and notes. Patterns that crept in once stay out."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import visionscope
from visionscope.cli import main
from visionscope.commands import COMMANDS

PACKAGE = Path(visionscope.__file__).parent
ODD = {
    r"can't be told": "say what is unknown; between numbers: no significant difference",
    r"\b[Ww]hat asks for\b": "name it",
    r"\bmend\b": "fix",
    r"(?<!there )\b(is|are) no (YAML|JSON|UTF-8|path|recipe|logits?|arrays?|text|file|number)\b": "is not valid YAML",
    r"\b(to be|can't be|can be) had\b": "available",
    r"\b[Bb]y comma\b": "comma-separated",
    r"\b1 mini-batches\b": "1 mini-batch",
    r"\bthat of \S+ costs most": "Removing X costs most",
    r"; \S+ is none\b": "is not one",
    r"\bone word too many\b": "an argument too many",
    r"\b(isn't|aren't|is not|are not) asked for\b": "is not selected",
    r"\bthat is (not )?there\b": "existing; not installed",
    r"\btake (it|them|that|the link) away\b": "remove",
    r"\b(done|computed|made) anew\b": "again",
    r"\bnot (un|in)(usual|common|likely|frequent)": "no double negatives",
    r"\bwithout it \S+ by default\b": "by default",
}
OTHERS = ("report", "findings.py", "words.py")  # what the page says has tests of its own


def _texts(tree: ast.Module) -> Iterator[str]:
    """The texts of a module that are no documentation, with {} for what is put into them."""
    documentation, parts = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            documentation.add(id(node.body[0].value))  # type: ignore[attr-defined]
        if isinstance(node, ast.JoinedStr):
            parts.update(map(id, node.values))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(one.value) if isinstance(one, ast.Constant) else "{}" for one in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation | parts:
            yield node.value


def odd_in(text: str) -> list[str]:
    return [f"{found[0]!r}: {instead}" for odd, instead in ODD.items() if (found := re.search(odd, text))]


@pytest.mark.parametrize(
    "text",
    [
        "study.yaml is no YAML",
        "levels by comma: model",
        "its configuration can't be had",
        "What asks for predictions alone is measured",
        "'x': is one word too many",
    ],
)
def test_the_patterns_are_found(text: str) -> None:
    assert odd_in(text)


def test_errors_and_notes_read_plainly() -> None:
    paths = [path for path in PACKAGE.rglob("*.py") if not {*path.relative_to(PACKAGE).parts} & set(OTHERS)]
    assert len(paths) > 200
    found = {}
    for path in paths:
        for text in _texts(ast.parse(path.read_text(encoding="utf-8"))):
            if odd_in(text):
                found[f"{path.relative_to(PACKAGE)}: {text[:100]}"] = odd_in(text)
    assert found == {}


def test_help_reads_plainly(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    for command in [["--help"], *([name, "--help"] for name in COMMANDS), ["diagnose", "--help", "all"]]:
        assert main(command) == 0
        said = capsys.readouterr().out
        assert odd_in(said) == []
        assert "without it" not in said
        assert "likewise" not in said
