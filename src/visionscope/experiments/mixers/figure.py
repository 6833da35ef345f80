"""The figure of a study of mixers: accuracy against costs with the Pareto front, and against what the slot smooths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from visionscope.claims.one_seed import Tables
from visionscope.core.figure import Figure, Line, Panel
from visionscope.experiments.mixers.factorial import FACTS, effects_of
from visionscope.experiments.mixers.networks import (
    ATTENTION,
    SORTS,
    Network,
    networks_of,
    pareto,
    pooled_half_width,
)

_ACCURACY = "accuracy in %"
_FRONT = "Pareto front"
_MOST_NAMES = 12
_FEW_NAMED = "Named on paper: the fronts, AlterNet, and networks whose interval lies apart from AlterNet's."


def mixers_figure(tables: Tables, speeds: Mapping[str, float] | None = None) -> Figure | None:
    """Accuracy of every network against its MACs, its speed, and the change of high frequencies in its slot.

    Args:
        tables: of an experiment.
        speeds: images per second of each variant's network.

    Returns:
        None where the experiment is no study of mixers.
    """
    networks = networks_of(tables, speeds)
    panels = tuple(_panels(networks))
    if not panels:
        return None
    return Figure(
        name="mixers",
        title="Mixers in attention's place",
        caption=" ".join(
            [
                "Means over seeds; 95 % intervals from one deviation between seeds for all networks.",
                *_told_front("multiply-accumulates", [(one, one.macs) for one in networks]),
                *_told_front("speed", [(one, one.speed) for one in networks], sign=-1),
                *([_FEW_NAMED] if len(networks) > _MOST_NAMES else []),
                "The change is that of the highest frequency's log amplitude less the mean's in the slots:",
                "below 0 where they damp high frequencies more than the mean.",
            ]
        ),
        panels=panels,
    )


def _told_front(words: str, costs: Sequence[tuple[Network, float | None]], sign: int = 1) -> Iterator[str]:
    names = _front(costs, sign)
    if names:
        yield f"On the Pareto front of accuracy and {words}, the grey line: {', '.join(names)}."


def _front(costs: Sequence[tuple[Network, float | None]], sign: int = 1) -> list[str]:
    there = [(one, sign * cost) for one, cost in costs if cost is not None]
    front = pareto([cost for _, cost in there], [one.mean for one, _ in there])
    return [there[place][0].name for place in front]


def _named(networks: Sequence[Network], widths: Mapping[str, float]) -> set[str]:
    """Whose names stand beside their marks on paper: all where they are few, else those that say most."""
    if len(networks) <= _MOST_NAMES:
        return {one.name for one in networks}
    attention = [one for one in networks if one.sort == ATTENTION]
    apart = {
        one.name
        for one in networks
        for other in attention
        if abs(one.mean - other.mean) > widths[one.name] + widths[other.name]
    }
    fronts = {*_front([(one, one.macs) for one in networks]), *_front([(one, one.speed) for one in networks], sign=-1)}
    return apart | fronts | {one.name for one in attention}


def _panels(networks: Sequence[Network]) -> Iterator[Panel]:
    widths = dict(
        zip(
            (one.name for one in networks),
            pooled_half_width([list(one.accuracy.values()) for one in networks]),
            strict=True,
        )
    )
    named = _named(networks, widths)
    for title, label, values, better in (
        ("accuracy against MACs", "million MACs per image", [one.macs for one in networks], -1),
        ("accuracy against speed", "images per second, forward", [one.speed for one in networks], 1),
        (
            "accuracy against smoothing",
            "change of high frequencies (log amplitude)",
            [one.change for one in networks],
            0,
        ),
    ):
        there = [(one, float(x)) for one, x in zip(networks, values, strict=True) if x is not None]
        if there:
            yield _panel(title, label, there, widths, named, better)
    yield from _effects(networks)


def _effects(networks: Sequence[Network]) -> Iterator[Panel]:
    """Facts apart from pairs of facts, whose intervals are so long that they would flatten the others."""
    effects = effects_of(networks)
    for title, found in (
        ("what a fact adds", [one for one in effects if one.term in FACTS]),
        ("how facts interact", [one for one in effects if one.term not in FACTS]),
    ):
        if not found:
            continue
        mark = Line(
            name="effect, 95 % interval",
            x=tuple(map(float, range(len(found)))),
            y=tuple(one.effect for one in found),
            low=tuple(one.low for one in found),
            high=tuple(one.high for one in found),
            hover=tuple(f"{one.term}: {one.with_it} of {one.mixers} mixers" for one in found),
            role="points",
        )
        zero = Line(name="", x=(0.0, len(found) - 1.0), y=(0.0, 0.0), role="reference")
        yield Panel(
            model="",
            title=title,
            x_label="",
            y_label="effect on accuracy (points)",
            lines=(zero, mark),
            x_names=tuple(one.term for one in found),
            group=title,
        )


def _panel(
    title: str,
    label: str,
    there: Sequence[tuple[Network, float]],
    widths: Mapping[str, float],
    named: set[str],
    better: int,
) -> Panel:
    """One panel; `better` is the sign of the abscissa's good side, 0 where it has none."""
    lines = []
    if better:
        front = pareto([-better * x for _, x in there], [one.mean for one, _ in there])
        steps = sorted((there[place][1], there[place][0].mean) for place in front)
        lines.append(Line(name=_FRONT, x=tuple(x for x, _ in steps), y=tuple(y for _, y in steps), role="reference"))
    for sort in SORTS:
        own = [(one, x) for one, x in there if one.sort == sort]
        if own:
            lines.append(
                Line(
                    name=sort,
                    x=tuple(x for _, x in own),
                    y=tuple(one.mean for one, _ in own),
                    low=tuple(one.mean - widths[one.name] for one, _ in own),
                    high=tuple(one.mean + widths[one.name] for one, _ in own),
                    hover=tuple(one.name for one, _ in own),
                    names=tuple(one.name if one.name in named else "" for one, _ in own),
                    role="points",
                )
            )
    return Panel(model="", title=title, x_label=label, y_label=_ACCURACY, lines=tuple(lines), group=title)
