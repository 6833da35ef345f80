"""The page: one self-contained HTML file with the summary, the figures and the rows behind every sentence."""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from visionscope.core.diagnostic import Answer
from visionscope.core.failures import Failures, models_of
from visionscope.core.figure import Figure
from visionscope.core.finding import MODELS_DIFFER, Finding, joined, number
from visionscope.report.arrange import OVERLAY_LIMIT, SHADED_KINDS
from visionscope.report.files import environment, write_figures, write_tables, write_whole
from visionscope.report.limits import has_random_weights, limits_of
from visionscope.report.overview import Line, facts, overview
from visionscope.report.packing import packed, packed_values
from visionscope.report.sections import section
from visionscope.report.style import palette, shade_of
from visionscope.report.summary import in_order, main_findings
from visionscope.report.tables import Shown, shown_table
from visionscope.report.told import told

_DIGITS = 6
_FIRST_SHOWN = 6
_FEW_SECTIONS, _FEW_SENTENCES = 7, 30
"""Up to this many sections, and sentences, the page is all unfolded."""


def build_report(
    run: Path,
    answers: Sequence[Answer],
    jobs: Sequence[Mapping[str, Any]],
    failures: Failures | None = None,
    *,
    csv_outcomes: bool = False,
) -> Path:
    """Writes `report.html` and, beside it, `report.json`, `figures/`, `tables/` and `environment.json`.

    Args:
        run: the run folder.
        answers: what each diagnostic found.
        jobs: the runs' `job.json` dicts; `errors`, a list of part and message, is shown as a notice.
        failures: of the steps before this one; those of this one are added. Each is told in its section.
        csv_outcomes: whether tables of a row per image are written as CSV, too.

    Returns:
        The path of the page.

    Raises:
        StoreError: when a file can't be written.
    """
    failures = Failures() if failures is None else failures
    answers = in_order(answers)
    write_tables(run / "tables", answers, failures, csv_outcomes=csv_outcomes)
    write_figures(run / "figures", answers, failures)
    surroundings = environment(jobs)
    write_whole(run / "environment.json", (json.dumps(surroundings, indent=2) + "\n").encode())
    main: list[Finding] = []
    with failures.caught("main findings", ""):
        main = main_findings(answers)
    page = run / "report.html"
    text = _render(answers, main, jobs, surroundings, failures)
    write_whole(page, text.encode("utf-8", "backslashreplace"))
    spoken = told(answers, main, _model_rows(jobs), _left_out(answers, jobs), failures)
    write_whole(run / "report.json", (json.dumps(spoken, indent=1) + "\n").encode())
    return page


@functools.cache
def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("visionscope.report")
    templates = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    templates.filters["number"] = number
    return templates.get_template("report.html.jinja")


def _render(
    answers: Sequence[Answer],
    main: Sequence[Finding],
    jobs: Sequence[Mapping[str, Any]],
    surroundings: Mapping[str, Any],
    failures: Failures,
) -> str:
    labels = [job["model"]["label"] for job in jobs]
    models = tuple(dict.fromkeys([*labels, *(name for one in answers for name in models_of(one.tables["rows"]))]))
    panels: list[dict[str, Any]] = []
    sections = [part for answer in answers for part in _sections(answer, models, panels, failures)]
    # A limit that several share is told where it first matters.
    heard: set[str] = set()
    for one in sections:
        one["limits"] = [text for text in one["limits"] if text not in heard]
        heard |= set(one["limits"])
    limits = []
    with failures.caught("limits", ""):
        limits = limits_of(answers, jobs)
    named = [answer.diagnostic for answer in answers]
    failing = dict.fromkeys(failure.diagnostic for failure in failures.all)
    sections += [_bare(name, name) for name in failing if name not in (*named, "")]
    for one in {one["diagnostic"]: one for one in reversed(sections)}.values():  # the first section of each
        one["failed"] = [failure.text for failure in failures.all if failure.diagnostic == one["diagnostic"]]
    found = [finding for answer in answers for finding in answer.findings]
    lines: tuple[Line, ...] = ()
    with failures.caught("overview", ""):
        lines = overview(answers, models)
    homes = {one["diagnostic"]: one["name"] for one in reversed(sections)}
    return _template().render(
        title=", ".join(models) or "no finished job",
        facts=facts(_model_rows(jobs), _data_rows(jobs)),
        overview=lines,
        homes=homes,
        leading=_leading(main, sections, models),
        heading=_heading(answers),
        random=[row for row in _model_rows(jobs) if row["random"]] if has_random_weights(jobs) else [],
        models=_model_rows(jobs),
        labels=models,
        crowded=len(models) > OVERLAY_LIMIT,
        data_rows=_data_rows(jobs),
        errors=_errors(jobs),
        main=main,
        failed=[failure.text for failure in failures.all if not failure.diagnostic],
        found=found,
        limits=limits,
        left_out=_left_out(answers, jobs),
        unfolded=len(sections) <= _FEW_SECTIONS,
        few_sentences=len(found) <= _FEW_SENTENCES,
        sections=sections,
        surroundings=surroundings,
        shown=[index < _FIRST_SHOWN for index in range(len(models))],
        data=packed_values(
            {
                "panels": panels,
                "palette": {theme: palette(theme) for theme in ("light", "dark")},
                "rows": {one.anchor: {"columns": one.columns, "cells": _compact(one.rows)} for one in found},
                "tables": {one["name"]: _cells(one["table"], models) for one in sections if one["table"]},
            }
        ),
        **_looks(),
    )


