"""Tables and bars on a terminal, in rich's words but without its markup: names from outside are text alone."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Self, TextIO

from rich.console import Console
from rich.live import Live
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
    _console(sys.stdout).print(_table(title, columns, rows))


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
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
    return Progress(*columns, console=_console(sys.stderr), disable=not shown or not sys.stderr.isatty())


class LiveTable:
    """A table on stderr that changes in place; silent where that is no terminal.

    Attributes:
        shown: whether there is a terminal.
    """

    def __init__(self) -> None:
        self.shown = sys.stderr.isatty()
        self._live = Live(console=_console(sys.stderr), auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self.shown:
            self._live.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._live.stop()

    def update(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Shows another state of it.

        Args:
            title: above it.
            columns: their heads.
            rows: one text for each column.
        """
        if self.shown:
            self._live.update(_table(title, columns, rows), refresh=True)


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
