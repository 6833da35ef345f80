"""Optimizers and averages of weights, as a recipe wants them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pytorch_optimizer import SAM
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from visionscope.training.precision import choose_precision
from visionscope.training.recipe import PRECISIONS, Recipe


def optimizer_of(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW or SGD in one fused kernel (except with fp16), inside SAM where the recipe has it.

    Args:
        network: whose parameters it moves.
        recipe: kind, learning rate, weight decay and what it acts on.
    """
    decays: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decays[recipe.objective.decaying(name, parameter)].append(parameter)
    groups = [
        {"params": parameters, "weight_decay": recipe.weight_decay if decaying else 0.0}
        for decaying, parameters in decays.items()
        if parameters
    ]
    # Fabric can't clip the gradients of a fused optimizer when the loss is scaled.
    fused = choose_precision(recipe.precision) != PRECISIONS["fp16"]
    arguments: dict[str, Any] = {"lr": recipe.learning_rate, "fused": fused}
    if recipe.optimizer == "sgd":
        arguments |= {"momentum": recipe.momentum, "nesterov": recipe.momentum > 0}
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[recipe.optimizer]
    if recipe.sam:
        return SAM(groups, kind, rho=recipe.sam, **arguments)
    chosen: torch.optim.Optimizer = kind(groups, **arguments)
    return chosen


def average_of(network: nn.Module, recipe: Recipe) -> AveragedModel | None:
    """The exponential moving average of weights and buffers, or None where the recipe has none.

    After step t it is decay * average + (1 - decay) * weights, beginning with the weights after the first step.

    Args:
        network: on its device.
        recipe: its `ema` is the decay.
    """
    if not recipe.ema:
        return None
    average: Any = get_ema_multi_avg_fn(recipe.ema)  # type: ignore[no-untyped-call]
    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seeds all generators for one step, so that dropout and drop path follow from the step and nothing before it.

    Args:
        seed: of the training.
        step: its number.
        rank: of the process.
    """
    entropy = hashlib.sha256(f"{seed}/step/{step}/{rank}".encode()).digest()
    random.seed(entropy[:8])
    np.random.seed(int.from_bytes(entropy[8:12], "little"))
    torch.manual_seed(int.from_bytes(entropy[12:19], "little"))


@contextmanager
def generators_put_back() -> Iterator[None]:
    """Leaves the generators of Python, numpy and torch as they were."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
