"""The page of an experiment: verdicts first, then a figure per claim, the trainings, what is missing, how to go on."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from visionscope.claims.claim import Claim
from visionscope.claims.verdict import Verdict
from visionscope.core.failures import Failures
from visionscope.core.figure import Figure
from visionscope.core.finding import grouped, number
from visionscope.experiments.catalogue import PaperFigure, figure_named, variants_of
from visionscope.experiments.figures.drawing import paper_figure
from visionscope.experiments.figures.own import measured_figure, training_figure
from visionscope.experiments.folder import experiment_path, read_experiments
from visionscope.experiments.mixers.factorial import effects_of
from visionscope.experiments.mixers.figure import mixers_figure
from visionscope.experiments.mixers.networks import networks_of
from visionscope.experiments.mixers.speeds import speeds_of
from visionscope.experiments.plan import Plan, TrainTask
from visionscope.experiments.tables import FAILURES, TRAINING

PAGE = "experiment.html"
VERDICTS, FACTORIAL = "verdicts", "mixers_factorial"
_MOST_MODELS = 100


def write_page(
    plan: Plan,
    run: Path,
    tables: Mapping[str, pd.DataFrame],
    claims: Sequence[Claim],
    verdicts: Sequence[Verdict],
    *,
    left: int,
) -> Path:
    """Writes RUN/experiment.html, its figures as PDF and PNG, and the verdicts as tables.

    What can't be drawn costs its own figure alone; the page says so.

    Args:
        plan: the tasks.
        run: the run folder.
        tables: of the experiment, by name.
        claims: that it tests.
        verdicts: on them, in their order.
        left: tasks that are still to be done.

    Raises:
        StoreError: when a file can't be written.
    """
    failures = Failures()
    sections, panels = drawn(run, _figures(plan, run, tables, claims, verdicts, failures), failures)
    write_verdicts(run / "tables", verdicts)
    write_verdicts(run / "tables", effects_of(networks_of(tables)), FACTORIAL)
    links = {claim.name: _link(claim) for claim in claims}
    shown = {one["name"] for one in sections}
    return write_rendered(
        run,
        "experiment.html.jinja",
        panels,
        title=plan.experiment.title or "Experiment",
        scale=scale_of(plan),
        facts=_facts(plan, verdicts),
        left=left,
        undrawn=[failure.text for failure in failures.all],
        verdicts=[_row(one, links[one.claim] if links[one.claim] in shown else "") for one in verdicts],
        notes=[f"{one.text}: {said}" for one in verdicts if (said := "; ".join(filter(None, (one.note, one.missing))))],
        sections=sections,
        failures=[_failure(row) for row in tables[FAILURES].to_dict("records")] if FAILURES in tables else [],
        variants=list(_variants(plan, tables)),
        commands=commands_of(run, plan.experiment.values),
    )


def drawn(
    run: Path, figures: Iterable[tuple[Figure, list[str]]], failures: Failures
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Draws figures into RUN/figures and for the page; what can't be drawn costs its own figure alone.

    Args:
        run: the run folder.
        figures: each with the sentences on its claims.
        failures: takes what could not be drawn.

    Returns:
        Sections for the template, and the panels that they share.
    """
    from visionscope.report.files import write_figure
    from visionscope.report.plotly import models_of
    from visionscope.report.sections import section

    panels: list[dict[str, Any]] = []
    sections: list[dict[str, Any]] = []
    for figure, told in figures:
        count = len(panels)
        with failures.caught("figure", figure.name):
            shown = section(figure, models_of([figure]), panels)
            write_figure(run / "figures", figure.name, figure)
            sections.append({**_BARE, **shown, "diagnostic": figure.name, "verdicts": told})
            continue
        del panels[count:]
    return sections, panels


def write_rendered(run: Path, name: str, panels: Sequence[dict[str, Any]], **values: Any) -> Path:
    """Writes RUN/experiment.html from a template.

    Args:
        run: the run folder.
        name: of the template.
        panels: of the figures, from `drawn`.
        **values: what else the template shows.

    Raises:
        StoreError: when it can't be written.
    """
    from visionscope.core.versions import versions
    from visionscope.report.files import write_whole
    from visionscope.report.packing import packed_values
    from visionscope.report.page import looks, template
    from visionscope.report.style import palette

    themes = {theme: palette(theme) for theme in ("light", "dark")}
    data = {"panels": panels, "palette": themes, "rows": {}, "tables": {}}
    text = template(name).render(
        version=versions(("visionscope",))["visionscope"],
        shown=[True] * _MOST_MODELS,
        data=Markup(packed_values(data)),
        **values,
        **looks(),
    )
    write_whole(run / PAGE, text.encode("utf-8", "backslashreplace"))
    return run / PAGE


_BARE: dict[str, Any] = {"failed": [], "line": None, "cards": [], "limits": [], "table": None} | {
    "inside": "how it was measured"
}


def scale_of(plan: Plan, figure: PaperFigure | None = None) -> str:
    """What was trained on what, in a few words: data, images, epochs and parameters.

    Args:
        plan: the tasks.
        figure: of whose networks alone; of all, where it draws none of them.
    """
    drawn = variants_of(figure) if figure else frozenset()
    variants = [one for one in plan.experiment.variants if one.name in drawn] or plan.experiment.variants
    names = {one.name for one in variants}
    trainings = [train for train in plan.trainings if train.variant.name in names]
    data = ", ".join(dict.fromkeys(Path(variant.data).name for variant in variants))
    images = _range([train.images for train in trainings])
    epochs = _range([variant.trained_by.epochs for variant in variants])
    parameters = _range([train.parameters for train in trainings])
    return f"{data}, {images} training images, epochs: {epochs}, parameters: {parameters}"


