"""One figure of the page: its groups of panels, the ways to look at them, and their legends."""

from collections.abc import Sequence
from typing import Any

from visionscope.core.figure import Figure, Panel
from visionscope.report.arrange import (
    OVERLAY_LIMIT,
    apart,
    axes_of,
    groups,
    is_density,
    is_overlay,
    kinds_drawn,
    kinds_shaded,
    reads_overlaid,
    scopes_named,
    titles_differ,
    together,
)
from visionscope.report.curves import FAINT, marked_places
from visionscope.report.lines import has_faint, in_legend, is_scatter, measured, series_of, title_of
from visionscope.report.pictures import sheet_sources
from visionscope.report.plotly import panel_spec
from visionscope.report.style import mark_of, palette, series_mark, shade_token
from visionscope.report.surfaces import aspect, remarks

TURNED = "3-D"
"""The view of surfaces that can be turned."""

_STROKES = ("", "6 4", "1.5 3", "6 3 1.5 3")


def section(figure: Figure, models: Sequence[str], panels: list[dict[str, Any]]) -> dict[str, Any]:
    """One figure for the template: its groups, each with one or two views, whose panels go to the shared list.

    Args:
        figure: what to show.
        models: the labels of all models of the report.
        panels: Plotly's specifications, to which those of this figure are added.
    """
    shown = []
    for group in groups(figure):
        views = _views(group)
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
                "series": _series(group),
                "faint": FAINT if has_faint(group) else "",
                "remarks": remarks(group, axes_of(group)),
            }
        )
    return {"name": figure.name, "title": figure.title, "caption": figure.caption, "groups": shown}


def _scopes(group: list[Panel]) -> list[tuple[str, str, str]]:
    """The parts of a model that a legend names: name, colour on light, colour on dark."""
    light, dark = palette("light"), palette("dark")
    named = scopes_named(group).items()
    return [(name, light[shade_token(shade)], dark[shade_token(shade)]) for name, shade in named]


def _series(group: list[Panel]) -> list[dict[str, Any]]:
    """What a legend says of a model's several curves: name, dashes and, where they have any, mark."""
    lines = [line for panel in group for line in measured(panel)]
    shown = []
    for name, place in series_of(group).items():
        own = [line for line in lines if line.name == name]
        joined = any(line.role == "curve" for line in own)
        kinds = [kind for line in own for kind in (line.kind, *line.kinds) if kind]
        mark = mark_of(kinds[0]) if kinds else series_mark(place)
        dash = _STROKES[place % len(_STROKES)]
        marked = any(map(marked_places, own))
        shown.append({"name": name, "dash": dash, "line": joined, "mark": mark if marked else None})
    return shown


def _colours(view: list[Panel], models: Sequence[str]) -> list[tuple[int, str]]:
    """The models that share a pair of axes, by their place among all models."""
    names = dict.fromkeys(line.name for panel in view if is_overlay(panel) for line in in_legend(panel))
    return [(models.index(name), name) for name in names if name in models]


def _views(group: list[Panel]) -> dict[str, list[Panel]]:
    """The ways to look at a group, the clearer one first; what can't be overlaid has one."""
    if group[0].surface is not None:
        return {"contour": group, TURNED: group}
    if any(panel.pictures or is_scatter(panel) for panel in group):
        return {"whole": group}
    titled = titles_differ(group)
    beside = [part for panel in group for part in (apart(panel, titled=titled) if is_overlay(panel) else [panel])]
    overlays = group if all(not panel.model and panel.lines for panel in group) else [together(group)]
    known = [panel for panel in overlays if panel is not None]
    if not any(map(is_overlay, known)) or max(len(measured(panel)) for panel in known) > OVERLAY_LIMIT:
        return {"side by side": beside}
    views = {"overlaid": known, "side by side": beside}
    return views if all(map(reads_overlaid, known)) else dict(reversed(views.items()))


def _cards(
    view: list[Panel], models: Sequence[str], panels: list[dict[str, Any]], *, turned: bool
) -> list[dict[str, Any]]:
    cards: list[dict[str, Any]] = []
    series = series_of(view)
    for panel, common in zip(view, axes_of(view), strict=True):
        # A map between two models names them at its axes, and goes with either.
        own = [index for index, label in enumerate(models) if label in (panel.model, panel.x_label, panel.y_label)]
        if panel.pictures:
            sources, lossy = sheet_sources(panel.pictures)
            titled = [[one.title for one in row] for row in panel.pictures]
            rows = [list(zip(*row, strict=True)) for row in zip(sources, titled, strict=True)]
            measure = "shown with lossy compression" if lossy else ""
            sheet = {"title": title_of(panel), "measure": measure, "models": own, "map": False, "pictures": rows}
            cards.append({**sheet, "columns": max(map(len, rows))})
            continue
        is_map = panel.heat is not None or panel.surface is not None
        spec = panel_spec(panel, models, common, turned=turned, series=series)
        card = {"index": len(panels), "title": title_of(panel), "measure": "", "models": own, "map": is_map}
        cards.append(card)
        share = 1.0 if panel.heat is not None else aspect(common)
        panels.append({**spec, "turned": turned, "aspect": share if is_map else 0})
    return cards
