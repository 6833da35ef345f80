"""How the panels of a figure stand together: groups with common axes, and overlaid curves drawn apart."""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from visionscope.core.figure import Figure, Heat, Line, Panel
from visionscope.report.lines import edges, is_scatter, measured

OVERLAY_LIMIT = 6
"""Up to this many models share one pair of axes; beyond it each gets its own."""

SHADED_KINDS = ("msa", "down")

FEW_LINES = 6
"""Up to this many densities of one model are shaded and named in the legend."""

_MARGIN = 0.05
_LEVELS = 12
_USUAL = 0.9
_ROOM = 2.0
_LEAST_SHARE = 0.15
_ROUNDING = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Common axes of the panels of a group.

    Attributes:
        x: from, to; None where the axes find their own range.
        y: from, to.
        z: lowest and highest value of the colour scale of maps and surfaces.
        levels: the values at which surfaces have contour lines, the ends of the scale included.
        clipped: whether values of surfaces lie above the scale.
    """

    x: tuple[float, float] | None = None
    y: tuple[float, float] | None = None
    z: tuple[float, float] | None = None
    levels: tuple[float, ...] = ()
    clipped: bool = False


def groups(figure: Figure) -> list[list[Panel]]:
    """The panels of a figure, one list per row of panels, in reading order.

    Neighbours of the same named group stand together; so do neighbours without a group that measure the same.

    Args:
        figure: any figure.
    """
    return [list(members) for _, members in itertools.groupby(figure.panels, key=_row_of)]


def is_overlay(panel: Panel) -> bool:
    """Whether a panel shows several models, each line named after its own.

    Args:
        panel: any panel.
    """
    return not panel.model and len(measured(panel)) > 1


def is_density(panel: Panel) -> bool:
    """Whether a panel shows densities, which begin at zero.

    Args:
        panel: any panel.
    """
    return bool(panel.lines) and all(line.filled for line in panel.lines)


def shows_scopes(panel: Panel) -> bool:
    """Whether a panel shows densities of one model's parts.

    Args:
        panel: any panel.
    """
    return is_density(panel) and bool(panel.model) and all(line.shade is not None for line in panel.lines)


def scopes_named(panels: Sequence[Panel]) -> dict[str, float]:
    """The shade of each of a model's parts, where they are few enough to be told apart by colour.

    Args:
        panels: one group.
    """
    lines = [line for panel in panels if shows_scopes(panel) for line in panel.lines]
    shades = {line.name: line.shade for line in lines if line.shade is not None}
    # A name stands for one colour: models of unequal depth shade the same name differently.
    clear = all(line.shade == shades[line.name] for line in lines)
    return shades if clear and len(shades) <= FEW_LINES else {}


def spans_zero(panel: Panel, common: Limits) -> bool:
    """Whether a density goes on at either side of zero, which then gets a line.

    Args:
        panel: any panel.
        common: its axes.
    """
    return is_density(panel) and common.x is not None and common.x[0] < 0 < common.x[1]


def together(panels: Sequence[Panel]) -> Panel | None:
    """The overlay of panels that show one curve of one model each, or None where that can't be drawn or read.

    Args:
        panels: one group.
    """
    own = [measured(panel) for panel in panels]
    single = [len(lines) == 1 and lines[0].shade is None for lines in own]
    alike = len({_measure(panel) for panel in panels}) == 1 and len({panel.model for panel in panels}) == len(panels)
    if not all(single) or not all(panel.model for panel in panels) or not alike:
        return None
    if not 1 < len(panels) <= OVERLAY_LIMIT:
        return None
    lines = [dataclasses.replace(some[0], name=panel.model) for some, panel in zip(own, panels, strict=True)]
    references = dict.fromkeys(line for panel in panels for line in panel.lines if line.role == "reference")
    return dataclasses.replace(panels[0], model="", title="", lines=(*references, *lines), boundaries=())


def titles_differ(panels: Sequence[Panel]) -> bool:
    """Whether overlays need their titles to be told apart.

    Args:
        panels: any panels.
    """
    return len({panel.title for panel in panels if is_overlay(panel)}) > 1


def reads_overlaid(panel: Panel) -> bool:
    """Whether every curve of an overlay fills enough of the common axis to show its own ups and downs.

    Densities always do: their areas are what is compared.

    Args:
        panel: an overlay.
    """
    whole = _span(y for line in measured(panel) for y in line.y)
    spans = [_span(line.y) for line in measured(panel)]
    if whole is None or is_density(panel) or any(line.low is not None for line in measured(panel)):
        return True
    return all(span is None or span[1] - span[0] >= _LEAST_SHARE * (whole[1] - whole[0]) for span in spans)


def apart(panel: Panel, *, titled: bool = False) -> list[Panel]:
    """One panel per model of an overlay, each with its own vertical axis: changes are compared within a model.

    Args:
        panel: for which `is_overlay` holds.
        titled: keep the panel's title behind the model's name.
    """
    references = tuple(line for line in panel.lines if line.role == "reference")
    return [
        dataclasses.replace(panel, model=line.name, title=title if titled else line.name, lines=(*references, line))
        for line in measured(panel)
        for title in [f"{line.name}: {panel.title}"]
    ]


def set_apart(figure: Figure, *, only_crowded: bool) -> Figure:
    """The figure with its overlays drawn as small multiples.

    Args:
        figure: any figure.
        only_crowded: leave overlays of up to `OVERLAY_LIMIT` models as they are.
    """
    panels: list[Panel] = []
    titled = titles_differ(figure.panels)
    for panel in figure.panels:
        crowded = len(measured(panel)) > OVERLAY_LIMIT
        if is_overlay(panel) and not is_scatter(panel) and (crowded or not only_crowded):
            panels.extend(
                dataclasses.replace(part, group=panel.group or panel.title) for part in apart(panel, titled=titled)
            )
        else:
            panels.append(panel)
    return dataclasses.replace(figure, panels=tuple(panels))


def axes_of(panels: Sequence[Panel]) -> list[Limits]:
    """The axes of each panel of a group, shared by those that measure the same.

    Densities of a model's parts are compared with each other, and keep their model's axes.

    Args:
        panels: one group.
    """
    if any(panel.heat is not None for panel in panels):
        return [limits(panels)] * len(panels)
    if all(map(shows_scopes, panels)):
        return [limits([panel]) for panel in panels]
    return [limits([other for other in panels if _measure(other) == _measure(panel)]) for panel in panels]


def limits(panels: Sequence[Panel]) -> Limits:
    """Axes that hold every curve of the panels with its band, and a colour scale that holds every map.

    Panels drawn apart (all of one line with kinds) keep their own vertical range. Similarities, which lie between -1
    and 1, get a colour scale that ends at 1. That of surfaces may end below the largest value, see `_surface_limits`.

    Args:
        panels: of one group, all measuring the same.
    """
    if panels and panels[0].surface is not None:
        return _surface_limits(panels)
    lines = [line for panel in panels for line in panel.lines]
    if lines and all(map(is_density, panels)):
        high = (_span(y for line in lines for y in line.y) or (0.0, 1.0))[1]
        return Limits(x=_span(x for line in lines for x in line.x), y=(0.0, (1 + _MARGIN) * high or 1.0))
    own_y = len(panels) > 1 and all(_is_own_curve(panel) for panel in panels)
    values = [value for panel in panels if panel.heat for row in panel.heat.values for value in row]
    span = _span(values)
    if span is not None and span[0] >= -1 - _ROUNDING and span[1] <= 1 + _ROUNDING:
        span = (min(0.0, span[0]), 1.0)
    # Half a step beside the first and the last name: else a single name has its points all across the axis.
    named = [end for panel in panels if panel.x_names for end in (-0.5, len(panel.x_names) - 0.5)]
    return Limits(
        x=_padded(_span([*(value for line in lines for value in line.x), *named])),
        y=None if own_y else _padded(_span(value for line in lines for value in _edges(line))),
        z=span,
    )


def kinds_drawn(panels: Iterable[Panel]) -> tuple[str, ...]:
    """The kinds of point that panels show, in order of appearance, for the legend.

    Args:
        panels: any panels.
    """
    kinds = (kind for panel in panels for line in panel.lines for kind in (line.kind, *line.kinds) if kind)
    return tuple(dict.fromkeys(kinds))


def kinds_shaded(panels: Iterable[Panel]) -> tuple[str, ...]:
    """The kinds whose blocks have a shaded background: attention and downsampling, as in the paper's figure 8.

    Args:
        panels: any panels; those with several curves, and points that no line joins, are not shaded.
    """
    alone = (panel.lines[0] for panel in panels if len(panel.lines) == 1 and panel.lines[0].role == "curve")
    return tuple(dict.fromkeys(kind for line in alone for _, _, kind in shaded_steps(line)))


def shaded_steps(line: Line) -> list[tuple[float, float, str]]:
    """From where to where a curve's background is shaded, and for which kind: a branch's step.

    Args:
        line: a curve; one whose points are no steps of a network is not shaded.
    """
    steps = zip(line.starts, line.x, line.kinds, strict=False)
    return [(start, x, kind) for start, x, kind in steps if kind in SHADED_KINDS and math.isfinite(start)]


def stage_ticks(heat: Heat) -> tuple[tuple[tuple[int, str], ...], tuple[tuple[int, str], ...]]:
    """Where stages begin along the two axes of a map, with their names.

    Args:
        heat: the map; without ticks of its own the vertical axis takes the horizontal one's if it has the same points.
    """
    across = tuple(tick for tick in heat.ticks if tick[0] < len(heat.names_x))
    return across, heat.ticks_y or (across if heat.names_x == heat.names_y else ())


def stage_labels(ticks: Sequence[tuple[int, str]], count: int, *, least: float) -> list[tuple[float, str]]:
    """Labels in the middle of each stage along one axis of a map; a stage too narrow for its label goes without.

    Args:
        ticks: from `stage_ticks`.
        count: length of the axis in points.
        least: the smallest share of the axis that a label needs.
    """
    ends = [*(position for position, _ in ticks[1:]), count]
    wide = [
        (start, end, label) for (start, label), end in zip(ticks, ends, strict=False) if end - start >= least * count
    ]
    return [((start + end - 1) / 2, label) for start, end, label in wide]


def _row_of(panel: Panel) -> tuple[str, ...]:
    if panel.group:
        return (panel.group,)
    if panel.pictures:
        return ("", "pictures")
    return ("", "map") if panel.heat is not None else ("", *_measure(panel))


def _measure(panel: Panel) -> tuple[str, ...]:
    return panel.x_label, panel.y_label, panel.surface.z_label if panel.surface is not None else ""


def _surface_limits(panels: Sequence[Panel]) -> Limits:
    """One scale of height for surfaces, on which flat ones can still be read beside steep ones.

    Above the lowest value of all, each surface asks for twice the height that 90 % of its finite values stay below, and
    for no more than its largest; the scale takes the geometric mean of these heights and goes on to the next contour
    line. A paraboloid over a square is not cut when it is alone; a loss that explodes at the border is.
    """
    surfaces = [panel.surface for panel in panels if panel.surface is not None]
    finite = [values[np.isfinite(values)] for values in (np.array(one.values, dtype=float) for one in surfaces)]
    finite = [values for values in finite if values.size]
    x, y = (_span(value for one in surfaces for value in getattr(one, axis)) for axis in "xy")
    if not finite:
        return Limits(x=x, y=y)
    low = min(float(values.min()) for values in finite)
    tops = [min(float(v.max()), low + _ROOM * (float(np.quantile(v, _USUAL)) - low)) for v in finite]
    heights = [top - low for top in tops if top > low]
    top = low + (statistics.geometric_mean(heights) if heights else _MARGIN * (abs(low) or 1.0))
    levels = np.asarray(MaxNLocator(_LEVELS, steps=[1, 2, 2.5, 5, 10]).tick_values(low, top))
    levels = levels[: int(np.searchsorted(levels, top)) + 1]
    ends = float(levels[0]), float(levels[-1])
    return Limits(x=x, y=y, z=ends, levels=tuple(levels.tolist()), clipped=any(v.max() > ends[1] for v in finite))


def _is_own_curve(panel: Panel) -> bool:
    """Whether a panel's only curve has changes to compare within it alone; intervals ask for common axes."""
    return len(panel.lines) == 1 and bool(panel.lines[0].kinds) and panel.lines[0].low is None


def _edges(line: Line) -> Iterable[float]:
    return [*line.y, *(end for ends in edges(line) or () for end in ends)]


def _span(values: Iterable[float]) -> tuple[float, float] | None:
    finite = [value for value in values if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else None


def _padded(span: tuple[float, float] | None) -> tuple[float, float] | None:
    if span is None:
        return None
    pad = _MARGIN * (span[1] - span[0]) or _MARGIN * max(abs(span[0]), 1.0)
    return span[0] - pad, span[1] + pad
