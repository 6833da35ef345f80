"""Training: train and demo."""

from __future__ import annotations

import dataclasses
import sys
import typing
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from visionscope.commands.output import tell_failures
from visionscope.config import Parser, meanings
from visionscope.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from visionscope.training.clock import Progress

_HELP = {
    "data": "data spec without split, such as embedded or cifar10/",
    "recipe": "paper-cifar, paper-imagenet, weak, laptop or speed; the flags below replace its fields",
    "out": "run folder; weights go below its train/, and the same command goes on where it was stopped",
    "seed": "of weights, order, augmentation and dropout",
    "fraction": "share of the training images of each class, such as 1/16",
    "same": "what a fraction leaves the same: epochs (fewer steps) or steps",
    "validation": "share of the training images held out; the best weights on them are kept as best.safetensors",
    "devices": "processes on each machine, one GPU each where there are GPUs",
    "nodes": "machines",
    "workers": "further processes that prepare batches",
    "track": "trackers besides log.csv by comma: tensorboard, wandb, mlflow",
}
_DEFAULTS: dict[str, Any] = {
    "recipe": "laptop",
    "out": "visionscope-run",
    "seed": 0,
    "fraction": "1",
    "same": "epochs",
    "validation": 0.0,
    "devices": 1,
    "nodes": 1,
    "workers": 0,
    "track": "",
}


def train_flags(parser: Parser) -> None:
    """Adds the flags of train: its own and one for each field of a recipe."""
    from visionscope.training.recipe import Recipe

    parser.add_argument("model", type=str, metavar="MODEL", help="[LABEL=]SPEC[?key=value][@FILE]")
    parser.add_argument("--data", type=str, required=True, help=_HELP["data"])
    for name, default in _DEFAULTS.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=_HELP[name])
    group = parser.add_argument_group("fields of the recipe")
    hints, texts = typing.get_type_hints(Recipe), meanings(Recipe)
    for field in dataclasses.fields(Recipe):
        kind = str if field.name == "snapshots" else hints[field.name]
        flag = f"--{field.name.replace('_', '-')}"
        group.add_argument(flag, type=typing.Optional[kind], default=None, help=texts[field.name])  # noqa: UP045


def train(parsed: Namespace) -> int:
    """Trains a model and says how it does on the test images."""
    from visionscope.training.recipe import Recipe
    from visionscope.training.train import train as carry_out

    given = {name: parsed[name] for name in _DEFAULTS if name not in ("out", "fraction", "track")}
    changes = {field.name: parsed[field.name] for field in dataclasses.fields(Recipe)}
    changes["snapshots"] = _whole_numbers("snapshots", parsed.snapshots)
    track = tuple(name.strip() for name in parsed.track.split(",") if name.strip())
    given |= {"fraction": _share(parsed.fraction), "track": track, "note": lambda line: say(sys.stderr, line)}
    try:
        with _Bar() as bar:
            trained = carry_out(parsed.model, parsed.data, Path(parsed.out), report=bar.show, **given, **changes)
    except KeyboardInterrupt:
        say(sys.stderr, "\nStopped. The same command goes on from the last minute.")
        return 130
    if _rank():  # of several processes the first one speaks
        return 0
    scores = trained.scores
    low, high = (100 * end for end in scores.top_1_interval)
    say(
        sys.stdout,
        f"{scores.top_1:.1%} of {scores.images} test images right (95 % interval {low:.1f} to {high:.1f} %), "
        f"{scores.top_5:.1%} among five, NLL {scores.nll:.3f}; weights: {trained.checkpoint}",
    )
    return 0


def demo_flags(parser: Parser) -> None:
    """Adds the flags of demo."""
    parser.add_argument("--out", type=str, default="visionscope-demo", help="run folder; the same command resumes it")
    parser.add_argument("--seed", type=int, default=0, help="of the networks and of the sample")


def demo(parsed: Namespace) -> int:
    """Carries out the demo."""
    from visionscope.demo import demo

    shown = demo(parsed.out, seed=parsed.seed, say=lambda line: say(sys.stderr, line))
    for finding in shown.findings:
        say(sys.stdout, f"* {finding}")
    say(sys.stdout, f"The page: {shown.page}")
    return tell_failures(shown.failures)


def say(stream: TextIO, line: str) -> None:
    """Writes a line at once."""
    stream.write(f"{line}\n")
    stream.flush()


def _rank() -> int:
    """The number of this process among several, from their launcher's environment."""
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    return getattr(rank_zero_only, "rank", None) or 0


class _Bar:
    """One bar on stderr with epoch, loss, images per second and the time left; silent where that is no terminal."""

    def __init__(self) -> None:
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty() or _rank() > 0,
        )
        self._task = self._bars.add_task("reading images", total=1.0, left="")

    def __enter__(self) -> _Bar:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def show(self, progress: Progress) -> None:
        """Moves the bar; the time left comes from the whole training's pace, evaluations included."""
        left = progress.seconds * (1 - progress.done) / progress.done
        text = f"epoch {progress.epoch:.1f}  loss {progress.loss:.3f}  {progress.images_per_second:.0f} images/s"
        about = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
        self._bars.update(self._task, completed=progress.done, description=text, left=f"{about} left")


def _share(text: str) -> float:
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise ConfigError(f"fraction: must be a number such as 0.25 or 1/16; got {text!r}") from None


def _whole_numbers(name: str, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{name}: must be whole numbers by comma, such as 5,10; got {text!r}") from None
