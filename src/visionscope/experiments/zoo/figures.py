"""The paper's figures over networks that others trained: a thin line per network, their mean, and the paper's own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from visionscope.claims.networks import ATTENTION_ALONE, CONVOLUTION_ALONE, Kind, network_claim
from visionscope.claims.one_seed import Tables
from visionscope.claims.over_networks import measure_networks, structure_of
from visionscope.claims.published import figure as published
from visionscope.core.figure import Figure, Line, Panel
from visionscope.experiments.catalogue import figure_named
from visionscope.experiments.figures.maps import similarities
from visionscope.experiments.figures.over_seeds import mean_line

Curve = tuple[tuple[float, ...], tuple[float, ...]]
"""Abscissae and ordinates of one network."""

MEAN = "mean over networks"
DEPTH = "depth"
_BRANCHES = {"msa": "attention branches", "mlp": "MLP branches", "conv": "convolution branches"}
_STEPS = 20  # of depth at which curves are averaged
_FEWEST = 5  # networks whose mean gets an interval
_MOST_MAPS = 6
_OTHERS = "other networks"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Series:
    """Curves that belong together.

    Attributes:
        name: of the panel.
        curves: by network.
        paper: lines of the paper's, on the same axes.
    """

    name: str
    curves: Mapping[str, Curve]
    paper: tuple[Line, ...] = ()


def zoo_figure(name: str, tables: Tables) -> Figure | None:
    """One of the paper's figures over the networks of a list.

    Args:
        name: of the figure.
        tables: of the networks.

    Returns:
        None where nothing of it was measured.
    """
    found = figure_named(name)
    table, draw = _DRAWN[found.name]
    panels = tuple(draw(tables)) if table in tables else ()
    if not panels:
        return None
    count = tables[table]["network"].nunique()
    networks = f"{count} network{'' if count == 1 else 's'}, pretrained"
    return Figure(
        name=f"figure_{found.name.replace('.', '_')}",
        title=f"{found.title}: {found.shows} ({networks})",
        caption=f"After {found.title} of Park & Kim (2022). A thin line is a network; means of 5 networks or "
        f"more have Student's 95 % interval. Then the same family by family, without intervals. {_REMARKS[found.name]}",
        panels=panels,
    )


def _of_2a(tables: Tables) -> Iterator[Panel]:
    """The change of the high frequencies at each kind of branch."""
    read = published("figD2_fourier")
    vit, resnet = (np.diff(read[name]["delta_log_amp_high"]) for name in ("ViT", "ResNet"))
    one_grid = np.diff(read["ResNet"]["points_per_curve"]) == 0
    depths = [np.arange(1, len(own) + 1) / len(own) for own in (vit, resnet)]
    paper = {
        "msa": _line("paper: ViT, ImageNet", depths[0][::2], vit[::2]),
        "mlp": _line("paper: ViT, ImageNet", depths[0][1::2], vit[1::2]),
        "conv": _line("paper: ResNet, ImageNet", depths[1][one_grid], resnet[one_grid]),
    }
    rows = tables["fourier"]
    rows = rows[rows["high_frequency"].eq(True) & rows["change_note"].fillna("").eq("")]
    series = [
        _Series(name=_BRANCHES[kind], curves=_curves(rows, "change", kind), paper=(paper[kind],)) for kind in paper
    ]
    yield from _bundles(series, tables, DEPTH, "change of the relative log-amplitude at the highest frequency")


def _of_9(tables: Tables) -> Iterator[Panel]:
    """The variance along the depth, on a scale of each network's own."""
    read = published("figD1_feature_variance")
    paper = {CONVOLUTION_ALONE.words: "ResNet", ATTENTION_ALONE.words: "ViT"}
    rows = tables["variance"]
    rows = rows[rows["variance"] > 0]
    curves = {network: _centred(curve) for network, curve in _curves(rows, "variance").items()}
    series = []
    for words, own in _by_kind(curves, tables).items():
        beside: tuple[Line, ...] = ()
        if words in paper:
            values = np.array(read[paper[words]], dtype=float)
            x = tuple(np.linspace(0, 1, len(values)).tolist())
            beside = (_line(f"paper: {paper[words]}, CIFAR-100", *_centred((x, tuple(values.tolist())))),)
        series.append(_Series(name=words, curves=own, paper=beside))
    yield from _bundles(series, tables, DEPTH, "ln of the variance over its median in the network")


