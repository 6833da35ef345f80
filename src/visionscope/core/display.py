"""Tables and bars on a terminal, in rich's words but without its markup: names from outside are text alone."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task
from rich.table import Table
from rich.text import Text

from visionscope.core.printable import printable

_WIDE = 250  # columns where the output is no terminal: wide enough for any table


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a table to stdout, as wide as the terminal.

    Args:
        title: above it; "" for none.
        columns: their heads.
        rows: one text for each column.
    """
    console_of(sys.stdout).print(table_of(title, columns, rows))


def table_of(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table as it is shown.

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
    return table


def bars(*columns: ProgressColumn, shown: bool = True) -> Progress:
    """Bars of progress on stderr; silent where that is no terminal.

    Args:
        columns: of each bar; texts by `TaskText`.
        shown: False for none at all.
    """
    return Progress(*columns, console=console_of(sys.stderr), disable=not shown or not sys.stderr.isatty())


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


def console_of(stream: TextIO) -> Console:
    """What writes to a stream, without markup.

    Args:
        stream: stdout or stderr.
    """
    options: dict[str, Any] = {"markup": False, "highlight": False, "emoji": False}
    return Console(file=stream, width=None if stream.isatty() else _WIDE, **options)


def _text(words: str) -> Text:
    return Text(printable(words))
