"""Training: train and demo."""

from __future__ import annotations

import dataclasses
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, TaskProgressColumn, TimeElapsedColumn

from visionscope.commands.output import exit_code, tell_failures
from visionscope.config import fields_from_flags
from visionscope.core.display import TaskText, bars
from visionscope.core.files import user_path
from visionscope.core.refusals import check_can_be_written
from visionscope.core.registry import check_known
from visionscope.core.rules import values_of
from visionscope.core.terminal import interrupted, say, tell
from visionscope.core.ticking import duration
from visionscope.core.values import Rule, Value
from visionscope.data.specs import check_apart, find_data, needs_both_splits
from visionscope.errors import ConfigError
from visionscope.flags import Parser
from visionscope.models.find import find_model
from visionscope.running.study import ONLY, Study
from visionscope.training.recipe import RECIPES, Recipe, choose_recipe
from visionscope.training.terms import Terms

if TYPE_CHECKING:
    from argparse import Namespace

    from visionscope.monitoring.monitor import Monitor
    from visionscope.training.clock import Progress
    from visionscope.training.train import Trained

_OUT = values_of(Study)["out"]
_ASKED = ("recipe", "task", "decoder", "seed", "fraction", "same", "validation", "scored")
_OF_RECIPES = "fields of the recipe; the defaults are those of laptop, other recipes have their own"
_GROUPS = {
    "steps": (
        *("epochs", "minutes", "batch_size", "optimizer", "learning_rate", "warm_up", "momentum", "weight_decay"),
        *("decays", "clip_norm", "sam", "ema", "snapshots"),
    ),
    "augmentation and regularisation, of the recipe, too": (
        *("crop", "padding", "flip", "rand_augment", "erase", "mixup", "cutmix", "label_smoothing", "drop_path"),
    ),
}
_MONITOR = Value(tuple[str, ...], Rule(count=(1, 1000), empty=False, distinct=True, words=ONLY.words))
_EVERY = Value(str, Rule(pattern="epoch|0*[1-9][0-9]{0,8}", words="epoch or a number of steps, 1 or more"), "epoch")
_AT_MOST = Value(float, Rule(above=0), 0.05)
_MONITOR_IMAGES = dataclasses.replace(values_of(Study)["images"], default=256)
_OF_MONITOR = ("monitor_every", "monitor_images", "monitor_at_most")
_MACHINE = ("precision", "compile", "devices", "nodes", "workers", "track")
_DEMO_OUT = dataclasses.replace(_OUT, default="visionscope-demo")


def train_flags(parser: Parser) -> None:
    """Adds the flags of train: its own and one for each field of a recipe."""
    parser.add_model()
    parser.begin_group("what is trained")
    data = "data with a train and a test split, which are not named: a folder, embedded, torch/NAME or hfds/NAME"
    parser.add_value("--data", values_of(Study)["data"], data, required=True)
    parser.add_value("--out", _OUT, "run folder, which the same command resumes")
    for name in _ASKED:
        parser.add_field(Terms, name)
    usual = RECIPES[Terms().recipe]
    for title, names in _GROUPS.items():
        parser.begin_group(title, _OF_RECIPES if title == "steps" else "")
        for name in names:
            parser.add_field(Recipe, name, default=getattr(usual, name))
    parser.begin_group("the machine")
    for name in _MACHINE:
        described = Terms if name in values_of(Terms) else Recipe
        parser.add_field(described, name, default=... if described is Terms else getattr(usual, name))
    parser.begin_group("while it trains")
    monitor = "diagnostics whose rows go to monitor.parquet; alone it lists them, --help NAME shows the flags of one"
    parser.add_value("--monitor", _MONITOR, monitor)
    parser.add_value("--monitor-every", _EVERY, "epoch, or a number of steps")
    parser.add_value("--monitor-images", _MONITOR_IMAGES, "whose feature maps are taken")
    parser.add_value("--monitor-at-most", _AT_MOST, "time that measuring may take, as a share of the training's own")
    parser.take_diagnostics_flags("--monitor", listed=False)


def _monitor(parsed: Namespace) -> Monitor | None:
    """What is asked of the network after every epoch, on the data's own images."""
    check_known("--monitor", parsed.monitor or ())
    fields = fields_from_flags(parsed, parsed.monitor or (), by="--monitor")
    given = {name: getattr(parsed, name) for name in _OF_MONITOR if getattr(parsed, name) is not None}
    if not parsed.monitor:
        for name in given:
            raise ConfigError(f"--{name.replace('_', '-')}: says how --monitor measures; name diagnostics with that")
        return None

    from visionscope.monitoring.monitor import Monitor

    every = given.get("monitor_every", "epoch")
    return Monitor(
        parsed.data,
        diagnostics=parsed.monitor,
        every=every if every == "epoch" else int(every),
        at_most=given.get("monitor_at_most", _AT_MOST.default),
        most_images=given.get("monitor_images", _MONITOR_IMAGES.default),
        fields=fields,
    )


