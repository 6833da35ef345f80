"""Training: train and demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from visionscope.config import Parser

if TYPE_CHECKING:
    from jsonargparse import Namespace


def train_flags(parser: Parser) -> None:
    """Adds the flags of train."""
    parser.add_argument("model", type=str, metavar="MODEL", help="[LABEL=]SPEC[?key=value][@FILE]")
    parser.add_argument("--data", type=str, required=True, help="data spec without split, such as embedded")
    parser.add_argument("--out", type=str, default="visionscope-run", help="run folder; weights go below its train/")
    parser.add_argument("--epochs", type=float, default=10.0, help="passes over the training images at most")
    parser.add_argument("--minutes", type=float, default=None, help="ends the training after so long")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
    parser.add_argument("--fraction", type=float, default=1.0, help="share of the training images of each class")


def train(parsed: Namespace) -> int:
    """Trains a model and says how many test images it gets right."""
    from visionscope.training.loop import Progress, train

    def report(progress: Progress) -> None:
        line = f"epoch {progress.epoch:.1f}, {progress.done:.0%}, {progress.seconds:.0f} s, loss {progress.loss:.3f}"
        sys.stderr.write(f"\r{line}\x1b[K" if sys.stderr.isatty() else "")

    named = {name: parsed[name] for name in ("epochs", "minutes", "seed", "fraction")}
    trained = train(parsed.model, parsed.data, Path(parsed.out), report=report, **named)
    sys.stderr.write("\n" if sys.stderr.isatty() else "")
    sys.stdout.write(f"{trained.accuracy:.1%} of {trained.images} test images right; weights: {trained.checkpoint}\n")
    return 0


def demo_flags(parser: Parser) -> None:
    """Adds the flags of demo."""
    parser.add_argument("--out", type=str, default="visionscope-demo", help="run folder; the same command resumes it")
    parser.add_argument("--seed", type=int, default=0, help="of the networks and of the sample")


def demo(parsed: Namespace) -> int:
    """Carries out the demo."""
    from visionscope.demo import demo

    shown = demo(parsed.out, seed=parsed.seed, say=lambda line: _say(sys.stderr, line))
    for finding in shown.findings:
        _say(sys.stdout, f"* {finding}")
    _say(sys.stdout, f"The page: {shown.page}")
    return 0


def _say(stream: TextIO, line: str) -> None:
    stream.write(f"{line}\n")
    stream.flush()
