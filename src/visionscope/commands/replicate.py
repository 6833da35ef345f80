"""The paper's figures: replicate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visionscope.commands.experiments import GOES_ON, carry_out_experiment, sitting_flags, sitting_of
from visionscope.commands.output import command_text
from visionscope.core.display import show_table
from visionscope.core.terminal import say
from visionscope.core.values import Rule, Value
from visionscope.errors import ConfigError
from visionscope.experiments.catalogue import (
    PAPER_FIGURES,
    SCALES,
    ZOO,
    PaperFigure,
    figure_named,
    figures_at,
    study_of,
)
from visionscope.flags import Parser

if TYPE_CHECKING:
    from argparse import Namespace

_LIST, _ALL = "list", "all"
_FIGURES = Value(tuple[str, ...], Rule(count=(1, 100), empty=False, words="ids of figures, such as 1c 2a, all or list"))
_SCALE = Value(str, Rule(choices=SCALES), SCALES[0])
_OUT = Value(str, Rule(empty=False))
_MODELS = Value(str | None, Rule(empty=False))


def replicate_flags(parser: Parser) -> None:
    """Adds the flags of replicate."""
    parser.add_value("figure", _FIGURES, "ids of the paper's figures, such as 1c 2a; all; or list", words="+")
    parser.add_value("--scale", _SCALE, "laptop: hours on a processor; cifar, imagenet: the paper's; zoo: pretrained")
    parser.add_value("--models", _MODELS, "of the zoo: a text file, a model spec per line (default: 40 of timm's)")
    parser.add_value("--out", _OUT, "run folder (default visionscope-replicate-SCALE)")
    parser.add_switch("--dry-run", "show the plan, and train nothing")
    sitting_flags(parser, "data")


def replicate(parsed: Namespace) -> int:
    """Lists the paper's figures, or carries out the studies of some as one experiment."""
    scale = parsed.scale or SCALES[0]
    if _LIST in parsed.figure:
        return _list()
    figures = _chosen(parsed.figure, scale)
    sitting = sitting_of(parsed)
    out = parsed.out or f"visionscope-replicate-{scale}"
    words = [_ALL] if len(figures) == len(figures_at(scale)) else [figure.name for figure in figures]
    which = "all figures" if words == [_ALL] else f"Fig. {' '.join(words)}"
    title = f"Replication of Park & Kim 2022 at the {scale} scale, {which}"
    given = {"scale": scale, "out": out, **{name: getattr(parsed, name) for name in ("models", *GOES_ON)}}
    command = command_text(["replicate", *words], given)
    if scale == ZOO:
        from visionscope.commands.zoo import replicate_zoo

        how = {"title": title, "out": out, "dry": parsed.dry_run, "command": command}
        return replicate_zoo(figures, sitting, models=parsed.models, **how)
    if parsed.models is not None:
        raise ConfigError(f"--models: is for --scale {ZOO}; leave it out")

    from visionscope.experiments.merging import merged
    from visionscope.experiments.reading import experiment_from_file

    studies = [experiment_from_file(study_of(figure, scale), data=sitting.data) for figure in figures]
    return carry_out_experiment(merged(studies, title=title, out=out), sitting, dry=parsed.dry_run, command=command)


def _chosen(words: tuple[str, ...], scale: str) -> tuple[PaperFigure, ...]:
    if _ALL in words:
        return figures_at(scale)
    chosen = tuple(dict.fromkeys(figure_named(word) for word in words))
    for figure in chosen:
        if figure not in figures_at(scale):
            there = ", ".join(one.name for one in figures_at(scale)) or "none"
            raise ConfigError(f"figure: {figure.name} has no study of the scale {scale}; it has {there}")
    return chosen


def _list() -> int:
    rows = [
        (", ".join(figure.ids), figure.shows, ", ".join(scale for scale in SCALES if figure in figures_at(scale)))
        for figure in PAPER_FIGURES
    ]
    show_table("", ("figure", "shows", "scales"), rows)
    say("visionscope replicate FIGURE ... trains what a figure needs, measures it, and judges the paper's claims")
    return 0
