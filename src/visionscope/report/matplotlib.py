"""Plain figure descriptions drawn with matplotlib, in the style of a paper: PDF and 300 dpi PNG."""

import io
import math
import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure as Drawing
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from PIL import Image

from visionscope.core.figure import Figure, Heat, Line, Panel, Surface
from visionscope.report.arrange import (
    FEW_LINES,
    OVERLAY_LIMIT,
    Limits,
    axes_of,
    groups,
    kinds_drawn,
    kinds_shaded,
    scopes_named,
    set_apart,
    shaded_steps,
    spans_zero,
    stage_labels,
    stage_ticks,
)
from visionscope.report.curves import FAINT, is_faint, marked_places, marks_of
from visionscope.report.lines import (
    edges,
    has_faint,
    has_whiskers,
    in_legend,
    is_scatter,
    measured,
    series_of,
    title_of,
)
from visionscope.report.naming import name_point, place_names
from visionscope.report.style import (
    SERIES_DASHES,
    mark_of,
    model_token,
    palette,
    paper_style,
    series_mark,
    shade_of,
    shade_token,
)

_COLUMNS = 4
_LABEL_WIDTH = 30
_SIZE = {1: (3.6, 2.3), 2: (2.9, 2.1), 3: (2.3, 1.9), 4: (1.8, 1.7)}
_SHEET, _PICTURE = 6.8, 0.75
_FRAME = 0.12
_TITLE_LETTER, _TITLE_LINE = 0.075, 0.15
_LEGEND_MARK, _LEGEND_LETTER = 0.5, 0.047
_SHADED = {"msa": "#dfe2e6", "down": "#cfe0f7"}


def to_matplotlib(figure: Figure) -> Drawing:
    """The figure as a matplotlib figure, in no window: it is drawn with a canvas of its own.

    Args:
        figure: what a diagnostic's `figure(table)` returns.
    """
    figure = set_apart(figure, only_crowded=True)
    with paper_style():
        rows = [row for group in groups(figure) for row in _rows(group)]
        sizes = [_sheet_size(row) or _SIZE[min(len(group), _COLUMNS)] for group, row in rows]
        width = max(size[0] * min(len(group), _COLUMNS) for (group, _), size in zip(rows, sizes, strict=True))
        heights = [size[1] + 0.35 for size in sizes]
        title = textwrap.wrap(figure.title, max(1, int(width / _TITLE_LETTER))) or [""]
        height = sum(heights) + 0.35 + _TITLE_LINE * (len(title) - 1)
        # The layout leaves labels of subfigures a little beyond the edge: a frame keeps them on the paper.
        # The bar beside surfaces of equal aspect needs more.
        right = 1.6 if all(panel.surface is None for panel in figure.panels) else 2.4
        frame = (_FRAME / width, _FRAME / 3 / height, 1 - right * _FRAME / width, 1 - _FRAME / 3 / height)
        layout = ConstrainedLayoutEngine(rect=frame)
        drawing = Drawing(figsize=(width, height), layout=layout)
        drawing.suptitle("\n".join(title), x=0.01, ha="left", fontsize=9, fontweight="bold")
        parts = drawing.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, (group, row) in zip(parts, rows, strict=True):
            _draw_row(part, group, row, models=_lines_of(figure))
        # Settle the layout once; each format would do it again.
        drawing.draw_without_rendering()
        drawing.set_layout_engine("none")
        place_names(drawing)
    return drawing


def _sheet_size(row: list[Panel]) -> tuple[float, float] | None:
    """Width and height of a contact sheet in inches, from the pictures that it has; None for curves and maps."""
    if not row[0].pictures:
        return None
    columns, rows = (
        max(found) for found in zip(*((max(map(len, p.pictures)), len(p.pictures)) for p in row), strict=True)
    )
    width = min(_SHEET, _PICTURE * columns)
    return width, min(_SHEET * 1.3, width / columns * rows / 0.8)


def _rows(group: list[Panel]) -> list[tuple[list[Panel], list[Panel]]]:
    return [(group, group[start : start + _COLUMNS]) for start in range(0, len(group), _COLUMNS)]


