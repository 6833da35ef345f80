"""A small search, and a trainer that knows accuracies beforehand: what a build-up decides needs no training."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from experiments.conftest import Inline
from visionscope.errors import VisionscopeError
from visionscope.experiments.buildup import running
from visionscope.experiments.buildup.networks import Network
from visionscope.experiments.buildup.running import Buildup, carry_out
from visionscope.experiments.buildup.search import Search
from visionscope.experiments.buildup.trainer import Held, ScoresBySeed
from visionscope.experiments.sitting import Sitting
from visionscope.training.evaluation import Scores

CNN = "resnet_nano?channels=(8,8,8)&stem_width=4&layers=(1,2,2)"
"""Stages of 1, 2 and 2 blocks: room for none, one and one."""

SEEDS = 8
"""Of `small`: looks after 4 and 8."""

Accuracy = Callable[[str, int], float]
"""Of a network's name and a seed."""


class Pretending:
    """Stands where `Trainer` stands, and trains nothing.

    Attributes:
        asked: the name, what it begins with and the seeds of everything that was to be trained, in order.
        fails: networks that can't be trained.
        lasts: how many seeds of a network can be trained, where not all.
        unscored: networks that can't be trained on fresh seeds.
    """

    def __init__(self, accuracy: Accuracy) -> None:
        self.held: dict[str, Held] = {}
        self.failed: dict[str, str] = {}
        self.asked: list[tuple[str, str | None, int]] = []
        self.fails: set[str] = set()
        self.lasts: dict[str, int] = {}
        self.unscored: set[str] = set()
        self._accuracy = accuracy

    def __call__(self, search: Search, *_: Any) -> "Pretending":
        return self

    def trained(self, networks: Sequence[Network], seeds: Sequence[int]) -> dict[str, str]:
        for network in networks:
            if network.after is not None and network.after.name not in self.held:
                self.trained([network.after], seeds)
            self.asked.append((network.name, network.after.name if network.after else None, len(seeds)))
            right = {seed: self._accuracy(network.name, seed) for seed in seeds if network.name not in self.fails}
            nll = dict.fromkeys(right, 1.0)
            self.held[network.name] = Held(top_1=right, nll=nll, parameters=10, gmacs=0.5)
        late = {name: f"seed {last}: it broke" for name, last in self.lasts.items() if last < len(seeds)}
        failed = {**dict.fromkeys(self.fails, "seed 0: it broke"), **late}
        return {network.name: failed[network.name] for network in networks if network.name in failed}

    def scored(self, networks: Sequence[Network], seeds: Sequence[int]) -> dict[str, ScoresBySeed]:
        for network in networks:
            if network.name in self.unscored:
                raise VisionscopeError(f"fewer than 2 fresh seeds are left: {network.name} failed")
        assert all(network.after is None for network in networks)  # the confirmation begins as the whole does
        return {
            network.name: {
                seed: Scores(images=100, top_1=self._accuracy(network.name, seed), top_5=1.0, nll=1.0) for seed in seeds
            }
            for network in networks
        }

    def weights(self, network: Network, seed: int) -> Path:
        return Path(f"{network.name}-{seed}.safetensors")


def carried_out(
    asked: Search,
    accuracy: Accuracy,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    fails: str = "",
    lasts: dict[str, int] | None = None,
    unscored: Sequence[str] = (),
    control: bool = False,
    early: Callable[[Buildup], None] = lambda found: None,
) -> tuple[Buildup, Pretending, list[str]]:
    trainer, lines = Pretending(accuracy), list[str]()
    trainer.fails, trainer.lasts, trainer.unscored = {fails}, lasts or {}, set(unscored)
    monkeypatch.setattr(running, "Trainer", trainer)
    monkeypatch.setattr(running, "executor_for", lambda *_, **__: contextlib.nullcontext(Inline()))
    asked = dataclasses.replace(asked, control=control)
    return carry_out(asked, Sitting(), run, lines.append, early=early), trainer, lines


def noise(name: str, seed: int) -> float:
    return 0.01 * math.sin(seed + 3 * len(name))


def late_helps(name: str, seed: int) -> float:
    """A block at the end of the last stage helps much, a further one in the stage before harms."""
    known = {"0,0,0": 0.5, "0,0,1": 0.7, "0,1,1": 0.6, "layer1.0": 0.55, "layer2.0": 0.65}
    return known.get(name.removesuffix(" again"), 0.4) + noise(name, seed)


def undecided(name: str, seed: int) -> float:
    """The second candidate is as good as its parent on average: only the last look says so."""
    return 0.7 + 0.05 * (-1) ** seed if name == "0,1,1" else late_helps(name, seed)


class Losing(Inline):
    """Can't train the winner on one of the fresh seeds."""

    def submit(self, work: Any, *args: Any, **more: Any) -> Future[None]:
        if args[0].asked["seed"] == 4 and "block_changes" in args[0].asked["model"]:
            future: Future[None] = Future()
            future.set_exception(RuntimeError("it broke"))
            return future
        return super().submit(work, *args, **more)


def flags(few: str, run: Path, *more: str, model: str = CNN, budget: str = "1h") -> list[str]:
    toy = ["--recipe", "pico", "--epochs", "1", "--budget", budget, "--out", str(run)]
    return ["buildup", model, "--data", few, *toy, *more]
