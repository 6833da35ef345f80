"""Colours and marks that every figure and the page share: two themes, depth colours, one mark per kind of point."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl

from visionscope.core.subject import KIND_WORDS, Kind

TOKEN = "@@"
"""Prefix of a colour that is named, not fixed: the page resolves it anew when the reader switches the theme."""

_STEPS = 100
_DEPTH_SPAN = {"light": (0.0, 0.88), "dark": (0.28, 1.0)}
_HEAT_MAP = "magma"


_SHAPES = {
    "star": "M0-5.5 1.3-1.8 5.2-1.7 2.1.7 3.2 4.4 0 2.2-3.2 4.4-2.1.7-5.2-1.7-1.3-1.8Z",
    "diamond": "M0-5.2 5.2 0 0 5.2-5.2 0Z",
    "circle": "M-4.4 0a4.4 4.4 0 1 0 8.8 0a4.4 4.4 0 1 0-8.8 0Z",
    "square": "M-4-4H4V4H-4Z",
    "triangle-up": "M0-4.6 4.8 3.6H-4.8Z",
    "triangle-down": "M0 4.6 4.8-3.6H-4.8Z",
    "hexagon": "M0-5 4.3-2.5V2.5L0 5-4.3 2.5V-2.5Z",
    "cross": "M-1.6-4.8H1.6V-1.6H4.8V1.6H1.6V4.8H-1.6V1.6H-4.8V-1.6H-1.6Z",
    "pentagon": "M0-5 4.8-1.5 2.9 4H-2.9L-4.8-1.5Z",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class KindMark:
    """How the points of one kind are named and drawn.

    Attributes:
        words: in the legend and in sentences.
        symbol: Plotly's marker; shape and filling both tell the kind, so that no colour is needed to read it.
        marker: matplotlib's marker.
        filled: whether the marker is filled with the line's colour.
        path: the same shape as an SVG path of about 10 units around the origin, for the page's legend.
    """

    words: str
    symbol: str
    marker: str
    filled: bool
    path: str


KIND_MARKS: dict[Kind, KindMark] = {
    Kind.STEM: KindMark(words=KIND_WORDS[Kind.STEM], symbol="star", marker="*", filled=True, path=_SHAPES["star"]),
    Kind.DOWN: KindMark(
        words=KIND_WORDS[Kind.DOWN], symbol="diamond", marker="D", filled=True, path=_SHAPES["diamond"]
    ),
    Kind.MSA: KindMark(words=KIND_WORDS[Kind.MSA], symbol="circle", marker="o", filled=True, path=_SHAPES["circle"]),
    Kind.MLP: KindMark(words=KIND_WORDS[Kind.MLP], symbol="square", marker="s", filled=False, path=_SHAPES["square"]),
    Kind.CONV: KindMark(
        words=KIND_WORDS[Kind.CONV], symbol="triangle-up", marker="^", filled=False, path=_SHAPES["triangle-up"]
    ),
    Kind.POOL: KindMark(
        words=KIND_WORDS[Kind.POOL], symbol="triangle-down", marker="v", filled=True, path=_SHAPES["triangle-down"]
    ),
    Kind.FOURIER: KindMark(
        words=KIND_WORDS[Kind.FOURIER], symbol="hexagon", marker="h", filled=False, path=_SHAPES["hexagon"]
    ),
    Kind.TOKEN_MLP: KindMark(
        words=KIND_WORDS[Kind.TOKEN_MLP], symbol="cross", marker="P", filled=False, path=_SHAPES["cross"]
    ),
    Kind.BLOCK: KindMark(
        words=KIND_WORDS[Kind.BLOCK], symbol="pentagon", marker="p", filled=True, path=_SHAPES["pentagon"]
    ),
}

_PLAIN_MARK = KindMark(words="point", symbol="circle", marker="o", filled=True, path=_SHAPES["circle"])

SERIES_DASHES: tuple[tuple[str, str | tuple[float, tuple[float, ...]]], ...] = (
    ("solid", "-"),
    ("dash", "--"),
    ("dot", ":"),
    ("dashdot", "-."),
    ("longdash", (0.0, (9.0, 3.0))),
)
"""How a model's several curves in one panel are told apart, in Plotly's and in matplotlib's words."""

_SERIES_MARKS = (
    _PLAIN_MARK,
    KindMark(words="", symbol="square", marker="s", filled=False, path=_SHAPES["square"]),
    KindMark(words="", symbol="diamond", marker="D", filled=True, path=_SHAPES["diamond"]),
    KindMark(words="", symbol="triangle-up", marker="^", filled=False, path=_SHAPES["triangle-up"]),
    KindMark(words="", symbol="cross", marker="P", filled=True, path=_SHAPES["cross"]),
    KindMark(words="", symbol="pentagon", marker="p", filled=False, path=_SHAPES["pentagon"]),
)

