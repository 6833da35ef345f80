"""Notebooks as pages, with the outputs that they hold; nothing is run."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx

_FENCE = "`" * 8


class NotebookParser(MystParser):
    """Reads `.ipynb` as the Markdown that its cells come to."""

    supported = ("ipynb",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Fills the document.

        Args:
            inputstring: the notebook's JSON.
            document: to be filled.
        """
        super().parse(markdown_of(json.loads(inputstring)), document)


def markdown_of(notebook: Mapping[str, Any]) -> str:
    """Text, code and outputs in their order, as MyST Markdown.

    Args:
        notebook: in the format nbformat 4.
    """
    blocks: list[str] = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            blocks.append(text)
        else:
            blocks.append(_block("python", text))
            blocks += _shown(cell["outputs"])
    return "\n\n".join(blocks)


def _shown(outputs: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """The richest form of each output."""
    for output in outputs:
        if output["output_type"] == "stream":
            yield _block("text", "".join(output["text"]))
            continue
        data = {kind: "".join(text) for kind, text in output["data"].items()}
        if "image/png" in data:
            picture = "".join(data["image/png"].split())
            alt = data["text/plain"].replace('"', "").strip("<>")
            yield _block("{raw} html", f'<p><img alt="{alt}" src="data:image/png;base64,{picture}"></p>')
        elif "text/html" in data:
            yield _block("{raw} html", f'<div style="overflow-x: auto">{data["text/html"]}</div>')
        else:
            yield _block("text", data["text/plain"])


def _block(kind: str, text: str) -> str:
    return f"{_FENCE}{kind}\n{text}\n{_FENCE}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers notebooks as sources of pages."""
    app.add_source_suffix(".ipynb", "ipynb")
    app.add_source_parser(NotebookParser)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