def _of_10b(tables: Tables) -> Iterator[Panel]:
    """The change of accuracy without one branch."""
    read = published("figD4_lesion")
    vit = np.array(read["ViT_units_MSA_MLP_alternating"], dtype=float)
    resnet = np.array(read["ResNet_3x3conv_per_block_stages_3_4_6_3"], dtype=float)
    x = [np.linspace(0, 1, len(own)) for own in (vit, resnet)]
    paper = {
        "msa": _line("paper: ViT, CIFAR-100", x[0][::2], vit[::2]),
        "mlp": _line("paper: ViT, CIFAR-100", x[0][1::2], vit[1::2]),
        "conv": _line("paper: ResNet, CIFAR-100", x[1], resnet),
    }
    rows = tables["lesion_summary"]
    rows = rows[(rows["mode"] == "branch") & (rows["other_unit"] == "") & (rows["unit"] != "")]
    series = [
        _Series(name=_BRANCHES[kind], curves=_curves(rows, "change", kind), paper=(paper[kind],)) for kind in paper
    ]
    yield from _bundles(series, tables, DEPTH, "change of accuracy (percentage points)")


def _of_2b(tables: Tables) -> Iterator[Panel]:
    """What noise of each band costs, in percent of the accuracy above chance."""
    rows = tables["frequency_noise_summary"]
    spare = 100 * (rows["accuracy"] - rows["chance"]) - rows["change"]
    rows = rows.assign(lost=100 * rows["change"] / spare, depth=rows["frequency"], kind="")
    rows = rows[rows["frequency"].notna() & (spare > 0)]
    read, right = published("fig2b_noise"), published("figE1_imagenet_acc_robustness")
    paper = {}
    for words, name in ((CONVOLUTION_ALONE.words, "ResNet"), (ATTENTION_ALONE.words, "ViT")):
        share = 100 * np.array(read[name]) / (right[name][0] - 0.1)  # of 1,000 classes
        paper[words] = (_line(f"paper: {name}, ImageNet, noise of equal eps", np.array(read["f_over_pi"]), share),)
    series = [
        _Series(name=words, curves=own, paper=paper.get(words, ()))
        for words, own in _by_kind(_curves(rows, "lost"), tables).items()
    ]
    label = "change of accuracy, in % of that above chance"
    yield from _bundles(series, tables, "frequency of the noise (π rad/pixel)", label)


def _of_10a(tables: Tables) -> Iterator[Panel]:
    """How far similarity forms blocks, network by network; the maps where networks are few."""
    claim = network_claim("cka_blocks")
    lines: list[Line] = []
    names: list[str] = []
    for kind in filter(None, (claim.kind, claim.against)):
        values = [value for (value,) in measure_networks(claim, kind, tables).values.values()]
        if values:
            place = float(len(names))
            names.append(kind.words)
            single = (place + 0.12,) * len(values)
            lines.append(Line(name=f"networks: {kind.words}", x=single, y=tuple(values), role="points"))
            mean = mean_line(f"{MEAN}: {kind.words}", [place], [values], role="points")
            lines.append(mean if len(values) >= _FEWEST else dataclasses.replace(mean, low=None, high=None))
    label = "CKA within stages less across them"
    if lines:
        names_of = tuple(names)
        yield Panel(model="", title="blocks", x_label="", y_label=label, lines=tuple(lines), x_names=names_of)
    networks = list(dict.fromkeys(tables["similarity"]["network"]))
    if len(networks) <= _MOST_MAPS:
        yield from similarities(tables, networks)


