"""The whole story in a few minutes: three small networks are trained, looked into, and put on one page."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch

from visionscope.api import diagnose
from visionscope.core.failures import Failure
from visionscope.running.study import DEFAULT_DIAGNOSTICS
from visionscope.training.train import Trained, train

MINUTES: Mapping[str, float] = dict.fromkeys(("resnet_nano", "alternet_nano", "vit_nano"), 2.4)

_DATA = "embedded"
_EPOCHS = 12.0
_LEARNING_RATES = {"resnet_nano": 4e-3, "alternet_nano": 2e-3, "vit_nano": 1e-3}
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


def demo(out: str, *, minutes: Mapping[str, float] = MINUTES, seed: int = 0, say: Callable[[str], None]) -> Demo:
    """Trains three networks on `embedded`, diagnoses them on its test images and writes the report.

    `resnet_nano` has convolutions alone, `vit_nano` attention alone but for its stem, `alternet_nano` attention at the
    end of the later stages of a convolutional network.

    Called again with the same arguments, it goes on where it was stopped.

    Args:
        out: run folder.
        minutes: time for the training of each network; the learning rate comes down by then.
        seed: of the networks and of the sample.
        say: takes lines about what is going on.

    Raises:
        VisionscopeError: when the run folder can't be written.
    """
    say(f"training {', '.join(minutes)} on {_DATA}, {60 * max(minutes.values()):.0f} seconds at most")
    trained = _train_side_by_side(out, minutes, seed, say)
    for name, result in trained.items():
        scores = result.scores
        low, high = (100 * end for end in scores.top_1_interval)
        share = f"{scores.top_1:.1%} of {scores.images} test images"
        say(f"{name} is right about {share} (95 % interval {low:.1f} to {high:.1f} %)")
    say("looking at their feature maps, at what breaks them, and at how far they can be trusted")
    specs = [f"{name}={name}@{result.checkpoint}" for name, result in trained.items()]
    run = diagnose(specs, _DATA, out=out, seed=seed, only=[*DEFAULT_DIAGNOSTICS, *_ASKED], fields=_ASKED)
    told = json.loads((Path(out) / "report.json").read_text(encoding="utf-8"))
    said = {one["anchor"]: f"{one['headline']} {one['detail']}".strip() for one in told["findings"]}
    accuracies = {name: result.scores.top_1 for name, result in trained.items()}
    return Demo(
        page=run.page,
        accuracies=accuracies,
        findings=tuple(said[anchor] for anchor in told["main"]),
        failures=run.failures,
    )


def _train_side_by_side(
    out: str, minutes: Mapping[str, float], seed: int, say: Callable[[str], None]
) -> dict[str, Trained]:
    """One process per network: layers this small gain little from a second thread."""
    threads = max(1, (os.cpu_count() or 1) // len(minutes))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(minutes), context, torch.set_num_threads, (threads,)) as pool:
        running: dict[str, Future[Trained]] = {
            name: pool.submit(_train, name, out, limit, seed) for name, limit in minutes.items()
        }
        waited = 0.0
        while wait(running.values(), _SAY_EVERY).not_done:
            waited += _SAY_EVERY
            say(f"  {waited:.0f} s")
        return {name: future.result() for name, future in running.items()}


def _train(name: str, out: str, minutes: float, seed: int) -> Trained:
    rate = _LEARNING_RATES[name]
    plain: dict[str, Any] = {"crop": "centre", "flip": 0.0}  # in so few passes, augmentation costs more than it gives
    return train(
        name, _DATA, Path(out), seed=seed, epochs=_EPOCHS, minutes=minutes, learning_rate=rate, batch_size=32, **plain
    )
