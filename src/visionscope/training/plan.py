"""All that the training loop needs, put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from lightning_fabric import Fabric
from torch import nn

from visionscope.core.sample import InputConfig
from visionscope.training.clock import Progress
from visionscope.training.feed import Feed
from visionscope.training.recipe import Recipe
from visionscope.training.snapshots import Keeper


class Watching(Protocol):
    """Measures a network while it trains and changes nothing of it: `visionscope.Monitor`."""

    def begin(self, folder: Path, input: InputConfig, *, weight_decay: float, label_smoothing: float) -> None:
        """Takes what it needs to know of the training; `folder` is the training's own."""

    def finished(self, folder: Path) -> None:
        """Is told that the training in that folder had ended before."""

    def step(self, model: nn.Module, step: int, epoch: float) -> Mapping[str, float]:
        """Measures where that is due; what it gives goes to the trackers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """All that the loop needs.

    Attributes:
        fabric: launched, with the precision.
        network: in channels-last; trained in place.
        classes: size of its head.
        recipe: how.
        feed: of the training images.
        steps: how many, unless the recipe's clock ends it before.
        steps_per_epoch: with fractions.
        seed: of dropout and the like.
        keeper: writes snapshots and states.
        score: measures a network after an epoch; called in every process.
        columns: names of what it gives; of the first, the highest is the best.
        record: takes step and values after an epoch.
        report: takes the progress every 20 steps.
        selects: whether the scores are of a validation split, so that `best` can be kept.
        save_seconds: between two states.
        each_epoch: whether the network is scored after every epoch; else at the end alone.
        watch: takes the network, the steps and the epochs done, before the first step and after each; changes nothing.
        until: the snapshot after which the loop ends, to be gone on from; "" for the end.
    """

    fabric: Fabric
    network: nn.Module
    classes: int
    recipe: Recipe
    feed: Feed
    steps: int
    steps_per_epoch: float
    seed: int
    keeper: Keeper
    score: Callable[[nn.Module], Mapping[str, float]]
    columns: tuple[str, ...]
    record: Callable[[int, Mapping[str, float | None]], None]
    report: Callable[[Progress], None]
    selects: bool = False
    save_seconds: float = 60.0
    each_epoch: bool = True
    until: str = ""
    watch: Callable[[nn.Module, int, float], None] = lambda network, step, epoch: None
