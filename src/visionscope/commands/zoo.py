"""The paper's figures over networks that others trained: what `replicate --scale zoo` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from visionscope.commands.output import exit_code
from visionscope.core.display import show_table
from visionscope.core.files import user_path
from visionscope.core.refusals import check_can_be_written
from visionscope.core.terminal import interrupted, say, tell
from visionscope.errors import ConfigError
from visionscope.experiments.catalogue import STUDIES, ZOO, PaperFigure, study_of
from visionscope.experiments.sitting import Sitting

if TYPE_CHECKING:
    from visionscope.experiments.zoo.plan import ZooPlan

MODELS = STUDIES / ZOO / "models.txt"
"""The list that ships."""


def replicate_zoo(
    figures: Sequence[PaperFigure],
    sitting: Sitting,
    *,
    models: str | None,
    title: str,
    out: str,
    dry: bool,
    command: str,
) -> int:
    """Measures the networks of a list, and judges the paper's claims over them.

    Args:
        figures: that have a study of this scale.
        sitting: how it goes.
        models: a file with a model spec per line; None for the list that ships.
        title: of the page.
        out: run folder.
        dry: whether the plan is all.
        command: that goes on with it, for who stops it.
    """
    for name in ("only_training", "seeds"):
        if getattr(sitting, name) not in (None, False):
            raise ConfigError(f"--{name.replace('_', '-')}: nothing is trained at the scale {ZOO}; leave it out")
    if not dry:
        check_can_be_written(user_path("out", out))

    from visionscope.experiments.zoo.asking import study_from_file, zoo_of
    from visionscope.experiments.zoo.listing import read_networks

    networks = read_networks(_list_of(models))
    studies = [study_from_file(study_of(figure, ZOO)) for figure in figures]
    zoo = zoo_of(studies, networks, title=title, data=sitting.data, out=out)

    from visionscope.experiments.zoo.plan import plan_zoo
    from visionscope.experiments.zoo.session import carry_out_zoo

    plan = plan_zoo(zoo)
    _tell_plan(plan)
    if dry:
        return 0
    try:
        ended = carry_out_zoo(plan, sitting, command, note=lambda line: tell(f"visionscope: {line}"))
    except KeyboardInterrupt as stop:
        interrupted(f"Stopped; what is finished is kept. Go on with: {command}")
        return exit_code(stop)
    for verdict in ended.verdicts:
        say(f"* {verdict.sentence}")
        if verdict.missing:
            say(f"  without {verdict.missing}")
    for lost in ended.lost:
        tell(f"visionscope: failed: {lost.text}")
    if ended.left:
        say(f"networks that are left: {ended.left}; go on with: {command}")
    if ended.page is not None:
        say(str(ended.page))
    return 1 if ended.lost else 0


def _list_of(models: str | None) -> Path:
    return MODELS if models is None else user_path("models", models)


def _tell_plan(plan: ZooPlan) -> None:
    """Writes what is there and what is left of every network."""
    count = len(plan.zoo.questions)
    rows = [
        (one.label, one.weights, f"{count - len(one.left)} of {count}", ", ".join(one.left)) for one in plan.networks
    ]
    show_table(plan.zoo.title, ("network", "weights", "measured", "left"), rows)
    images = max(part.settings.get("images", 256) for part in plan.zoo.asked)
    counts = f"{min(images, plan.images):,} of {plan.images:,} images"
    number = len(plan.networks)
    say(f"{number} network{'' if number == 1 else 's'}, each on {counts}: {plan.zoo.data}")
    missing = [one.label for one in plan.networks if one.weights == "not here" and one.left]
    if missing:
        say(f"weights that are not here, and can't be fetched now: {', '.join(missing)}")
