"""Directives that write tables from the code, so that the pages can't fall behind it."""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from visionscope.claims.claim import Claim
from visionscope.claims.networks import network_claims
from visionscope.claims.over_networks import NetworkVerdict
from visionscope.claims.registry import paper_claims
from visionscope.claims.verdict import Verdict
from visionscope.core.registry import diagnostic_class, diagnostic_names
from visionscope.core.rules import values_of
from visionscope.core.table import LEADING, schema_of, tidy, told_of, with_leading_of
from visionscope.tracing.exceptions import EXCEPTIONS

_AFTER = ", after model, data, weights, precision and job"
_STEPS = ("summary", "comparisons", "outcomes")


class Diagnostics(SphinxDirective):
    """Every diagnostic of the registry: its documentation, its parameters, the columns of its tables."""

    def run(self) -> list[nodes.Node]:
        """Writes a section per diagnostic."""
        sections: list[nodes.Node] = []
        for name in diagnostic_names():
            section = nodes.section(ids=[nodes.make_id(f"diagnostic {name}")])
            section += nodes.title(text=name)
            chosen = diagnostic_class(name)
            lines = [f".. autoclass:: {chosen.__module__}.{chosen.__qualname__}", "   :no-index:", ""]
            section += self.parse_text_to_nodes("\n".join(lines))
            fields = list(_parameters(chosen))
            if fields:
                section += nodes.paragraph(text="Parameters, as flags; a study file has the same names.")
                section += _table(("flag", "must be", "default"), fields, code=(0, 2))
            for file, table in tables_of(chosen).items():
                after = _AFTER if "job" in table.column_names else ""
                section += nodes.paragraph("", "", nodes.literal(text=f"tables/{file}"), nodes.Text(f"{after}:"))
                section += _table(("column", "type", "unit", "meaning"), _columns(tidy(table).schema), code=(0, 1))
            packed = [field.name for field in schema_of(chosen.row) if told_of(field).get("packed")]
            if packed:
                section += nodes.paragraph(text=f"Only stored parts hold, packed: {', '.join(packed)}.")
            sections.append(section)
        return sections


class Exceptions(SphinxDirective):
    """The table of class names whose kind is not told by their operations."""

    def run(self) -> list[nodes.Node]:
        """Writes the table."""
        rows = [(name, str(row.kind), row.reason) for name, row in EXCEPTIONS.items()]
        return [_table(("class", "kind", "why its operations don't tell"), rows, code=(0, 1))]


class Claims(SphinxDirective):
    """The paper's claims, as their files state them."""

    def run(self) -> list[nodes.Node]:
        """Writes a table of what is claimed and where, and one of how it is measured."""
        claims = paper_claims()
        stated = [(str(one.number), one.name, f"{one.text}.", one.family, one.source) for one in claims]
        measured = [(one.name, measure_of(one), _bound(one), one.reason, _published(one)) for one in claims]
        return [
            _table(("", "name", "claim", "family", "where"), stated, code=(1,)),
            _table(("name", "one number per seed", "holds", "why that bound", "published"), measured, code=(0,)),
        ]


class NetworkClaims(SphinxDirective):
    """The claims over networks that others trained."""

    def run(self) -> list[nodes.Node]:
        """Writes a table of what is claimed of which networks."""
        rows = [(one.name, f"{one.text}.", one.over, f"{one.meaning}.") for one in network_claims()]
        return [_table(("name", "claim", "networks", "numbers"), rows, code=(0,))]


class Verdicts(SphinxDirective):
    """The columns of the table of verdicts."""

    row: type = Verdict

    def run(self) -> list[nodes.Node]:
        """Writes the table."""
        return [_table(("column", "type", "unit", "meaning"), _columns(schema_of(self.row)), code=(0, 1))]


class NetworkVerdicts(Verdicts):
    """The columns of the table of verdicts over networks."""

    row = NetworkVerdict


def measure_of(claim: Claim) -> str:
    """What a claim's number is, and of which trainings.

    Args:
        claim: one of the paper's.
    """
    variants = ", ".join(f"`{name}`" for name in claim.variants)
    told = f"{claim.meaning[0].upper()}{claim.meaning[1:]} ({variants})."
    if claim.beside:
        told += f" Beside it, deciding nothing: {claim.beside.meaning}, in {claim.beside.unit}."
    return told


def _bound(claim: Claim) -> str:
    side, sign = ("above", "") if claim.direction > 0 else ("below", "-")
    return f"{side} 0; matters from {sign}{claim.smallest:g} {claim.unit}"


def _published(claim: Claim) -> str:
    own = f"{claim.published.value:.3g} ({claim.published.data}: {claim.published.of})" if claim.published else ""
    return own + (f"; {claim.beside.name} {claim.beside.published.value:.3g}" if claim.beside else "")


def _parameters(chosen: type) -> Iterable[Sequence[str]]:
    for name, value in values_of(chosen).items():
        yield f"--{chosen.name}.{name}", value.words, repr(value.default)


def tables_of(chosen: type) -> dict[str, pa.Table]:
    """The tables of a diagnostic by the names of their files, without a row: what it makes of no results.

    Args:
        chosen: its class.
    """
    rows = with_leading_of(schema_of(chosen.row).empty_table(), [])
    tables = {f"{chosen.name}.csv": rows}
    for step in _STEPS:
        if hasattr(chosen, step):
            ending = "parquet" if step == "outcomes" else "csv"
            tables[f"{chosen.name}_{step}.{ending}"] = getattr(chosen(), step)(rows)
    if hasattr(chosen, "between_row"):
        tables[f"{chosen.name}_between.csv"] = schema_of(chosen.between_row).empty_table()
    return tables


def _columns(schema: pa.Schema) -> Iterable[Sequence[str]]:
    """Those after the leading ones; a share is stored as one, and shown in percent."""
    for field in schema:
        if field.name not in LEADING:
            told = told_of(field)
            unit = "share, shown in %" if "percent" in told else told.get("unit", "")
            yield field.name, f"{field.type}{' or null' if field.nullable else ''}", unit, told.get("meaning", "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], code: Sequence[int]) -> nodes.table:
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    top, body = nodes.thead(), nodes.tbody()
    top += _row(head, ())
    for row in rows:
        body += _row(row, code)
    group += [top, body]
    table = nodes.table()
    table += group
    return table


def _row(cells: Sequence[str], code: Sequence[int]) -> nodes.row:
    row = nodes.row()
    for place, text in enumerate(cells):
        # Meanings write `names` in backticks, as docstrings do.
        words = enumerate(["", text] if place in code else text.split("`"))
        inner = [nodes.literal(text=word) if number % 2 else nodes.Text(word) for number, word in words]
        row += nodes.entry("", nodes.paragraph("", "", *inner))
    return row


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directives."""
    app.add_directive("diagnostics", Diagnostics)
    app.add_directive("claims", Claims)
    app.add_directive("verdicts", Verdicts)
    app.add_directive("network-claims", NetworkClaims)
    app.add_directive("network-verdicts", NetworkVerdicts)
    app.add_directive("kind-exceptions", Exceptions)
    return {"parallel_read_safe": True}
