"""The page: one self-contained HTML file with the summary, the figures and the rows behind every sentence."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from visionscope.core.failures import Failures
from visionscope.core.figure import Figure
from visionscope.core.finding import MODELS_DIFFER, Finding, joined, number
from visionscope.report.arrange import OVERLAY_LIMIT, SHADED_KINDS
from visionscope.report.files import environment, write_figures, write_tables, write_whole
from visionscope.report.limits import caveats, caveats_of
from visionscope.report.sections import place_of, section
from visionscope.report.style import palette, shade_of
from visionscope.report.summary import THEMES, diagnostic_of, findings, has_random_weights, main_findings
from visionscope.report.tables import SUFFIX, shown_table

_DIGITS = 6
_FIRST_SHOWN = 6
_FEW_SECTIONS, _FEW_SENTENCES = 7, 30
"""Up to this many sections, and sentences, the page is all unfolded."""


def build_report(
    run: Path,
    tables: Mapping[str, pa.Table],
    jobs: Sequence[Mapping[str, Any]],
    figures: Sequence[Figure],
    failures: Failures | None = None,
) -> Path:
    """Writes `report.html` and, beside it, `figures/`, `tables/` and `environment.json`.

    Args:
        run: the run folder.
        tables: result rows by diagnostic, with the leading columns model, data, weights, precision and job;
            `similarity_between` gets its figure here.
        jobs: the runs' `job.json` dicts; `errors`, a list of part and message, is shown as a notice.
        figures: what the diagnostics drew from the tables.
        failures: of the steps before this one; those of this one are added. Each is told in its section.

    Returns:
        The path of the page.

    Raises:
        StoreError: when a file can't be written.
    """
    failures = Failures() if failures is None else failures
    tables = {name: table for name, table in tables.items() if table.num_rows}
    drawn = [figure for figure in figures if figure.panels]
    if "similarity_between" in tables and all(figure.name != "similarity_between" for figure in drawn):
        # Late, because it loads torch, which the page itself does without.
        from visionscope.diagnostics.similarity import between_figure

        with failures.caught("figure", "similarity_between"):
            drawn.append(between_figure(tables["similarity_between"]))
    drawn.sort(key=lambda figure: (place_of(figure.name), figure.name))
    write_tables(run / "tables", tables, failures)
    write_figures(run / "figures", drawn, failures)
    surroundings = environment(jobs)
    write_whole(run / "environment.json", (json.dumps(surroundings, indent=2) + "\n").encode())
    page = run / "report.html"
    write_whole(page, _render(tables, jobs, drawn, surroundings, failures).encode("utf-8", "backslashreplace"))
    return page


def _render(
    tables: Mapping[str, pa.Table],
    jobs: Sequence[Mapping[str, Any]],
    figures: Sequence[Figure],
    surroundings: Mapping[str, Any],
    failures: Failures,
) -> str:
    loader = jinja2.PackageLoader("visionscope.report")
    templates = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    templates.filters["number"] = number
    labels = [job["model"]["label"] for job in jobs]
    models = tuple(dict.fromkeys([*labels, *(name for table in tables.values() for name in _labels(table))]))
    found = findings(tables, jobs, failures)
    panels: list[dict[str, Any]] = []
    sections = [_section(figure, models, panels, failures) for figure in figures]
    told: list[str] = []
    for one in sections:
        _tell(one, tables, found, models, failures, first=diagnostic_of(one["name"]) not in told)
        told.append(diagnostic_of(one["name"]))
    said, main = [], []
    with failures.caught("limits", ""):
        said = caveats(tables, jobs, told=told)
    with failures.caught("main findings", ""):
        main = main_findings(found)
    for name in dict.fromkeys(failure.diagnostic for failure in failures.all if failure.diagnostic not in (*told, "")):
        sections.append(_bare(name))
        _tell(sections[-1], tables, found, models, failures, first=True)
        told.append(name)
    sections.sort(key=lambda one: place_of(one["name"]))
    for one in sections:
        one["failed"] = [failure.text for failure in failures.all if failure.diagnostic == diagnostic_of(one["name"])]
    rows = {one.anchor: {"columns": one.columns, "rows": _compact(one.rows)} for one in found}
    data = {
        "panels": panels,
        "palette": {theme: palette(theme) for theme in ("light", "dark")},
        "rows": rows,
        "shown": [index < _FIRST_SHOWN for index in range(len(models))],
    }
    return templates.get_template("report.html.jinja").render(
        title=", ".join(models) or "no finished job",
        heading=_heading(tables),
        random=[row for row in _model_rows(jobs) if row["random"]] if has_random_weights(jobs) else [],
        models=_model_rows(jobs),
        labels=models,
        crowded=len(models) > OVERLAY_LIMIT,
        data_rows=_data_rows(jobs),
        errors=_errors(jobs),
        main=main,
        failed=[failure.text for failure in failures.all if not failure.diagnostic],
        by_model=_by_model([one for one in found if one.diagnostic not in told], models),
        found=found,
        caveats=said,
        left_out=_left_out(tables, jobs),
        unfolded=len(sections) <= _FEW_SECTIONS,
        few_sentences=len(found) <= _FEW_SENTENCES,
        sections=sections,
        depth={theme: shade_of(theme) for theme in ("light", "dark")},
        shades={theme: {kind: palette(theme)[f"kind:{kind}"] for kind in SHADED_KINDS} for theme in ("light", "dark")},
        model_colours={theme: [palette(theme)[f"model:{index}"] for index in range(6)] for theme in ("light", "dark")},
        surroundings=surroundings,
        style=_asset("report.css"),
        script=_asset("report.js"),
        plotly=Markup(get_plotlyjs()),
        data=data,
    )


def _section(figure: Figure, models: Sequence[str], panels: list[dict[str, Any]], failures: Failures) -> dict[str, Any]:
    """A figure for the template; without its panels where they can't be drawn."""
    count = len(panels)
    with failures.caught("figure", diagnostic_of(figure.name)):
        return section(figure, models, panels)
    del panels[count:]
    return {**_bare(figure.name), "title": figure.title, "caption": figure.caption}