_THEMES: dict[str, dict[str, Any]] = {
    "light": {
        "paper": "#ffffff",
        "ink": "#1c2127",
        "muted": "#59636e",
        "grid": "#e8ebee",
        "axis": "#aab2bb",
        "boundary": "#8b949e",
        "faint": "#8b949e",
        "hole": "#eceff1",
        "contour": "rgba(255, 255, 255, 0.55)",
        "kind:msa": "rgba(90, 100, 112, 0.15)",
        "kind:down": "rgba(40, 110, 220, 0.17)",
        # Okabe and Ito's colour-blind safe set, ordered so that neighbours differ most.
        "models": ("#0072B2", "#D55E00", "#009E73", "#B5548C", "#B98000", "#3D9BD6"),
    },
    "dark": {
        "paper": "#171a1f",
        "ink": "#e7eaee",
        "muted": "#a3adb8",
        "grid": "#2a2f36",
        "axis": "#59626d",
        "boundary": "#7d8793",
        "faint": "#8a949f",
        "hole": "#2a2f36",
        "contour": "rgba(255, 255, 255, 0.4)",
        "kind:msa": "rgba(200, 210, 222, 0.13)",
        "kind:down": "rgba(90, 160, 255, 0.22)",
        "models": ("#5CB3F0", "#FF8A4C", "#35CFA0", "#EE9CCB", "#F0BE4A", "#A9B8FF"),
    },
}


def mark_of(kind: str | None) -> KindMark:
    """The mark of a kind; kinds that no table of ours knows get a plain dot.

    Args:
        kind: as tables spell it, or None for a curve without one.
    """
    return KIND_MARKS[Kind(kind)] if kind in set(Kind) else _PLAIN_MARK


def series_mark(place: int) -> KindMark:
    """The mark of one of several curves of a model.

    Args:
        place: its number, see `arrange.series_of`.
    """
    return _SERIES_MARKS[place % len(_SERIES_MARKS)]


def shade_token(shade: float) -> str:
    """Names the colour of a layer at a relative depth; `palette` gives its value per theme.

    Args:
        shade: 0 (first layer) to 1 (last layer).
    """
    return f"shade:{round(min(max(shade, 0.0), 1.0) * _STEPS)}"


def model_token(index: int) -> str:
    """Names the colour of a model; beyond six models they are drawn apart, so colours may repeat.

    Args:
        index: position of the model in the report.
    """
    return f"model:{index % len(_THEMES['light']['models'])}"


@functools.cache
def palette(theme: str) -> Mapping[str, Any]:
    """All named colours of a theme, as CSS colours (`heat` and `surface` as Plotly colour scales).

    Each line colour also exists as `TOKEN:band`, its translucent form for error bands. Depth colours are viridis,
    trimmed at the end that would vanish on the theme's paper.

    Args:
        theme: `light` or `dark`.
    """
    named: dict[str, Any] = {key: value for key, value in _THEMES[theme].items() if isinstance(value, str)}
    low, high = _DEPTH_SPAN[theme]
    viridis = mpl.colormaps["viridis"]
    for step in range(_STEPS + 1):
        named[f"shade:{step}"] = mpl.colors.to_hex(viridis(low + (high - low) * step / _STEPS))
    for index, colour in enumerate(_THEMES[theme]["models"]):
        named[f"model:{index}"] = colour
    for key in [key for key in named if key.startswith(("shade:", "model:"))]:
        red, green, blue = (round(255 * part) for part in mpl.colors.to_rgb(named[key]))
        named[f"{key}:band"] = f"rgba({red}, {green}, {blue}, 0.18)"
    magma = mpl.colormaps[_HEAT_MAP]
    named["surface"] = [[step / 32, mpl.colors.to_hex(viridis(step / 32))] for step in range(33)]
    named["heat"] = [[step / 32, mpl.colors.to_hex(magma(step / 32))] for step in range(33)]
    return named


def resolve(value: Any, colours: Mapping[str, Any]) -> Any:
    """A copy of a nested structure in which every named colour is replaced by its value.

    Args:
        value: dicts, lists and scalars; named colours are strings that begin with `TOKEN`.
        colours: from `palette`.
    """
    if isinstance(value, dict):
        return {key: resolve(part, colours) for key, part in value.items()}
    if isinstance(value, list):
        return [resolve(part, colours) for part in value]
    if isinstance(value, str) and value.startswith(TOKEN):
        return colours.get(value.removeprefix(TOKEN), value)
    return value


def shade_of(theme: str, count: int = 8) -> tuple[str, ...]:
    """Colours from first to last layer, for the depth legend.

    Args:
        theme: `light` or `dark`.
        count: how many.
    """
    colours = palette(theme)
    return tuple(colours[shade_token(step / (count - 1))] for step in range(count))


_PAPER: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 7,
    "axes.titlesize": 8,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "lines.linewidth": 0.9,
    "pdf.fonttype": 42,
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Inside, figures are drawn for papers: small sans-serif type, thin axes, editable text in the PDF.

    Nothing of a user's own settings of matplotlib has a say, so that the same tables make the same figures everywhere.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_PAPER)
        yield
