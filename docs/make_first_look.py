"""Runs docs/first_look.ipynb anew and keeps its outputs: `python docs/make_first_look.py`.

Does what Jupyter does with these cells, so that no Jupyter is needed: the value of a cell's last expression is kept, a
matplotlib figure as a picture, and so is what a cell prints. Lines for Jupyter alone (`%matplotlib inline`) are passed
over.
"""

import ast
import base64
import contextlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

NOTEBOOK = Path(__file__).with_name("first_look.ipynb")
DOTS_PER_INCH = 120
COLOURS = 128


def executed(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """The notebook with the outputs of its cells, run from top to bottom in one namespace.

    Args:
        notebook: in the format nbformat 4.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    cells, count = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            outputs = list(_outputs("".join(cell["source"]), names, count))
            cell = {**cell, "execution_count": count, "outputs": outputs}
        cells.append(cell)
    return {**notebook, "cells": cells}


def _outputs(source: str, names: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
    lines = (line for line in source.splitlines() if not line.startswith("%"))
    body = ast.parse("\n".join(lines)).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    said = io.StringIO()
    value = None
    with contextlib.redirect_stdout(said):
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    if said.getvalue():
        yield {"output_type": "stream", "name": "stdout", "text": _lines(said.getvalue())}
    if value is not None:
        yield {"output_type": "execute_result", "execution_count": count, "metadata": {}, "data": _forms(value)}


def _forms(value: Any) -> dict[str, Any]:
    """A value as text, and as HTML or as a picture where it has such a form."""
    forms: dict[str, Any] = {"text/plain": _lines(repr(value))}
    if isinstance(value, Figure):
        forms["image/png"] = base64.b64encode(_png(value)).decode()
    elif hasattr(value, "_repr_html_"):
        forms["text/html"] = _lines(value._repr_html_())
    return forms


def _png(figure: Figure) -> bytes:
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight")
    few = Image.open(drawn).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(small, "PNG", optimize=True)
    return small.getvalue()


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main() -> None:
    """Runs the notebook in an empty folder and writes it back."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        done = executed(notebook)
    NOTEBOOK.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
