"""What a terminal sees: text as text, whatever it looks like."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.progress import BarColumn

from visionscope.core import display, terminal

HOSTILE = (
    "[/x]",
    "[bold]total[/bold]",
    "[link=http://x]y",
    ":smile:",
    "\x1b[31mred\x1b[0m",
    "a\nb",
    "\udcff",
    "\u202eabc",
    "\x9b2J",
)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _is_plain(text: str) -> None:
    assert all(one.isprintable() or one == "\n" for one in text), repr(text)
    assert "red" not in text or "\\x1b[31mred\\x1b[0m" in text
    text.encode()


def test_a_table_shows_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    display.show_table("[/title] :smile:", ("[/head]", "count"), [(name, "1") for name in HOSTILE])
    told = capsys.readouterr().out
    _is_plain(told)
    for name in ("[/title] :smile:", "[/head]", "[/x]", "[bold]total[/bold]", "[link=http://x]y", ":smile:", "a b"):
        assert name in told
    assert len(told.splitlines()) == 5 + len(HOSTILE)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_line_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(f"  model   {name}")
    terminal.tell(f"visionscope: {name}")
    told = capsys.readouterr()
    assert told.out.startswith("  model   ")
    for text in told:
        assert text.count("\n") == 1
        _is_plain(text)


def test_bars_show_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    shown = display.bars(display.TaskText("{task.description}"), BarColumn(), display.TaskText("{task.fields[unit]}"))
    with shown:
        for name in HOSTILE:
            shown.add_task(f"{name} fourier", total=2, unit=name)
        display.above(shown, "[/x] above \x1b[31mred")
    drawn = screen.getvalue()
    assert "[/x] above \\x1b[31mred" in drawn
    assert "[/x] fourier" in drawn
    assert "[bold]total[/bold] fourier" in drawn
    assert "\x1b[31mred" not in drawn
    assert "\x9b" not in drawn


def test_bars_are_silent_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    shown = display.bars(BarColumn())
    with shown:
        shown.add_task("work", total=1)
        display.above(shown, "a line")
    assert capsys.readouterr() == ("", "")


def test_a_question_takes_yes_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for answer, meant in (("y\n", True), ("Yes\n", True), ("\n", False), ("no\n", False), ("", False)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        assert terminal.ask("Start \x1b[2J?") is meant
    assert capsys.readouterr().err == "Start \\x1b[2J? [y/N] " * 5


@pytest.mark.parametrize(
    "settings", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_what_the_encoding_lacks_is_escaped(settings: dict[str, str], tmp_path: Path) -> None:
    program = (
        "from visionscope.core import display, terminal as t; t.escape_what_streams_lack(); "
        "t.say('caf\\xe9 \\udcff'); t.tell('caf\\xe9'); display.show_table('caf\\xe9', ['\\xe9'], [['\\u4e00']])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **settings}, capture_output=True, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"caf\\xe9 \\udcff")
    assert done.stderr.strip() == b"caf\\xe9"
