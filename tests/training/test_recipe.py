"""Recipes: the paper's numbers, the learning rate's course, and what is refused."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_optimizer import SAM
from torch import nn

from visionscope.core.sample import InputConfig
from visionscope.data.augmentation import paper_augmentation
from visionscope.errors import ConfigError
from visionscope.training.optimizers import average_of, optimizer_of
from visionscope.training.recipe import RECIPES, Recipe, choose_recipe


def test_the_papers_recipe_on_cifar() -> None:
    # PAPER.md 1.0.1, from the authors' configuration.
    recipe = RECIPES["paper-cifar"]
    asked = {
        "optimizer": "adamw",
        "learning_rate": 1.25e-4,
        "weight_decay": 5e-2,
        "decays": "all",
        "batch_size": 96,
        "rand_augment": "rand-m9-n2-mstd1.0",
        "erase": 0.0,
        "label_smoothing": 0.1,
        "mixup": 1.0,
        "cutmix": 0.8,
        "clip_norm": 5.0,
        "drop_path": 0.1,
        "crop": "pad",
        "padding": 4,
        "flip": 0.5,
    }
    assert {name: getattr(recipe, name) for name in asked} == asked
    assert recipe.epochs * recipe.warm_up == pytest.approx(5)
    assert recipe.epochs == 300 + 5


def test_the_recipe_of_the_laptop_study_is_the_papers_but_for_what_makes_it_short_and_plain() -> None:
    pico = dataclasses.asdict(RECIPES["pico"])
    others = {name for name, value in dataclasses.asdict(RECIPES["weak"]).items() if value != pico[name]}
    short = {"epochs", "warm_up", "batch_size", "learning_rate", "drop_path", "clip_norm"}
    assert others == short | {"precision"}
    assert RECIPES["pico"].precision == "fp32"  # auto would depend on the processor


def test_the_papers_recipe_on_imagenet_differs_where_its_configuration_does() -> None:
    changed = {
        name: value
        for name, value in dataclasses.asdict(RECIPES["paper-imagenet"]).items()
        if value != getattr(RECIPES["paper-cifar"], name)
    }
    assert changed == {
        "batch_size": 128,
        "clip_norm": 0.0,
        "crop": "resized",
        "rand_augment": "rand-m9-n2-mstd0.5",
        "erase": 0.25,
    }


@pytest.mark.parametrize(
    ("recipe", "strength", "size"),
    [("paper-cifar", "strong", 32), ("paper-imagenet", "strong", 224), ("weak", "weak", 32)],
)
def test_what_is_drawn_is_what_curvature_is_measured_on(recipe: str, strength: str, size: int) -> None:
    config = InputConfig(size=(size, size), mean=(0, 0, 0), std=(1, 1, 1))
    assert RECIPES[recipe].augmentation == paper_augmentation(strength, config)


def test_weak_has_crop_and_flip_alone() -> None:
    weak = RECIPES["weak"]
    assert (weak.rand_augment, weak.mixup, weak.cutmix, weak.label_smoothing, weak.clip_norm) == ("", 0, 0, 0, 0)
    assert (weak.crop, weak.flip, weak.learning_rate) == ("pad", 0.5, 1.25e-4)


@given(done=st.floats(0, 1), warm_up=st.floats(0, 0.9))
def test_the_learning_rate_climbs_to_its_peak_and_falls_to_zero(done: float, warm_up: float) -> None:
    recipe = Recipe(warm_up=warm_up, learning_rate=0.5)
    rate = recipe.learning_rate_at(done)
    assert 0 <= rate <= 0.5
    if done < warm_up:
        assert rate == pytest.approx(0.5 * done / warm_up)
    assert recipe.learning_rate_at(1.0) == pytest.approx(0, abs=1e-12)
    assert recipe.learning_rate_at(warm_up) == pytest.approx(0.5)


def test_halfway_after_the_warm_up_the_learning_rate_is_half() -> None:
    recipe = Recipe(warm_up=0.1, learning_rate=0.5)
    assert [recipe.learning_rate_at(done) for done in (0.05, 0.55)] == pytest.approx([0.25, 0.25])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, r"epochs: must be a number above 0 and at most 1000000; got 0"),
        ({"epochs": math.inf}, r"epochs: must be a number above 0 and at most 1000000; got inf"),
        ({"minutes": -1.0}, r"minutes: must be a number above 0 and at most 1000000; got -1\.0"),
        ({"learning_rate": math.nan}, r"learning_rate: must be a number above 0 and at most 1000; got nan"),
        ({"warm_up": 1.0}, r"warm_up: must be a number of at least 0 and below 1; got 1\.0"),
        ({"drop_path": -0.1}, r"drop_path: must be a number of at least 0 and below 1; got -0\.1"),
        ({"ema": 1.0}, r"ema: must be a number of at least 0 and below 1; got 1\.0"),
        ({"clip_norm": math.inf}, r"clip_norm: must be a number from 0 to 1000000; got inf"),
        ({"batch_size": 1}, r"batch_size: must be an integer from 2 to 65536; got 1"),
        ({"optimizer": "adam"}, r"optimizer: must be one of adamw, sgd; got 'adam'\. Did you mean 'adamw'"),
        ({"decays": "none"}, r"decays: must be one of all, matrices; got 'none'"),
        ({"crop": "padd"}, r"crop: must be one of centre, pad, resized; got 'padd'\. Did you mean 'pad'\?"),
        ({"precision": "bf8"}, r"precision: must be one of auto, fp32, bf16, fp16; got 'bf8'"),
        ({"sam": 0.05, "precision": "fp16"}, r"sam: does not work with precision fp16"),
        ({"snapshots": (0,)}, r"snapshots: each must be an integer from 1 to 1000000; got 0"),
        ({"learningrate": 1}, r"recipe weak: there is no field 'learningrate'\. Did you mean 'learning_rate'"),
    ],
)
def test_what_is_no_recipe_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_recipe("weak", changes)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"recipe: must be one of .*; got 'papercifar'\. Did you mean 'paper-cifar'"):
        choose_recipe("papercifar", {})


def test_what_is_none_leaves_the_recipes_value() -> None:
    assert choose_recipe("laptop", {"epochs": None, "batch_size": 48}) == dataclasses.replace(
        RECIPES["laptop"], batch_size=48
    )


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)


def test_weight_decay_acts_on_what_the_recipe_says() -> None:
    network = _Layer()
    everything = optimizer_of(network, Recipe(weight_decay=0.1))
    assert [(len(group["params"]), group["weight_decay"]) for group in everything.param_groups] == [(2, 0.1)]
    matrices = optimizer_of(network, Recipe(weight_decay=0.1, decays="matrices"))
    assert [(group["params"][0].ndim, group["weight_decay"]) for group in matrices.param_groups] == [(2, 0.1), (1, 0.0)]


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_sharpness_aware_minimization_steps_along_the_gradient_at_the_worst_point_nearby(name: str) -> None:
    # By hand: for f(w) = |w|^4 / 4 the gradient at w + rho g / |g| is (|w| + rho)^3 in w's direction.
    weight = nn.Parameter(torch.tensor([[0.6], [0.8]]))
    network = nn.Module()
    network.register_parameter("weight", weight)
    recipe = Recipe(optimizer=name, sam=0.5, learning_rate=0.1, weight_decay=0.0, momentum=0.0)
    optimizer = optimizer_of(network, recipe)
    assert isinstance(optimizer, SAM)
    seen = []

    def closure() -> torch.Tensor:
        loss = weight.square().sum().square() / 4
        optimizer.zero_grad()
        loss.backward()
        seen.append(float(weight.grad.norm()))
        return loss

    closure()
    optimizer.step(closure)
    assert seen == pytest.approx([1.0, 1.5**3], rel=1e-5)
    moved = 0.1 * 1.5**3 if name == "sgd" else 0.1 * math.sqrt(2)
    direction = torch.tensor([0.6, 0.8]) if name == "sgd" else torch.ones(2) / math.sqrt(2)
    expected = torch.tensor([0.6, 0.8]) - moved * direction
    torch.testing.assert_close(weight.detach().flatten(), expected, rtol=1e-4, atol=1e-4)


def test_the_average_follows_its_recursion_and_holds_buffers() -> None:
    network = nn.BatchNorm1d(2)
    average = average_of(network, Recipe(ema=0.75))
    expected = None
    for value in (1.0, 3.0, 2.0):
        with torch.no_grad():
            network.weight.fill_(value)
            network.running_mean.fill_(-value)
        average.update_parameters(network)
        expected = value if expected is None else 0.75 * expected + 0.25 * value
    assert average.module.weight.tolist() == pytest.approx([expected] * 2)
    assert average.module.running_mean.tolist() == pytest.approx([-expected] * 2)
    assert average_of(network, Recipe()) is None