def _bundles(series: Sequence[_Series], tables: Tables, x_label: str, y_label: str) -> Iterator[Panel]:
    """A panel per series with all its networks, then one per family with the means of its series."""
    there = [one for one in series if one.curves]
    several = len({network for one in there for network in one.curves}) > 1
    for one in there:
        shown = (
            *map(_thin, one.curves, one.curves.values()),
            _mean(MEAN, list(one.curves.values()), least=_FEWEST),
            *one.paper,
        )
        count = len(one.curves)
        title = f"{one.name}: {count} network{'' if count == 1 else 's'}"
        yield Panel(model="", title=title, x_label=x_label, y_label=y_label, lines=shown, group=y_label)
    family_of = dict(zip(tables["networks"]["network"], tables["networks"]["family"], strict=True))
    for family in sorted({family_of[network] for one in there for network in one.curves} if several else ()):
        lines: list[Line] = []
        networks: set[str] = set()
        for one in there:
            own = {network: curve for network, curve in one.curves.items() if family_of[network] == family}
            if own:
                networks |= set(own)
                lines += [*map(_thin, own, own.values()), _mean(one.name, list(own.values()))]
        group = f"{y_label}, by family"
        title = f"{family}: {len(networks)}"
        yield Panel(model="", title=title, x_label=x_label, y_label=y_label, lines=tuple(lines), group=group)


def _thin(network: str, curve: Curve) -> Line:
    return Line(name=network, x=curve[0], y=curve[1], role="reference")


def _line(name: str, x: Iterable[float], y: Iterable[float]) -> Line:
    return Line(name=name, x=tuple(map(float, x)), y=tuple(map(float, y)))


def _mean(name: str, curves: Sequence[Curve], *, least: float = math.inf) -> Line:
    """The mean of curves where two or more are known, between their own points; of so many with its interval."""
    if len(curves) == 1:
        return _line("one network" if name == MEAN else name, *curves[0])
    stops = np.array(sorted({x for xs, _ in curves for x in xs}))
    grid = stops if len(stops) <= _STEPS else np.linspace(stops[0], stops[-1], _STEPS + 1)
    at = np.array([np.interp(grid, *curve, left=np.nan, right=np.nan) for curve in curves])
    known = np.isfinite(at).sum(axis=0) >= 2
    x, columns = grid[known].tolist(), [column[np.isfinite(column)].tolist() for column in at.T[known]]
    if not x:
        return Line(name=name, x=(), y=())
    return (
        mean_line(name, x, columns)
        if len(curves) >= least
        else _line(name, x, [float(np.mean(one)) for one in columns])
    )


def _curves(rows: pd.DataFrame, column: str, kind: str | None = None) -> dict[str, Curve]:
    """Of each network the numbers along its depth, at points of one kind."""
    found: dict[str, Curve] = {}
    rows = rows[rows[column].notna()]
    if kind is not None:
        rows = rows[rows["kind"] == kind]
    for network, own in rows.groupby("network", sort=False):
        mean = own.groupby("depth")[column].mean()
        found[str(network)] = (tuple(map(float, mean.index)), tuple(map(float, mean)))
    return found


def _centred(curve: Curve) -> Curve:
    logs = np.log(curve[1])
    return curve[0], tuple((logs - np.median(logs)).tolist())


def _by_kind(curves: Mapping[str, Curve], tables: Tables) -> dict[str, dict[str, Curve]]:
    """Curves of convolutional networks, of attention networks and of all others."""
    kinds: tuple[Kind, ...] = (CONVOLUTION_ALONE, ATTENTION_ALONE)
    found: dict[str, dict[str, Curve]] = {words: {} for words in (*(kind.words for kind in kinds), _OTHERS)}
    for network, curve in curves.items():
        structure = structure_of(tables, network)
        words = next((one.words for one in kinds if structure is not None and one.holds(structure)), _OTHERS)
        found[words][network] = curve
    return found


_DRAWN: Mapping[str, tuple[str, Callable[[Tables], Iterator[Panel]]]] = {
    "2a": ("fourier", _of_2a),
    "2b": ("frequency_noise_summary", _of_2b),
    "9": ("variance", _of_9),
    "10a": ("similarity", _of_10a),
    "10b": ("lesion_summary", _of_10b),
}
"""The table of each figure, and what draws it."""

_REMARKS = {
    "2a": "Published values are read off the paper's figure. Depth runs from 0 to 1 in every network.",
    "2b": "Noise has equal energy in pixels in every band; the paper's grows with the frequency. A pixel is one of the "
    "network's own input.",
    "9": "Networks differ in the scale of their feature maps, so that each is divided by its median over depth; the "
    "paper's are, too.",
    "10a": "Mean CKA of points of one stage less that across stages; of networks of one stage, thirds of the depth.",
    "10b": "The paper removes a ResNet's 3x3 convolutions, here it is whole branches.",
}
