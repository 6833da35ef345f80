"""The whole story in a minute or two: three small trained networks are looked into and put on one page."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from visionscope.api import diagnose
from visionscope.core.failures import Failure
from visionscope.models.shipped import SHIPPED, card
from visionscope.running.study import DEFAULT_DIAGNOSTICS
from visionscope.training.evaluation import Scores
from visionscope.training.train import Trained, train

EPOCHS = 12.0
"""Of a demo that trains: about six minutes on two cores, for networks nearly as good as those that ship."""

_DATA = "embedded"
_SAY_EVERY = 30.0  # seconds
_ASKED: Mapping[str, Mapping[str, int]] = {
    "lesion": {"sample_size": 512},
    "frequency_noise": {"sample_size": 512},
    "calibration": {},
    "shape_bias": {"sample_size": 1000},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demo made.

    Attributes:
        page: the report.
        accuracies: share of the test images that each network gets right.
        findings: the sentences at the top of the page.
        failures: what could not be computed or shown.
    """

    page: Path
    accuracies: Mapping[str, float]
    findings: tuple[str, ...]
    failures: tuple[Failure, ...] = ()


def demo(out: str, *, epochs: float | None = None, seed: int = 0, say: Callable[[str], None]) -> Demo:
    """Diagnoses three networks on `embedded`'s test images and writes the report.

    `resnet_nano` has convolutions alone, `vit_nano` attention alone but for its stem, `alternet_nano` attention at the
    end of the later stages of a convolutional network. Their weights come with the package, unless they are to be
    trained: then by the recipes of those weights, for so many epochs, whatever the machine's speed.

    Called again with the same arguments, it goes on where it was stopped.

    Args:
        out: run folder.
        epochs: passes over `embedded`'s train split in a training of each network; None takes the weights that ship.
        seed: of the networks that are trained, and of the sample.
        say: takes lines about what is going on.

    Raises:
        VisionscopeError: when the run folder can't be written.
    """
    specs, scores = list(SHIPPED), {name: Scores(**json.loads(card(name)["scores"])) for name in SHIPPED}
    if epochs is not None:
        say(f"training {', '.join(SHIPPED)} on {_DATA}, {epochs:g} epochs each, in a process each")
        trained = _train_side_by_side(out, epochs, seed, say)
        specs = [f"{name}={name}@{result.checkpoint}" for name, result in trained.items()]
        scores = {name: result.scores for name, result in trained.items() if result.scores}
    for name, score in scores.items():
        low, high = (100 * end for end in score.top_1_interval)
        share = f"{100 * score.top_1:.1f} % of {score.images:,} test images"
        say(f"{name}: {share} right (95 % interval {low:.1f} to {high:.1f} %)")
    say("looking at their feature maps, at what breaks them, and at how far they can be trusted")
    with _one_thread():
        run = diagnose(specs, _DATA, out=out, seed=seed, only=[*DEFAULT_DIAGNOSTICS, *_ASKED], fields=_ASKED)
    told = json.loads((Path(out) / "report.json").read_text(encoding="utf-8"))
    said = {one["anchor"]: one["headline"] for one in told["findings"]}
    return Demo(
        page=run.page,
        accuracies={name: score.top_1 for name, score in scores.items()},
        findings=tuple(said[anchor] for anchor in told["main"]),
        failures=run.failures,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Inside, sums are added in one order, however many cores there are; layers this small gain little from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train_side_by_side(out: str, epochs: float, seed: int, say: Callable[[str], None]) -> dict[str, Trained]:
    """One process of one thread per network: more threads gain little in layers this small, and change the sums."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(SHIPPED), context, torch.set_num_threads, (1,)) as pool:
        running: dict[str, Future[Trained]] = {name: pool.submit(_train, name, out, epochs, seed) for name in SHIPPED}
        waited = 0.0
        while wait(running.values(), _SAY_EVERY).not_done:
            waited += _SAY_EVERY
            say(f"  {waited:.0f} s")
        return {name: future.result() for name, future in running.items()}


def _train(name: str, out: str, epochs: float, seed: int) -> Trained:
    recipe: dict[str, Any] = {**json.loads(card(name)["asked"])["recipe"], "epochs": epochs, "snapshots": ()}
    return train(name, _DATA, Path(out), seed=seed, **recipe)
