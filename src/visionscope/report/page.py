"""The page: one self-contained HTML file with the summary, the figures and the rows behind every sentence."""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from visionscope.core.diagnostic import Answer, Theme
from visionscope.core.failures import Failures, models_of
from visionscope.core.finding import Finding, joined, number
from visionscope.report.about import data_rows, left_out, model_rows
from visionscope.report.arrange import OVERLAY_LIMIT, SHADED_KINDS
from visionscope.report.chain import chains
from visionscope.report.files import environment, write_figures, write_tables, write_whole
from visionscope.report.limits import limits_of
from visionscope.report.overview import Line, facts, overview
from visionscope.report.packing import packed, packed_values
from visionscope.report.results import packed_rows, packed_table, sections_of
from visionscope.report.spacing import unbroken
from visionscope.report.style import palette, shade_of
from visionscope.report.summary import in_order, main_findings
from visionscope.report.told import told

_FIRST_SHOWN = 6


def build_report(
    run: Path,
    answers: Sequence[Answer],
    jobs: Sequence[Mapping[str, Any]],
    failures: Failures | None = None,
    *,
    csv_outcomes: bool = False,
    commands: Sequence[str] = (),
) -> Path:
    """Writes `report.html` and, beside it, `report.json`, `figures/`, `tables/` and `environment.json`.

    Args:
        run: the run folder.
        answers: what each diagnostic found.
        jobs: the runs' `job.json` dicts; `errors`, a list of part and message, is shown as a notice.
        failures: of the steps before this one; those of this one are added. Each is told in its section.
        csv_outcomes: whether tables of a row per image are written as CSV, too.
        commands: which asked for what the page shows.

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
    models, missing = model_rows(jobs), left_out(answers, jobs)
    text = _render(answers, main, jobs, models, missing, surroundings, failures, commands)
    write_whole(page, text.encode("utf-8", "backslashreplace"))
    spoken = told(answers, main, models, missing, failures)
    write_whole(run / "report.json", (json.dumps(spoken, indent=1) + "\n").encode())
    return page


@functools.cache
def template(name: str) -> jinja2.Template:
    """A template of a page, in which text is escaped and numbers are kept together with their units.

    Args:
        name: of its file.
    """
    loader = jinja2.PackageLoader("visionscope.report")
    templates = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_spaced
    )
    templates.filters["number"] = number
    return templates.get_template(name)


def _spaced(value: Any) -> Any:
    """What the template inserts, text with its numbers and units kept together."""
    return unbroken(value) if type(value) is str else value


def _render(
    answers: Sequence[Answer],
    main: Sequence[Finding],
    jobs: Sequence[Mapping[str, Any]],
    about: Sequence[Mapping[str, Any]],
    missing: Sequence[Mapping[str, str]],
    surroundings: Mapping[str, Any],
    failures: Failures,
    commands: Sequence[str],
) -> str:
    labels = [job["model"]["label"] for job in jobs]
    # Trainings come first: of many models the page shows only the first ones at once.
    trainings = [name for one in answers if one.theme == Theme.TRAINING for name in models_of(one.tables["rows"])]
    others = [name for one in answers for name in models_of(one.tables["rows"])]
    models = tuple(dict.fromkeys([*trainings, *labels, *others]))
    panels: list[dict[str, Any]] = []
    sections = sections_of(answers, models, panels, failures)
    limits = []
    with failures.caught("limits", ""):
        limits = limits_of(answers, jobs)
    lines: tuple[Line, ...] = ()
    with failures.caught("overview", ""):
        lines = overview(answers, models)
    drawn_chains: list[dict[str, Any]] = []
    with failures.caught("model map", ""):
        drawn_chains = chains(jobs, models)
    samples = data_rows(jobs)
    homes = {one["diagnostic"]: one["name"] for one in reversed(sections)}
    return template("report.html.jinja").render(
        title=", ".join(models) or "no finished job",
        facts=facts(about, samples),
        overview=lines,
        compared=[
            index for index, name in enumerate(models) if name in labels or any(one.cells[index].value for one in lines)
        ],
        homes=homes,
        leading=_leading(main, sections, models),
        heading=_heading(answers),
        random=[row for row in about if row["random"]],
        models=about,
        labels=models,
        crowded=len(models) > OVERLAY_LIMIT,
        data_rows=samples,
        errors=_errors(jobs),
        main=main,
        failed=[failure.text for failure in failures.all if not failure.diagnostic],
        limits=limits,
        left_out=missing,
        sections=sections,
        chains=drawn_chains,
        # Typed again, it must be what it was: no space of it is kept together.
        commands=[Markup(escape(command)) for command in commands],
        surroundings=surroundings,
        shown=[index < _FIRST_SHOWN for index in range(len(models))],
        data=_data(panels, answers, sections, models),
        **looks(),
    )


def _data(
    panels: Sequence[Mapping[str, Any]],
    answers: Sequence[Answer],
    sections: Sequence[Mapping[str, Any]],
    models: Sequence[str],
) -> Markup:
    """What the script draws, and the rows and tables that it writes."""
    found = [finding for answer in answers for finding in answer.findings]
    return Markup(
        packed_values(
            {
                "panels": panels,
                "palette": {theme: palette(theme) for theme in ("light", "dark")},
                "rows": {one.anchor: packed_rows(one) for one in found},
                "tables": {one["name"]: packed_table(one["table"], models) for one in sections if one["table"]},
            }
        )
    )


def looks() -> dict[str, Any]:
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
def _library() -> Markup:
    return Markup(packed(get_plotlyjs()))


def _leading(
    main: Sequence[Finding], sections: Sequence[Mapping[str, Any]], models: Sequence[str]
) -> dict[str, Any] | None:
    """The picture beside the main findings: that of the first one's model, else the first that there is."""
    wanted = {models.index(one.model) for one in main[:1] if one.model in models}
    order = [*(one.diagnostic for one in main), *(one["diagnostic"] for one in sections)]
    for name in dict.fromkeys(order):
        cards = [card for one in sections if one["diagnostic"] == name for card in _pictures(one)]
        if cards:
            # Steps along the network, where there are any, show what blocks do better than whole spectra.
            return min(cards, key=lambda card: (not card["shaded"], bool(wanted) and not wanted & set(card["models"])))
    return None


def _pictures(one: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The plots of a section with what their legends need."""
    for group in one["groups"]:
        for view, cards in group["views"].items():
            more = {"name": one["name"], "section": one["title"], "shaded": group["shaded"][view]}
            more["depth"] = group["depth"] and not group["shaded"][view]
            yield from ({**card, **more} for card in cards if "index" in card)


def _heading(answers: Sequence[Answer]) -> str:
    """What the page is about, by the themes that it has."""
    said = [*dict.fromkeys(answer.theme for answer in answers if answer.theme)] or ["what was measured"]
    text = joined(said) if len(said) < 3 else f"{', '.join(said[:-1])}, and {said[-1]}"
    return text[0].upper() + text[1:]


def _asset(name: str) -> Markup:
    return Markup((Path(__file__).parent / "templates" / name).read_text(encoding="utf-8"))


def _errors(jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [
        {"model": job["model"]["label"], "diagnostic": job["diagnostic"], "part": part["part"], "text": part["message"]}
        for job in jobs
        for part in job.get("errors", ())
    ]
