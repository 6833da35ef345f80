"""The plain figure that a diagnostic draws, free of any drawing library."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One curve with its band.

    Attributes:
        name: in the legend and on hover.
        x: abscissae.
        y: ordinates; NaN leaves a gap.
        error: half-width of the band at each x (one standard error), or None.
        shade: 0 to 1, position of the curve's colour between first and last layer, or None for the model's colour.
        kinds: kind of each x's point, for markers; empty where the whole curve is one point.
        hover: a text per x; empty where x and y say it all.
        kind: kind of the point that the whole curve belongs to, or None.
        filled: a density: the area below it is shaded, no point of it is marked.
        low: lower ends of 95 % intervals, drawn as whiskers or a band instead of `error`; None where there are none.
        high: their upper ends.
        faint: per x, whether the point differs from nothing but chance: drawn in grey; empty where all count.
        role: `curve`; `points`, marks that no line joins; `reference`, a thin grey line that is no measurement.
        starts: per x, the abscissa of the point that holds what this one's branch received, NaN where none does; empty
            where the points are no steps.
        points: per x, the name of the network's point that it shows, or one name for the whole curve; empty where the
            line shows none.
        names: per x, what is written beside its mark on paper, where nobody can hover; empty where nothing is.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    error: tuple[float, ...] | None = None
    shade: float | None = None
    kinds: tuple[str, ...] = ()
    hover: tuple[str, ...] = ()
    kind: str | None = None
    filled: bool = False
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    faint: tuple[bool, ...] = ()
    role: str = "curve"
    starts: tuple[float, ...] = ()
    points: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """One small image of a contact sheet.

    Attributes:
        png: the file's bytes.
        title: under the image.
    """

    png: bytes
    title: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heat:
    """A square or rectangular map of values.

    Attributes:
        values: rows of values, first row at the bottom; NaN is drawn as a hole.
        names_x: the name of each column.
        names_y: the name of each row.
        ticks: positions where a stage begins, with their labels.
        error: standard errors, the shape of `values`, or None.
        ticks_y: the same for the rows where they are not the columns' points.
    """

    values: tuple[tuple[float, ...], ...]
    names_x: tuple[str, ...]
    names_y: tuple[str, ...]
    ticks: tuple[tuple[int, str], ...] = ()
    error: tuple[tuple[float, ...], ...] | None = None
    ticks_y: tuple[tuple[int, str], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surface:
    """A quantity over a plane, drawn as contours and, where figures can be turned, in three dimensions.

    Attributes:
        x: abscissae of the columns.
        y: ordinates of the rows.
        values: values[j][i] at x[i], y[j]; NaN and infinity are holes.
        z_label: the quantity, with unit.
        marks: further places in the plane with their names, such as checkpoints.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]
    z_label: str
    marks: tuple[tuple[float, float, str], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes: curves, a map or a surface, of one model or of several.

    Attributes:
        model: the label of the model that it shows, or "" where every line names its own.
        title: above the axes.
        x_label: with unit.
        y_label: with unit.
        lines: the curves, drawn in order.
        heat: the map, instead of curves.
        group: panels of one group stand side by side with common axes.
        boundaries: abscissae where a stage begins, drawn as thin vertical lines.
        surface: a quantity over a plane, instead of curves.
        pictures: rows of images, instead of curves: a contact sheet.
        x_names: what stands at the abscissae 0, 1, 2, ... instead of numbers; empty where x is a quantity.
    """

    model: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...] = ()
    heat: Heat | None = None
    group: str = ""
    boundaries: tuple[float, ...] = ()
    surface: Surface | None = None
    pictures: tuple[tuple[Picture, ...], ...] = ()
    x_names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
    """What a diagnostic draws, free of any drawing library.

    Attributes:
        name: file name of the figure.
        title: above all panels.
        caption: what is drawn, over how many images, with which convention and which band.
        panels: in reading order.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
