"""Formulas as MathML, which browsers draw by themselves: the pages need no network."""

import html
import re
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

_ACCENT = re.compile(r"(\\(?:hat|tilde|bar)) (\w)_")
_LOGGER = logging.getLogger(__name__)


def _inline(writer: Any, node: nodes.Element) -> None:
    writer.body.append(_drawn(node, as_block=False))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.Element) -> None:
    writer.body.append(writer.starttag(node, "div", STYLE="padding: 0.4em 0"))
    writer.body.append(_drawn(node, as_block=True) + "</div>\n")
    raise nodes.SkipNode


def _drawn(node: nodes.Element, *, as_block: bool) -> str:
    # docutils would set an index below the accent instead of beside the letter.
    formula = _ACCENT.sub(r"\1 \2 {}_", node.astext())
    try:
        return str(latex2mathml.tex2mathml(formula, as_block=as_block))
    except latex2mathml.MathError as error:
        _LOGGER.warning("%s in %s", error, node.astext(), location=node)
        return html.escape(node.astext())


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the renderer; `html_math_renderer` chooses it."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