def _lines_of(figure: Figure) -> list[str]:
    labels = [panel.model for panel in figure.panels if panel.model and panel.lines]  # what has no lines has no colour
    named = (line.name for panel in figure.panels if not panel.model for line in measured(panel))
    return list(dict.fromkeys([*labels, *named]))


def _draw_row(part: Any, group: list[Panel], row: list[Panel], *, models: list[str]) -> None:
    shared = {id(panel): common for panel, common in zip(group, axes_of(group), strict=True)}
    columns = min(len(group), _COLUMNS)
    axes = part.subplots(1, columns, squeeze=False)[0]
    for ax in axes[len(row) :]:
        ax.set_visible(False)
    measure = ""
    for ax, panel in zip(axes, row, strict=False):
        if panel.pictures:
            _draw_pictures(ax, panel)
            continue
        ax.set_title(_safe("\n".join(textwrap.wrap(title_of(panel), _LABEL_WIDTH))), loc="left")
        ax.set_xlabel(_safe("\n".join(textwrap.wrap(panel.x_label, _LABEL_WIDTH))))
        if panel.y_label != measure or panel.heat is not None:
            ax.set_ylabel(_safe("\n".join(textwrap.wrap(panel.y_label, _LABEL_WIDTH))))
        measure = panel.y_label
        if panel.heat is not None:
            _draw_heat(ax, panel.heat, shared[id(panel)])
        elif panel.surface is not None:
            _draw_surface(ax, panel.surface, shared[id(panel)])
        else:
            _draw_lines(ax, panel, shared[id(panel)], models, series_of(group), named=_has_names(group))
    drawn = list(axes[: len(row)])
    common = shared[id(row[0])]
    if row[0].surface is not None:
        _surface_bar(part, drawn, row[0].surface, common)
    elif row[0].heat is not None:
        low, high = common.z or (0.0, 1.0)
        bar = part.colorbar(ScalarMappable(Normalize(low, high), _heat_colours()), ax=drawn, shrink=0.8, pad=0.02)
        bar.outline.set_visible(False)
    elif any(line.shade is not None for panel in row for line in panel.lines) and not scopes_named(group):
        colours = LinearSegmentedColormap.from_list("depth", shade_of("light"))
        bar = part.colorbar(ScalarMappable(Normalize(0, 1), colours), ax=drawn, shrink=0.8, pad=0.02, ticks=[0, 1])
        bar.ax.set_yticklabels(["first", "last"])
        bar.set_label("layer", labelpad=-12)
        bar.outline.set_visible(False)
    # One legend for the group, below its last row.
    handles = _legend(group, models) if row[-1] is group[-1] else []
    if handles:
        part.legend(
            handles=handles,
            loc="outside lower center",
            ncols=_columns_of([handle.get_label() for handle in handles], part.bbox.width / part.get_figure().dpi),
        )


def _columns_of(labels: list[str], width: float) -> int:
    """As many columns as fit a legend of this width in inches, in rows of equal length."""
    fitting = max(1, int(width / (_LEGEND_MARK + _LEGEND_LETTER * max(map(len, labels)))))
    return math.ceil(len(labels) / math.ceil(len(labels) / fitting))


def _draw_lines(
    ax: Axes, panel: Panel, common: Limits, models: list[str], series: dict[str, int], *, named: bool
) -> None:
    colours = palette("light")
    if common.x is not None:
        ax.set_xlim(*common.x)
    if common.y is not None:
        ax.set_ylim(*common.y)
    if panel.x_names:
        slanted: dict[str, Any] = (
            {"rotation": 40, "ha": "right"} if len("  ".join(panel.x_names)) > _LABEL_WIDTH else {}
        )
        ax.set_xticks(range(len(panel.x_names)), [_safe(name) for name in panel.x_names], **slanted)
    if kinds_shaded([panel]):
        _shade_kinds(ax, panel.lines[0])
    for x in panel.boundaries:
        ax.axvline(x, color=colours["boundary"], linewidth=0.5, linestyle=":")
    if spans_zero(panel, common):
        ax.axvline(0, color=colours["muted"], linewidth=0.6)
    for line in panel.lines:
        if line.role == "reference":
            ax.plot(line.x, line.y, color=colours["boundary"], linewidth=0.6, zorder=1)
            continue
        label = panel.model or line.name
        token = model_token(models.index(label)) if line.shade is None else shade_token(line.shade)
        _draw_line(ax, line, colours[token], series.get(line.name, 0))
        for index, name in enumerate([line.name] if named else line.names):
            name_point(ax, _safe(name), (line.x[index], line.y[index]))
        if line.filled and len(panel.lines) <= FEW_LINES:
            ax.fill_between(line.x, 0, line.y, color=colours[token], alpha=0.18, linewidth=0, zorder=1)


