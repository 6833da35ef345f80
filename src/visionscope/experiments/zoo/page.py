"""The page of a list of networks: verdicts first, then a figure per claim, what is missing, what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from visionscope.claims.over_networks import NetworkVerdict, structure_of
from visionscope.core.failures import Failures
from visionscope.core.figure import Figure
from visionscope.core.finding import grouped, number
from visionscope.experiments.catalogue import figure_named
from visionscope.experiments.page import commands_of, counted_verdicts, drawn, write_rendered, write_verdicts
from visionscope.experiments.tables import FAILURES
from visionscope.experiments.zoo.figures import zoo_figure
from visionscope.experiments.zoo.plan import ZooPlan
from visionscope.experiments.zoo.results import NETWORKS

_LABELLED = ("lesion_summary", "frequency_noise_summary")


def write_zoo_page(
    plan: ZooPlan, tables: Mapping[str, pd.DataFrame], verdicts: Sequence[NetworkVerdict], *, left: int
) -> Path:
    """Writes RUN/experiment.html, its figures as PDF and PNG, and the verdicts as tables.

    Args:
        plan: the networks.
        tables: of them, by name.
        verdicts: on the claims of the plan, in their order.
        left: networks that are still to be measured.

    Raises:
        StoreError: when a file can't be written.
    """
    run, failures = plan.run, Failures()
    sections, panels = drawn(run, _figures(plan, tables, verdicts, failures), failures)
    write_verdicts(run / "tables", verdicts)
    shown = {one["name"] for one in sections}
    links = {claim.name: f"figure_{figure_named(claim.claim.figure).name}" for claim in plan.zoo.claims}
    measured = tables[NETWORKS] if NETWORKS in tables else pd.DataFrame(columns=["network", "family"])
    return write_rendered(
        run,
        "zoo.html.jinja",
        panels,
        title=plan.zoo.title,
        scale=f"{Path(plan.zoo.data).name}, {grouped(plan.images)} images; networks as others trained them",
        facts=[
            f"{len(measured)} of {len(plan.networks)} networks",
            f"{measured['family'].nunique()} families",
            *counted_verdicts(one.verdict for one in verdicts),
        ],
        left=left,
        undrawn=[failure.text for failure in failures.all],
        verdicts=[_row(one, links[one.claim] if links[one.claim] in shown else "") for one in verdicts],
        notes=[f"{one.text}: {said}" for one in verdicts if (said := "; ".join(filter(None, (one.note, one.missing))))],
        sections=sections,
        failures=[{**row, "network": row["variant"]} for row in tables[FAILURES].to_dict("records")],
        networks=list(_networks(measured, tables)),
        commands=commands_of(run, plan.zoo.values),
    )


def _figures(
    plan: ZooPlan, tables: Mapping[str, pd.DataFrame], verdicts: Sequence[NetworkVerdict], failures: Failures
) -> Iterator[tuple[Figure, list[str]]]:
    """Each figure with the sentences on its claims."""
    sentences = {one.claim: one.sentence for one in verdicts}
    for name in plan.zoo.figures:
        with failures.caught("figure", f"Fig. {name}"):
            figure = zoo_figure(name, tables)
            if figure is not None:
                own = [one.name for one in plan.zoo.claims if figure_named(one.claim.figure).name == name]
                yield figure, [sentences[one] for one in own]


def _row(one: NetworkVerdict, link: str) -> dict[str, Any]:
    """A verdict for the template."""
    networks, families = str(one.n), str(one.n_families)
    if one.n_against:
        networks = f"{one.n - one.n_against} and {one.n_against}"
    shown = {name: getattr(one, name) for name in ("text", "over", "verdict", "unit")}
    return {
        **shown,
        "link": link,
        "effect": _interval(one.effect, one.low, one.high),
        "family_effect": _interval(one.family_effect, one.family_low, one.family_high),
        "counts": f"{networks}, {families}",
        "smallest": number(one.smallest),
        "published": f"{number(one.published)} ({one.published_data})" if one.published is not None else "–",
    }


def _interval(effect: float | None, low: float | None, high: float | None) -> str:
    return number(effect) if low is None else f"{number(effect)} ({number(low)} to {number(high)})"


def _networks(measured: pd.DataFrame, tables: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    for row in measured.to_dict("records"):
        structure = structure_of(tables, row["network"])
        yield {
            "name": row["network"],
            "family": row["family"],
            "kinds": ", ".join(sorted(structure.kinds - {"stem", "down"})) if structure else "–",
            "stages": structure.stages if structure else "–",
            "weights": row["weights"],
            "parameters": grouped(row["parameters"]),
            "input": f"{row['height']}x{row['width']}",
            "accuracy": _accuracy(row["network"], tables),
        }


def _accuracy(network: str, tables: Mapping[str, pd.DataFrame]) -> str:
    """On clean images, in percent, of whichever table has it."""
    for name in _LABELLED:
        rows = tables[name][tables[name]["network"] == network] if name in tables else pd.DataFrame()
        if len(rows):
            first = rows.iloc[0]
            return number(100 * first["accuracy"] - first["change"])
    return "–"