def train(parsed: Namespace) -> int:
    """Trains a model and says how it does on the test images."""
    given = {name: getattr(parsed, name) for name in values_of(Terms) if getattr(parsed, name) is not None}
    changes = {name: getattr(parsed, name) for name in values_of(Recipe) if getattr(parsed, name) is not None}
    choose_recipe(Terms(**given).recipe, changes)  # what is wrong is told before torch is imported
    if find_data(parsed.data).split is not None:
        raise needs_both_splits(parsed.data)
    out = user_path("out", parsed.out or _OUT.default)
    check_apart(out, parsed.data)
    check_can_be_written(out)
    find_model(parsed.model).check_single()
    monitor = _monitor(parsed)

    from visionscope.training.train import train as carry_out

    try:
        with _Bar() as bar:
            asked: dict[str, Any] = {"report": bar.report, "note": tell, "monitor": monitor}
            trained = carry_out(parsed.model, parsed.data, out, **asked, **given, **changes)
    except KeyboardInterrupt as stop:
        interrupted("Stopped. The same command goes on from the last minute.")
        return exit_code(stop)
    if _rank():  # of several processes the first one speaks
        return 0
    if trained.segmentation is not None:
        _say_segmentation(trained)
        return 0
    scores = trained.scores
    assert scores is not None  # it went on to its end
    low, high = (100 * end for end in scores.top_1_interval)
    say(
        f"{scores.top_1:.1%} of {scores.images} test images right (95 % interval {low:.1f} to {high:.1f} %), "
        f"{scores.top_5:.1%} among five, NLL {scores.nll:.3f}; weights: {trained.checkpoint}",
    )
    if scores.top_1_interval[0] <= trained.chance:
        say(f"This is no better than chance: the most common class alone is {trained.chance:.1%} of these images.")
    return 0


def _say_segmentation(trained: Trained) -> None:
    scores = trained.segmentation
    assert scores is not None
    say(
        f"mean IoU {scores.mean_iou:.1%}, pixel accuracy {scores.pixel_accuracy:.1%} on {scores.images} test images, "
        f"NLL {scores.nll:.3f}; weights: {trained.checkpoint}"
    )
    if scores.pixel_accuracy <= trained.chance:
        say(f"This is no better than one class everywhere, which is right for {trained.chance:.1%} of the pixels.")


def demo_flags(parser: Parser) -> None:
    """Adds the flags of demo."""
    parser.add_value("--out", _DEMO_OUT, "run folder; the same command resumes it")
    parser.add_value("--seed", values_of(Study)["seed"], "of the sample, and of networks that are trained")
    parser.add_switch(
        "--train", "train the three networks first, about six minutes on two cores, instead of taking those that ship"
    )


def demo(parsed: Namespace) -> int:
    """Carries out the demo."""
    out = user_path("out", parsed.out or _DEMO_OUT.default)
    check_can_be_written(out)

    from visionscope.demo import EPOCHS, demo

    shown = demo(str(out), epochs=EPOCHS if parsed.train else None, seed=parsed.seed or 0, say=tell)
    for finding in shown.findings:
        say(f"* {finding}")
    say(f"The page: {shown.page}")
    return tell_failures(shown.failures)


def _rank() -> int:
    """The number of this process among several, from their launcher's environment."""
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    return getattr(rank_zero_only, "rank", None) or 0


class _Bar:
    """A bar on stderr with epoch, loss, images per second and the time left.

    Attributes:
        report: takes the progress; None where there is no terminal, and lines do instead.
    """

    def __init__(self) -> None:
        self._bars = bars(
            TaskText("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TaskText("{task.fields[left]}"),
            shown=_rank() == 0,
        )
        self._task = self._bars.add_task("reading images", total=1.0, left="")
        self.report = None if self._bars.disable else self._show

    def __enter__(self) -> _Bar:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def _show(self, progress: Progress) -> None:
        """Moves the bar; the time left comes from the whole training's pace, evaluations included."""
        left = f"{duration(progress.seconds_left)} left"
        self._bars.update(self._task, completed=progress.done, description=progress.text, left=left)