def _has_names(group: list[Panel]) -> bool:
    """Whether each point has its name beside it: in scatter plots with more names than colours."""
    names = {line.name for panel in group for line in measured(panel)}
    return all(map(is_scatter, group)) and len(names) > OVERLAY_LIMIT


def _draw_line(ax: Axes, line: Line, colour: str, series: int) -> None:
    x, y, grey = np.array(line.x), np.array(line.y), palette("light")["faint"]
    own = [grey if is_faint(line, index) else colour for index in range(len(x))]
    if line.role != "points":
        ax.plot(x, y, color=colour, linestyle=SERIES_DASHES[series % len(SERIES_DASHES)][1], zorder=2)
    ends = edges(line)
    if ends is not None and has_whiskers(line):
        ax.vlines(x, *ends, colors=own, linewidth=0.7, zorder=2)
    elif ends is not None:
        ax.fill_between(x, *ends, color=colour, alpha=0.18, linewidth=0, zorder=1)
    marks = marks_of(line, series)
    for index in marked_places(line):
        fill = own[index] if marks[index].filled and not is_faint(line, index) else "white"
        style: dict[str, Any] = {"markersize": 3.4, "markerfacecolor": fill, "markeredgecolor": own[index]}
        look: dict[str, Any] = {"marker": marks[index].marker, "markeredgewidth": 0.7, "linestyle": "none"}
        ax.plot(x[index], y[index], zorder=3, **look, **style)


