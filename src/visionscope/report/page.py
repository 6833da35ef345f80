"""The page: one self-contained HTML file with the summary, the figures and the rows behind every sentence."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pyarrow as pa
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from visionscope.core.types import Figure, Panel
from visionscope.report.arrange import (
    OVERLAY_LIMIT,
    SHADED_KINDS,
    apart,
    groups,
    is_overlay,
    kinds_drawn,
    kinds_shaded,
    limits,
    reads_overlaid,
    together,
)
from visionscope.report.figures import panel_spec
from visionscope.report.files import environment, write_figures, write_tables, write_whole
from visionscope.report.style import mark_of, number, palette, shade_of
from visionscope.report.summary import DIAGNOSTICS, caveats, findings, has_random_weights, main_findings

_DIGITS = 6
_FIRST_SHOWN = 6


def build_report(
    run: Path,
    tables: Mapping[str, pa.Table],
    jobs: Sequence[Mapping[str, Any]],
    figures: Sequence[Figure],
) -> Path:
    """Writes `report.html` and, beside it, `figures/`, `tables/` and `environment.json`.

    Args:
        run: the run folder.
        tables: result rows by diagnostic, with the leading columns model, data, weights, precision and job;
            `similarity_between` gets its figure here.
        jobs: the runs' `job.json` dicts; `errors`, a list of part and message, is shown as a notice.
        figures: what the diagnostics drew from the tables.

    Returns:
        The path of the page.

    Raises:
        StoreError: when a file can't be written.
    """
    tables = {name: table for name, table in tables.items() if table.num_rows}
    drawn = [figure for figure in figures if figure.panels]
    if "similarity_between" in tables and all(figure.name != "similarity_between" for figure in drawn):
        # Late, because it loads torch, which the page itself does without.
        from visionscope.diagnostics.similarity import between_figure

        drawn.append(between_figure(tables["similarity_between"]))
    drawn.sort(key=lambda figure: DIAGNOSTICS.index(figure.name) if figure.name in DIAGNOSTICS else len(DIAGNOSTICS))
    write_tables(run / "tables", tables)
    write_figures(run / "figures", drawn)
    surroundings = environment(jobs)
    write_whole(run / "environment.json", (json.dumps(surroundings, indent=2) + "\n").encode())
    page = run / "report.html"
    write_whole(page, _render(tables, jobs, drawn, surroundings).encode())
    return page


def _render(
    tables: Mapping[str, pa.Table],
    jobs: Sequence[Mapping[str, Any]],
    figures: Sequence[Figure],
    surroundings: Mapping[str, Any],
) -> str:
    loader = jinja2.PackageLoader("visionscope.report")
    templates = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    templates.filters["number"] = number
    labels = [job["model"]["label"] for job in jobs]
    models = tuple(dict.fromkeys([*labels, *(name for table in tables.values() for name in _labels(table))]))
    found = findings(tables, jobs)
    panels: list[dict[str, Any]] = []
    sections = [_section(figure, models, panels) for figure in figures]
    rows = {one.anchor: {"columns": one.columns, "rows": _compact(one.rows)} for one in found}
    data = {
        "panels": panels,
        "palette": {theme: palette(theme) for theme in ("light", "dark")},
        "rows": rows,
        "shown": [index < _FIRST_SHOWN for index in range(len(models))],
    }
    return templates.get_template("report.html.jinja").render(
        title=", ".join(models) or "no finished job",
        random=[row for row in _model_rows(jobs) if row["random"]] if has_random_weights(jobs) else [],
        models=_model_rows(jobs),
        labels=models,
        crowded=len(models) > OVERLAY_LIMIT,
        data_rows=_data_rows(jobs),
        errors=_errors(jobs),
        main=main_findings(found),
        by_model=_by_model(found, models),
        found=found,
        caveats=caveats(tables, jobs),
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


def _asset(name: str) -> Markup:
    return Markup((Path(__file__).parent / "templates" / name).read_text(encoding="utf-8"))


def _section(figure: Figure, models: Sequence[str], panels: list[dict[str, Any]]) -> dict[str, Any]:
    """One figure for the template: its groups, each with one or two views, whose panels go to the shared list."""
    shown = []
    for group in groups(figure):
        views = _views(group, figure.title)
        shown.append(
            {
                "views": {name: _cards(view, models, panels) for name, view in views.items()},
                "kinds": [(kind, mark_of(kind)) for kind in kinds_drawn(group)],
                "shaded": {
                    name: [(kind, mark_of(kind).words) for kind in kinds_shaded(v)] for name, v in views.items()
                },
                "colours": {name: _colours(view, models) for name, view in views.items()},
                "depth": any(line.shade is not None for panel in group for line in panel.lines),
            }
        )
    return {"name": figure.name, "title": figure.title, "caption": figure.caption, "groups": shown}


def _colours(view: list[Panel], models: Sequence[str]) -> list[tuple[int, str]]:
    """The models that share a pair of axes, by their place among all models."""
    names = dict.fromkeys(line.name for panel in view if is_overlay(panel) for line in panel.lines)
    return [(models.index(name), name) for name in names if name in models]


def _views(group: list[Panel], title: str) -> dict[str, list[Panel]]:
    """The ways to look at a group, the clearer one first; what can't be overlaid has one."""
    beside = [part for panel in group for part in (apart(panel) if is_overlay(panel) else [panel])]
    overlay = group[0] if len(group) == 1 and is_overlay(group[0]) else together(group)
    if overlay is None or len(overlay.lines) > OVERLAY_LIMIT:
        return {"side by side": beside}
    overlay = dataclasses.replace(overlay, title=overlay.title or title)
    views = {"overlaid": [overlay], "side by side": beside}
    return views if reads_overlaid(overlay) else dict(reversed(views.items()))


def _cards(view: list[Panel], models: Sequence[str], panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    common = limits(view)
    cards = []
    for panel in view:
        # A map between two models names them at its axes, and goes with either.
        own = [index for index, label in enumerate(models) if label in (panel.model, panel.x_label, panel.y_label)]
        is_map = panel.heat is not None
        spec = panel_spec(panel, models, common)
        measure = "" if is_map else panel.y_label
        if measure:
            # Said above the axes, where it is not cut off on a phone.
            del spec["layout"]["yaxis"]["title"]
        card = {"index": len(panels), "title": panel.title, "measure": measure, "models": own, "heat": is_map}
        cards.append(card)
        panels.append({**spec, "heat": is_map})
    return cards


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
    rows: dict[tuple[str, ...], list[str]] = {}
    for job in jobs:
        data = job["data"]
        name = f"{data['spec']}:{data['split']}" if data.get("split") else data["spec"]
        size = " × ".join(map(str, data.get("input", {}).get("size", ()))) or "–"
        key = (name, str(data["images"]), str(data["seed"]), size, job["precision"])
        rows.setdefault(key, []).append(job["model"]["label"])
    names = ("data", "images", "seed", "size", "precision")
    return [{**dict(zip(names, key, strict=True)), "models": list(dict.fromkeys(own))} for key, own in rows.items()]


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
