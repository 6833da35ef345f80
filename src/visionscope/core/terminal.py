"""What a terminal sees: the one home of all that is printed, where names from outside neither steer it nor style it.

Names of classes, files and labels, keys and messages of others are text: never markup, never emoji codes, never a
control character, and what the terminal's encoding lacks is escaped.
"""

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, TextIO

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.table import Table
from rich.text import Text

from visionscope.core.printable import printable

_WIDE = 250  # columns where the output is no terminal: wide enough for any table


def escape_what_streams_lack() -> None:
    """Lets stdout and stderr escape characters that their encoding can't hold, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # what stands in their place in tests and notebooks may not do so
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def say(line: str) -> None:
    """Writes a line to stdout, at once.

    Args:
        line: any text; its spaces are kept.
    """
    _write(sys.stdout, line)


def tell(line: str) -> None:
    """Writes a line to stderr, at once.

    Args:
        line: any text; its spaces are kept.
    """
    _write(sys.stderr, line)


def interrupted(line: str) -> None:
    """Writes a line to stderr, below the `^C` that the terminal shows; in vain where that is gone.

    Args:
        line: any text.
    """
    with suppress(OSError, ValueError):
        _write(sys.stderr, "")
        tell(line)


def ask(question: str) -> bool:
    """Asks on stderr for a yes.

    Args:
        question: in one line.
    """
    sys.stderr.write(f"{_one_line(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a table to stdout, as wide as the terminal.

    Args:
        title: above it; "" for none.
        columns: their heads.
        rows: one text for each column.
    """
    table = Table(title=_text(title) if title else None)
    for head in columns:
        table.add_column(_text(head))
    for row in rows:
        table.add_row(*map(_text, row))
    _console(sys.stdout).print(table)


def bars(*columns: ProgressColumn, shown: bool = True) -> Progress:
    """Bars of progress on stderr; silent where that is no terminal.

    Args:
        columns: of each bar; texts by `TaskText`.
        shown: False for none at all.
    """
    return Progress(*columns, console=_console(sys.stderr), disable=not shown or not sys.stderr.isatty())


def above(shown: Progress, line: str) -> None:
    """Writes a line above bars; nothing where they are silent.

    Args:
        shown: the bars.
        line: any text.
    """
    if not shown.disable:
        shown.console.print(_text(line))


class TaskText(ProgressColumn):
    """A text beside a bar.

    Args:
        form: a format of the fields of `task`, such as "{task.description}".
    """

    def __init__(self, form: str) -> None:
        self._form = form
        super().__init__()

    def render(self, task: Task) -> Text:
        """The text of a bar as it stands."""
        return _text(self._form.format(task=task))


def _console(stream: TextIO) -> Console:
    options: dict[str, Any] = {"markup": False, "highlight": False, "emoji": False}
    return Console(file=stream, width=None if stream.isatty() else _WIDE, **options)


def _text(words: str) -> Text:
    return Text(printable(words))


def _one_line(words: str) -> str:
    """As `printable`, but with all its spaces, which may align it with the line above."""
    return " ".join(map(printable, words.split(" ")))


def _write(stream: TextIO, line: str) -> None:
    stream.write(f"{_one_line(line)}\n")
    stream.flush()
