"""What one diagnostic measured, as a notebook shows it: a line and a small table, never a schema."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from visionscope.core.sample import SampleLike
from visionscope.core.table import tidy

if TYPE_CHECKING:
    import pandas as pd

Images: TypeAlias = "Tensor | np.ndarray[Any, Any] | str | SampleLike | DataLoader[Any] | Dataset[Any] | Sequence[Any]"
"""Images in any form that `measure` takes."""
Labels: TypeAlias = "Tensor | np.ndarray[Any, Any] | Sequence[int]"
"""Class indices (n,)."""

_ROWS, _WIDE = 10, 120  # of a table in text
_STYLE = "text-align: right; padding: 2px 8px"
_COUNTED = {"point": "point", "point_x": "point", "mini_batch": "mini-batch"}


@dataclasses.dataclass(frozen=True, repr=False)
class Result:
    """What one diagnostic measured.

    Attributes:
        diagnostic: the question, with its parameters.
        table: one row per number or curve point, as a pyarrow table; its schema tells units and meanings.
        images: how many images were looked at.
    """

    diagnostic: Any
    table: pa.Table
    images: int

    def __repr__(self) -> str:
        head, rows, more = self._shown()
        if len(rows) == 2:  # one row reads better as a list
            rows = list(zip(*rows, strict=True))
        columns = list(zip(*rows, strict=True))
        widths = [max(map(len, column)) for column in columns]
        fitting = max(1, sum(total <= _WIDE for total in accumulate(width + 2 for width in widths)))
        if fitting < len(columns):
            more = f"{_counted(len(columns) - fitting, 'further column')}; {more}"
        lines = ["  ".join(map(str.ljust, row[:fitting], widths)).rstrip() for row in rows]
        return "\n".join([head, *lines, more])

    def _repr_html_(self) -> str:
        head, (titles, *rows), more = self._shown()
        top = _html_row("th", titles)
        body = "".join(_html_row("td", row) for row in rows)
        table = f"<table><thead>{top}</thead><tbody>{body}</tbody></table>"
        return f"<p><b>{html.escape(head)}</b></p>{table}<p>{html.escape(more)}</p>"

    def to_pandas(self) -> pd.DataFrame:
        """The table as a pandas DataFrame."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    def summary(self) -> pd.DataFrame:
        """What the rows come to, where the diagnostic says so, else the rows, as a pandas DataFrame."""
        frame: pd.DataFrame = self._summary().to_pandas()
        return frame

    def figure(self) -> Any:
        """The diagnostic's figure as an interactive `plotly.graph_objects.Figure`."""
        from visionscope.report.plotly import to_plotly

        return to_plotly(self.diagnostic.figure(self.table))

    def paper_figure(self) -> Any:
        """The diagnostic's figure as a `matplotlib.figure.Figure` in a paper's style."""
        from visionscope.report.matplotlib import to_matplotlib

        return to_matplotlib(self.diagnostic.figure(self.table))

    def _summary(self) -> pa.Table:
        found = self.diagnostic.summary(self.table) if hasattr(self.diagnostic, "summary") else self.table
        return tidy(found)

    def _shown(self) -> tuple[str, list[Sequence[str]], str]:
        """The line above the table, its titles and rows as texts, and what is left out."""
        from visionscope.report.tables import shown_table

        table = self._summary()
        shown = shown_table({"summary": table.slice(0, _ROWS), "rows": self.table})
        models = ", ".join(dict.fromkeys(self.table["model"].to_pylist()))
        counts = [
            _counted(len(set(self.table[name].to_pylist())), word)
            for name, word in _COUNTED.items()
            if name in self.table.column_names
        ]
        head = f"{self.diagnostic.name} of {models}: {', '.join([*counts, _counted(self.images, 'image')])}"
        if shown is None:
            return head, [()], "no rows"
        rows: list[Sequence[str]] = [
            tuple(title for title, _, _ in shown.columns),
            *(cells for _, cells, _ in shown.rows),
        ]
        left = table.num_rows - len(shown.rows)
        more = f"{_counted(left, 'further row')}; " if left > 0 else ""
        return head, rows, f"{more}.summary() and .to_pandas() give DataFrames, .figure() draws"


def _html_row(kind: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f'<{kind} style="{_STYLE}">{html.escape(cell)}</{kind}>' for cell in cells) + "</tr>"


def _counted(count: int, word: str) -> str:
    plural = f"{word}es" if word.endswith("ch") else f"{word}s"
    return f"{count:,} {word if count == 1 else plural}"