def _looks() -> dict[str, Any]:
    """Colours, style and scripts, which are the same for every page."""
    themes = ("light", "dark")
    return {
        "depth": {theme: shade_of(theme) for theme in themes},
        "shades": {theme: {kind: palette(theme)[f"kind:{kind}"] for kind in SHADED_KINDS} for theme in themes},
        "model_colours": {theme: [palette(theme)[f"model:{index}"] for index in range(6)] for theme in themes},
        "style": _asset("report.css"),
        "script": _asset("report.js"),
        "plotly": _library(),
    }


@functools.cache
def _library() -> str:
    return packed(get_plotlyjs())


def _leading(
    main: Sequence[Finding], sections: Sequence[Mapping[str, Any]], models: Sequence[str]
) -> dict[str, Any] | None:
    """The picture beside the main findings: that of the first one's model, else the first that there is."""
    wanted = {models.index(one.model) for one in main[:1] if one.model in models}
    order = [*(one.diagnostic for one in main), *(one["diagnostic"] for one in sections)]
    for name in dict.fromkeys(order):
        for one in (one for one in sections if one["diagnostic"] == name and one["groups"]):
            cards = [card for card in next(iter(one["groups"][0]["views"].values())) if "index" in card]
            ranked = sorted(cards, key=lambda card: not wanted & set(card["models"]))
            if ranked:
                return {**ranked[0], "name": one["name"], "section": one["title"], "group": one["groups"][0]}
    return None


def _sections(
    answer: Answer, models: Sequence[str], panels: list[dict[str, Any]], failures: Failures
) -> Iterator[dict[str, Any]]:
    """A section per figure; the first has the table, the sentences and their limits."""
    drawn = [_drawn(figure, answer.diagnostic, models, panels, failures) for figure in answer.figures if figure.panels]
    if all(one["name"] != answer.diagnostic for one in drawn[:1]):  # its own figure failed, or has no panel
        drawn.insert(0, _bare(answer.diagnostic, answer.diagnostic))
    first, *others = drawn
    with failures.caught("table", answer.diagnostic):
        first["table"] = shown_table(answer.tables)
    with failures.caught("sentences", answer.diagnostic):
        first["cards"] = _by_model(answer.findings, models)
        first["gist"] = _gist(answer.findings)
    first["limits"] = list(answer.limits)
    yield from (first, *others)


def _drawn(
    figure: Figure, diagnostic: str, models: Sequence[str], panels: list[dict[str, Any]], failures: Failures
) -> dict[str, Any]:
    """A figure for the template; without its panels where they can't be drawn."""
    count = len(panels)
    with failures.caught("figure", diagnostic):
        return {**_bare(figure.name, diagnostic), **section(figure, models, panels)}
    del panels[count:]
    return {**_bare(figure.name, diagnostic), "title": figure.title, "caption": figure.caption}