def _draw_pictures(ax: Axes, panel: Panel) -> None:
    """A contact sheet as axes inside the panel's place."""
    ax.set_axis_off()
    if panel.model:  # each model has a sheet of its own
        ax.set_title(_safe(panel.title), loc="left")
    columns, rows = max(map(len, panel.pictures)), len(panel.pictures)
    for row, pictures in enumerate(panel.pictures):
        for column, picture in enumerate(pictures):
            inner = ax.inset_axes((column / columns, 1 - (row + 1) / rows, 0.94 / columns, 0.78 / rows))
            inner.imshow(np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")), interpolation="nearest")
            inner.set_axis_off()
            inner.set_title(_safe(picture.title), fontsize=5, y=-0.02, va="top", pad=0)


def _shade_kinds(ax: Axes, line: Line) -> None:
    for start, x, kind in shaded_steps(line):
        ax.axvspan(start, x, color=_SHADED[kind], linewidth=0, zorder=0)


def _draw_heat(ax: Axes, heat: Heat, common: Limits) -> None:
    low, high = common.z or (0.0, 1.0)
    ax.imshow(
        np.array(heat.values, dtype=float), origin="lower", cmap=_heat_colours(), vmin=low, vmax=high, aspect="auto"
    )
    ax.set_facecolor("#d9dde1")
    ax.set_box_aspect(1)
    columns, rows = len(heat.names_x), len(heat.names_y)
    across, up = stage_ticks(heat)
    labels_x = stage_labels(across, columns, least=0.2)
    labels_y = stage_labels(up, rows, least=0.06)
    ax.set_xticks([position for position, _ in labels_x], [_safe(label) for _, label in labels_x])
    ax.set_yticks([position for position, _ in labels_y], [_safe(label) for _, label in labels_y])
    ax.tick_params(length=0)
    for draw, starts in ((ax.axvline, across), (ax.axhline, up)):
        for position, _ in starts:
            if position > 0:
                draw(position - 0.5, color="white", linewidth=0.5, alpha=0.6)
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(-0.5, rows - 0.5)


def _draw_surface(ax: Axes, surface: Surface, common: Limits) -> None:
    values = np.ma.masked_invalid(np.array(surface.values, dtype=float))
    ax.set_aspect("equal")
    for limit, span in ((ax.set_xlim, common.x), (ax.set_ylim, common.y)):
        if span is not None:
            limit(*span)
    # What is not finite stays the hatched ground.
    ax.patch.set(facecolor="#e3e6e9", hatch="/////", edgecolor="#9aa3ac", linewidth=0)
    if common.levels:
        ends = common.levels[0], common.levels[-1]
        look: dict[str, Any] = {"levels": common.levels, "extend": "max" if common.clipped else "neither"}
        ax.contourf(surface.x, surface.y, values, cmap=_surface_colours(), norm=Normalize(*ends), **look)
        ax.contour(surface.x, surface.y, values, levels=common.levels, colors="white", linewidths=0.35, alpha=0.6)
    for x, y, name in surface.marks:
        ax.plot(x, y, "o", markersize=3.2, markerfacecolor="white", markeredgecolor="black", markeredgewidth=0.6)
        note = ax.annotate(_safe(name), (x, y), (0, 4), textcoords="offset points", ha="center", fontsize=6)
        note.set_path_effects([withStroke(linewidth=1.5, foreground="white")])


def _surface_bar(part: Any, drawn: list[Axes], surface: Surface, common: Limits) -> None:
    if not common.levels:
        return
    extend = "max" if common.clipped else "neither"
    colours = ScalarMappable(Normalize(common.levels[0], common.levels[-1]), _surface_colours())
    bar = part.colorbar(colours, ax=drawn, shrink=0.8, pad=0.02, extend=extend)
    bar.set_label(_safe("\n".join(textwrap.wrap(surface.z_label, _LABEL_WIDTH))))
    bar.outline.set_visible(False)


def _surface_colours() -> LinearSegmentedColormap:
    colours = [(position, to_rgb(colour)) for position, colour in palette("light")["surface"]]
    return LinearSegmentedColormap.from_list("surface", colours)


def _heat_colours() -> LinearSegmentedColormap:
    colours = [(position, to_rgb(colour)) for position, colour in palette("light")["heat"]]
    return LinearSegmentedColormap.from_list("heat", colours)


def _legend(row: list[Panel], models: list[str]) -> list[Any]:
    colours = palette("light")
    handles: list[Any] = []
    unnamed = [] if _has_names(row) else row
    named = [line for panel in unnamed for line in in_legend(panel)]
    joined = {line.name for line in named if line.role != "points"}
    for name in dict.fromkeys(line.name for line in named):
        form: dict[str, Any] = {} if name in joined else {"linestyle": "none", "marker": "o", "markersize": 3.4}
        handles.append(Line2D([], [], color=colours[model_token(models.index(name))], label=_safe(name), **form))
    for name, shade in scopes_named(row).items():
        handles.append(Line2D([], [], color=colours[shade_token(shade)], label=_safe(name)))
    for name, place in series_of(row).items():
        look: dict[str, Any] = {"linestyle": SERIES_DASHES[place % len(SERIES_DASHES)][1], "color": "#59636e"}
        own = [line for panel in row for line in measured(panel) if line.name == name]
        mark = next((mark_of(kind) for line in own for kind in (line.kind, *line.kinds) if kind), series_mark(place))
        if all(line.role == "points" for line in own):
            look["linestyle"] = "none"
        if any(map(marked_places, own)):
            fill = "#59636e" if mark.filled else "white"
            look.update(marker=mark.marker, markersize=3.4, markerfacecolor=fill, markeredgewidth=0.7)
        handles.append(Line2D([], [], label=_safe(name), **look))
    if has_faint(row):
        grey: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": colours["faint"], "markersize": 4}
        handles.append(Line2D([], [], marker="o", linestyle="none", label=f"grey: {FAINT}", **grey))
    shaded = set(kinds_shaded(row))
    for kind in kinds_drawn(row):
        mark = mark_of(kind)
        fill = "#59636e" if mark.filled else "white"
        style: dict[str, Any] = {"markersize": 4, "markerfacecolor": fill, "markeredgecolor": "#59636e"}
        dot = Line2D([], [], marker=mark.marker, linestyle="none", markeredgewidth=0.7, label=mark.words, **style)
        handles.append(dot)
        if kind in shaded:
            handles.append(Patch(color=_SHADED[kind], label=f"after {mark.words}"))
    return handles


def _safe(text: str) -> str:
    """Dollar signs would start a formula."""
    return text.replace("$", r"\$")