def _range(values: Sequence[float]) -> str:
    low, high = grouped(min(values)), grouped(max(values))
    return low if low == high else f"{low} to {high}"


def _figures(
    plan: Plan,
    run: Path,
    tables: Mapping[str, pd.DataFrame],
    claims: Sequence[Claim],
    verdicts: Sequence[Verdict],
    failures: Failures,
) -> Iterator[tuple[Figure, list[str]]]:
    """Each figure with the sentences on its claims."""
    sentences = {one.claim: one.sentence for one in verdicts}
    wanted = [figure_named(claim.figure).name for claim in claims if claim.figure]
    for name in dict.fromkeys((*wanted, *plan.experiment.figures)):
        with failures.caught("figure", f"Fig. {name}"):
            figure = paper_figure(name, tables, scale_of(plan, figure_named(name)))
            if figure is not None:
                own = [claim for claim in claims if claim.figure and figure_named(claim.figure).name == name]
                yield figure, [sentences[claim.name] for claim in own]
    for claim in claims:
        if claim.measure:
            with failures.caught("figure", claim.name):
                measured = measured_figure(claim, tables)
                if measured is not None:
                    yield measured, [sentences[claim.name]]
    with failures.caught("figure", "mixers"):
        mixers = mixers_figure(tables, speeds_of(run))
        if mixers is not None:
            yield mixers, []
    with failures.caught("figure", "training"):
        trained = training_figure(tables)
        if trained is not None:
            yield trained, []


def _link(claim: Claim) -> str:
    """The name of the figure that shows a claim."""
    return f"figure_{figure_named(claim.figure).name.replace('.', '_')}" if claim.figure else f"claim_{claim.name}"


def _row(one: Verdict, link: str) -> dict[str, Any]:
    """A verdict for the template."""
    effect = number(one.effect)
    if one.low is not None:
        effect += f" ({number(one.low)} to {number(one.high)})"
    chance = one.p if one.p_holm is None else one.p_holm
    shown = {name: getattr(one, name) for name in ("text", "family", "verdict", "unit", "n", "beside")}
    published = f"{number(one.published)} ({one.published_data})" if one.published is not None else "–"
    smallest = number(one.smallest)
    return {
        **shown,
        "link": link,
        "effect": effect,
        "p": number(chance, 2),
        "smallest": smallest,
        "published": published,
    }


def _facts(plan: Plan, verdicts: Sequence[Verdict]) -> list[str]:
    return [
        f"{len(plan.experiment.variants)} variants",
        f"{len({train.training for train in plan.trainings})} trainings",
        *counted_verdicts(one.verdict for one in verdicts),
    ]


def counted_verdicts(verdicts: Iterable[str]) -> list[str]:
    """How often there is each verdict, those that say most first.

    Args:
        verdicts: in words.
    """
    from visionscope.claims.verdict import CONTRADICTED, INCONCLUSIVE, NO_EFFECT, NOT_ASSESSABLE, REPLICATED

    there = list(verdicts)
    order = (REPLICATED, CONTRADICTED, NO_EFFECT, INCONCLUSIVE, NOT_ASSESSABLE)
    return [f"{there.count(one)} {one}" for one in order if one in there]


def _failure(row: Mapping[Any, Any]) -> dict[str, Any]:
    moment = f"{row['snapshot']}, {row['diagnostic']}" if row["diagnostic"] else "training"
    return {"variant": row["variant"], "seed": row["seed"], "moment": moment, "reason": row["reason"]}


def _variants(plan: Plan, tables: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    trained = tables.get(TRAINING)
    for variant in plan.experiment.variants:
        own: list[TrainTask] = [train for train in plan.trainings if train.variant is variant]
        right = [] if trained is None else list(100 * trained.loc[trained["variant"] == variant.name, "top_1"].dropna())
        until = own[0].until
        yield {
            "name": variant.name,
            "model": variant.model,
            "parameters": grouped(own[0].parameters),
            "images": grouped(own[0].images),
            "epochs": f"{variant.trained_by.epochs:g}" + (f" (to {until} alone)" if until else ""),
            "seeds": len(own),
            "accuracy": number(sum(right) / len(right)) if right else "–",
        }


def commands_of(run: Path, values: Mapping[str, Any]) -> list[Markup]:
    """What goes on with an experiment, as its file in the run folder says.

    Args:
        run: the run folder.
        values: keys and values that say what is asked.
    """
    path = experiment_path(run, values)
    return [Markup(escape(one.command)) for one in read_experiments(run) if one.path == path and one.command]


def write_verdicts(folder: Path, verdicts: Sequence[Any], name: str = VERDICTS) -> None:
    """Writes verdicts, or other conclusions, as Parquet and CSV.

    Args:
        folder: of the tables.
        verdicts: data classes of one kind; without any nothing is written.
        name: of the table.

    Raises:
        StoreError: when a file can't be written.
    """
    from visionscope.report.files import write_whole

    rows = [dataclasses.asdict(one) for one in verdicts]
    if not rows:
        return
    parquet = io.BytesIO()
    pd.DataFrame(rows).to_parquet(parquet, index=False)
    write_whole(folder / f"{name}.parquet", parquet.getvalue())
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(folder / f"{name}.csv", text.getvalue().encode())