def _bare(name: str, diagnostic: str) -> dict[str, Any]:
    """A section without a figure."""
    empty: dict[str, Any] = {"caption": "", "groups": [], "table": None, "cards": [], "limits": [], "gist": ""}
    return {"name": name, "diagnostic": diagnostic, "title": name.replace("_", " "), "failed": [], **empty}


def _heading(answers: Sequence[Answer]) -> str:
    """What the page is about, by the themes that it has."""
    said = [*dict.fromkeys(answer.theme for answer in answers if answer.theme)] or ["what was measured"]
    text = joined(said) if len(said) < 3 else f"{', '.join(said[:-1])}, and {said[-1]}"
    return text[0].upper() + text[1:]


def _gist(found: Sequence[Finding]) -> str:
    """The sentence that stands for a folded section."""
    ranked = sorted(found, key=lambda one: (one.verdict != MODELS_DIFFER, -one.strength))
    return ranked[0].headline if ranked else ""


def _left_out(answers: Sequence[Answer], jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The diagnostics that have nothing to ask of a model, with the reason."""
    measured = {(answer.diagnostic, label) for answer in answers for label in models_of(answer.tables["rows"])}
    rows: dict[tuple[str, str], str] = {}
    for job in jobs:
        label = job["model"]["label"]
        for one in job.get("not_applicable", ()):
            if (one["diagnostic"], label) not in measured:
                rows[one["diagnostic"], label] = str(one["reason"]).removeprefix(f"{label}: ")
    return [{"diagnostic": name, "model": label, "reason": reason} for (name, label), reason in rows.items()]


def _asset(name: str) -> Markup:
    return Markup((Path(__file__).parent / "templates" / name).read_text(encoding="utf-8"))


def _compact(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The cells of rows, column by column, of few digits."""
    return [[float(f"{v:.{_DIGITS}g}") if isinstance(v, float) else v for v in own] for own in zip(*rows, strict=True)]


def _cells(table: Shown, models: Sequence[str]) -> dict[str, Any]:
    """A table for the page's script, column by column, with the place of each row's model among all."""
    labels = [label for label, _, _ in table.rows]
    return {
        "columns": [("model", "", False), *table.columns],
        "cells": [labels, *zip(*(cells for _, cells, _ in table.rows), strict=True)],
        "models": [models.index(label) if label in models else -1 for label in labels],
        "faint": [chance for _, _, chance in table.rows],
    }


def _model_rows(jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for job in jobs:
        model = job["model"]
        rows.setdefault(
            model["label"],
            {
                "label": model["label"],
                "spec": model["spec"],
                "weights": model["weights"],
                "random": str(model["weights"]).startswith("random"),
                "parameters": f"{model['parameters']:,}".replace(",", "\u202f"),
                "points": len(job["points"]),
                "unwatched": job.get("unwatched", []),
            },
        )
    return list(rows.values())


def _data_rows(jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was measured on: one row per combination that occurs, with the models that it holds for."""
    rows: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for job in jobs:
        data = job["data"]
        name = f"{data['spec']}:{data['split']}" if data.get("split") else data["spec"]
        size = " × ".join(map(str, data.get("input", {}).get("size", ()))) or "–"
        augmentation = {None: "", "none": "none"}.get(data.get("augmentation"), f"{data.get('augmentation')}, frozen")
        key = (name, str(data["images"]), augmentation, str(data["seed"]), size, job["precision"])
        rows.setdefault(key, []).append((job["model"]["label"], job["diagnostic"]))
    names = ("data", "images", "augmentation", "seed", "size", "precision")
    return [
        {
            **dict(zip(names, key, strict=True)),
            "models": list(dict.fromkeys(model for model, _ in own)),
            "diagnostics": list(dict.fromkeys(diagnostic for _, diagnostic in own)),
        }
        for key, own in rows.items()
    ]


def _errors(jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [
        {"model": job["model"]["label"], "diagnostic": job["diagnostic"], "part": part["part"], "text": part["message"]}
        for job in jobs
        for part in job.get("errors", ())
    ]


def _by_model(found: Sequence[Any], models: Sequence[str]) -> list[dict[str, Any]]:
    cards = []
    for index, label in enumerate(models):
        cards.append({"model": index, "label": label, "found": [one for one in found if one.model == label]})
    cards.append({"model": -1, "label": "Between models", "found": [one for one in found if not one.model]})
    return [card for card in cards if card["found"]]
