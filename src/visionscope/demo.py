"""The whole story in a few minutes: two small networks are trained, looked into, and put on one page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow.parquet as pq

from visionscope.api import diagnose
from visionscope.report.summary import findings, main_findings
from visionscope.training.loop import Progress, train

MINUTES: Mapping[str, float] = {"resnet_nano": 0.9, "vit_nano": 1.6}

_LEARNING_RATES = {"resnet_nano": 6e-3, "vit_nano": 1e-3}
_DATA = "embedded"
_EPOCHS = 12.0
_SAY_EVERY = 10.0  # seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demo made.

    Attributes:
        page: the report.
        accuracies: share of the test images that each network gets right.
        findings: the sentences at the top of the page.
    """

    page: Path
    accuracies: Mapping[str, float]
    findings: tuple[str, ...]


def demo(out: str, *, minutes: Mapping[str, float] = MINUTES, seed: int = 0, say: Callable[[str], None]) -> Demo:
    """Trains `resnet_nano` and `vit_nano` on `embedded`, diagnoses both on its test images and writes the report.

    Called again with the same arguments, it goes on where it was stopped.

    Args:
        out: run folder.
        minutes: time for the training of each network; the learning rate comes down by then.
        seed: of the networks and of the sample.
        say: takes lines about what is going on.

    Raises:
        VisionscopeError: when the run folder can't be written.
    """
    specs, accuracies = [], {}
    for name, limit in minutes.items():
        say(f"training {name} on {_DATA}, {60 * limit:.0f} seconds at most")
        how = {"epochs": _EPOCHS, "minutes": limit, "learning_rate": _LEARNING_RATES[name]}
        trained = train(name, _DATA, Path(out), seed=seed, report=_reporter(say), **how)
        accuracies[name] = trained.accuracy
        say(f"{name} is right about {trained.accuracy:.1%} of {trained.images} test images")
        specs.append(f"{name}={name}@{trained.checkpoint}")
    say("looking at the feature maps of both")
    run = diagnose(specs, _DATA, out=out, seed=seed)
    # The page's own tables, so that these are its own sentences.
    tables = {path.stem: pq.read_table(path) for path in sorted((Path(out) / "tables").glob("*.parquet"))}
    chosen = main_findings(findings(tables, run.store.jobs()))
    return Demo(page=run.page, accuracies=accuracies, findings=tuple(one.text for one in chosen))


def _reporter(say: Callable[[str], None]) -> Callable[[Progress], None]:
    said = 0.0

    def report(progress: Progress) -> None:
        nonlocal said
        if progress.seconds - said >= _SAY_EVERY:
            said = progress.seconds
            say(f"  {progress.seconds:.0f} s: epoch {progress.epoch:.1f}, loss {progress.loss:.2f}")

    return report