def _bare(name: str) -> dict[str, Any]:
    """A section without a figure."""
    return {"name": name, "title": name.replace("_", " "), "caption": "", "groups": []}


def _tell(
    one: dict[str, Any],
    tables: Mapping[str, pa.Table],
    found: Sequence[Finding],
    models: Sequence[str],
    failures: Failures,
    *,
    first: bool,
) -> None:
    """Adds to a section its table and, to the first of a diagnostic, its sentences and their limits."""
    name = diagnostic_of(one["name"])
    own = [said for said in found if said.diagnostic == name]
    one.update(table=None, cards=[], caveats=(), gist="")
    with failures.caught("table", name):
        one["table"] = shown_table(one["name"], tables)
    with failures.caught("sentences", name):
        one["cards"] = _by_model(own, models) if first else []
        one["caveats"] = caveats_of(name) if first else ()
        one["gist"] = _gist(own)


def _heading(tables: Mapping[str, pa.Table]) -> str:
    """What the page is about, by the diagnostics that it has."""
    said = [words for names, words in THEMES if any(name in tables for name in names)] or [THEMES[0][1]]
    text = joined(said) if len(said) < 3 else f"{', '.join(said[:-1])}, and {said[-1]}"
    return text[0].upper() + text[1:]


def _gist(found: Sequence[Finding]) -> str:
    """The sentence that stands for a folded section."""
    ranked = sorted(found, key=lambda one: (one.verdict != MODELS_DIFFER, -one.strength))
    return ranked[0].headline if ranked else ""


def _left_out(tables: Mapping[str, pa.Table], jobs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The diagnostics that have nothing to ask of a model, with the reason."""
    measured = {(name.removesuffix(SUFFIX), label) for name, table in tables.items() for label in _labels(table)}
    rows: dict[tuple[str, str], str] = {}
    for job in jobs:
        label = job["model"]["label"]
        for one in job.get("not_applicable", ()):
            if (one["diagnostic"], label) not in measured:
                rows[one["diagnostic"], label] = str(one["reason"]).removeprefix(f"{label}: ")
    return [{"diagnostic": name, "model": label, "reason": reason} for (name, label), reason in rows.items()]


def _asset(name: str) -> Markup:
    return Markup((Path(__file__).parent / "templates" / name).read_text(encoding="utf-8"))


def _labels(table: pa.Table) -> list[str]:
    return [str(name) for name in table.column("model").unique().to_pylist()] if "model" in table.column_names else []


def _compact(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [[float(f"{v:.{_DIGITS}g}") if isinstance(v, float) else v for v in row] for row in rows]


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
