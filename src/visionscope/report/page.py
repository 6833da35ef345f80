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
    axes_of,
    groups,
    is_density,
    is_overlay,
    kinds_drawn,
    kinds_shaded,
    reads_overlaid,
    scopes_named,
    together,
)
from visionscope.report.figures import panel_spec
from visionscope.report.files import environment, write_figures, write_tables, write_whole
from visionscope.report.style import mark_of, number, palette, shade_of, shade_token
from visionscope.report.summary import DIAGNOSTICS, caveats, findings, has_random_weights, main_findings
from visionscope.report.surfaces import aspect, remarks
from visionscope.report.tables import shown_table

_DIGITS = 6
_FIRST_SHOWN = 6

TURNED = "3-D"
"""The view of surfaces that can be turned."""


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
    drawn.sort(key=lambda figure: (_place_of(figure.name), figure.name))
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
    for section in sections:
        section["table"] = shown_table(section["name"], tables)
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


def _heading(tables: Mapping[str, pa.Table]) -> str:
    curved = any(name in tables for name in ("hessian", "density", "landscape"))
    blocks = any(name in tables for name in ("fourier", "variance", "similarity"))
    if not curved:
        return "What each block does to the feature maps"
    return "What each block does to the feature maps, and how the loss curves" if blocks else "How the loss curves"


def _asset(name: str) -> Markup:
    return Markup((Path(__file__).parent / "templates" / name).read_text(encoding="utf-8"))


def _place_of(name: str) -> int:
    """Where a figure stands on the page; one of a further set of parameters (`hessian-2`) after the first."""
    diagnostic = name.rstrip("0123456789").removesuffix("-")
    known = diagnostic if diagnostic in DIAGNOSTICS else name
    return DIAGNOSTICS.index(known) if known in DIAGNOSTICS else len(DIAGNOSTICS)


def _section(figure: Figure, models: Sequence[str], panels: list[dict[str, Any]]) -> dict[str, Any]:
    """One figure for the template: its groups, each with one or two views, whose panels go to the shared list."""
    shown = []
    for group in groups(figure):
        views = _views(group, figure.title)
        scopes = _scopes(group)
        depth = any(line.shade is not None for panel in group for line in panel.lines)
        shown.append(
            {
                "title": group[0].group if group[0].surface is not None or is_density(group[0]) else "",
                "views": {name: _cards(view, models, panels, turned=name == TURNED) for name, view in views.items()},
                "turned": TURNED if TURNED in views else "",
                "kinds": [(kind, mark_of(kind)) for kind in kinds_drawn(group)],
                "shaded": {
                    name: [(kind, mark_of(kind).words) for kind in kinds_shaded(v)] for name, v in views.items()
                },
                "colours": {name: _colours(view, models) for name, view in views.items()},
                "scopes": scopes,
                "depth": depth and not scopes,
                "remarks": remarks(group, axes_of(group)),
            }
        )
    return {"name": figure.name, "title": figure.title, "caption": figure.caption, "groups": shown}


def _scopes(group: list[Panel]) -> list[tuple[str, str, str]]:
    """The parts of a model that a legend names: name, colour on light, colour on dark."""
    light, dark = palette("light"), palette("dark")
    named = scopes_named(group).items()
    return [(name, light[shade_token(shade)], dark[shade_token(shade)]) for name, shade in named]


def _colours(view: list[Panel], models: Sequence[str]) -> list[tuple[int, str]]:
    """The models that share a pair of axes, by their place among all models."""
    names = dict.fromkeys(line.name for panel in view if is_overlay(panel) for line in panel.lines)
    return [(models.index(name), name) for name in names if name in models]


def _views(group: list[Panel], title: str) -> dict[str, list[Panel]]:
    """The ways to look at a group, the clearer one first; what can't be overlaid has one."""
    if group[0].surface is not None:
        return {"contour": group, TURNED: group}
    beside = [part for panel in group for part in (apart(panel) if is_overlay(panel) else [panel])]
    overlays = group if all(not panel.model and panel.lines for panel in group) else [together(group)]
    known = [panel for panel in overlays if panel is not None]
    if not any(map(is_overlay, known)) or max(len(panel.lines) for panel in known) > OVERLAY_LIMIT:
        return {"side by side": beside}
    known = [dataclasses.replace(panel, title=panel.title or title) for panel in known]
    views = {"overlaid": known, "side by side": beside}
    return views if all(map(reads_overlaid, known)) else dict(reversed(views.items()))


def _cards(
    view: list[Panel], models: Sequence[str], panels: list[dict[str, Any]], *, turned: bool
) -> list[dict[str, Any]]:
    cards = []
    for panel, common in zip(view, axes_of(view), strict=True):
        # A map between two models names them at its axes, and goes with either.
        own = [index for index, label in enumerate(models) if label in (panel.model, panel.x_label, panel.y_label)]
        is_map = panel.heat is not None or panel.surface is not None
        spec = panel_spec(panel, models, common, turned=turned)
        measure = panel.surface.z_label if panel.surface is not None else "" if is_map else panel.y_label
        if not is_map:
            # Said above the axes, where it is not cut off on a phone.
            del spec["layout"]["yaxis"]["title"]
        card = {"index": len(panels), "title": panel.title, "measure": measure, "models": own, "map": is_map}
        cards.append(card)
        share = 1.0 if panel.heat is not None else aspect(common)
        panels.append({**spec, "turned": turned, "aspect": share if is_map else 0})
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
        augmentation = {None: "", "none": "none"}.get(data.get("augmentation"), f"{data.get('augmentation')}, frozen")
        key = (name, str(data["images"]), augmentation, str(data["seed"]), size, job["precision"])
        rows.setdefault(key, []).append(job["model"]["label"])
    names = ("data", "images", "augmentation", "seed", "size", "precision")
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
