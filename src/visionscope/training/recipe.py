"""Recipes: everything that says how a network is trained, as data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from visionscope.core.objective import Objective
from visionscope.data.augmentation import Augmentation
from visionscope.errors import ConfigError, nearest
from visionscope.training.precision import choose_precision

OPTIMIZERS = ("adamw", "sgd")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained. The defaults are the paper's on CIFAR (its section 3 and its code's configuration).

    The learning rate climbs linearly, step by step, over the share `warm_up` of the training and then falls to zero
    along half a cosine. Deviations from the authors' code: the cosine moves with every step, not every epoch, and the
    first step's rate is half a step's worth instead of 0.

    Attributes:
        epochs: passes over the training images, the warm-up's included.
        minutes: ends the training, with the learning rate down, after so long where that comes first; runs that the
            clock ends are not repeatable to the bit.
        warm_up: share of the training.
        batch_size: images per process and step.
        optimizer: `adamw` (Loshchilov & Hutter 2019) or `sgd` (with Nesterov's momentum).
        learning_rate: the highest.
        momentum: of `sgd`.
        weight_decay: decoupled for `adamw`; for `sgd` it joins the gradient.
        decays: `all` parameters (the paper) or `matrices`, those of two and more dimensions.
        sam: radius of sharpness-aware minimization (Foret et al. 2021), about 0.05; 0 for none. Each step costs two.
        clip_norm: largest norm of the whole gradient; 0 for no limit.
        label_smoothing: share of each target spread evenly over the classes.
        crop: `pad` (black border, then a random crop), `resized` (random share of the area) or `centre` (none).
        padding: pixels of that border.
        flip: probability of a horizontal flip.
        rand_augment: timm's recipe, such as `rand-m9-n2-mstd1.0`, or empty.
        erase: probability of random erasing.
        mixup: alpha of Mixup; 0 for none. With both, half of the batches get each.
        cutmix: alpha of CutMix.
        drop_path: rate of stochastic depth in the last block, growing linearly from 0 in the first.
        ema: decay per step of the weights' moving average, such as 0.9998; 0 for none.
        precision: `auto`, `32`, `bf16` or `fp16`.
        compile: whether torch.compile is put before the training; pays on GPUs.
        snapshots: epochs after which the weights are kept.

    Raises:
        ConfigError: for a value outside its range, naming the field.
    """

    epochs: float = 305.0
    minutes: float | None = None
    warm_up: float = 5 / 305
    batch_size: int = 96
    optimizer: str = "adamw"
    learning_rate: float = 1.25e-4
    momentum: float = 0.9
    weight_decay: float = 0.05
    decays: str = "all"
    sam: float = 0.0
    clip_norm: float = 5.0
    label_smoothing: float = 0.1
    crop: str = "pad"
    padding: int = 4
    flip: float = 0.5
    rand_augment: str = "rand-m9-n2-mstd1.0"
    erase: float = 0.0
    mixup: float = 1.0
    cutmix: float = 0.8
    drop_path: float = 0.1
    ema: float = 0.0
    precision: str = "auto"
    compile: bool = False
    snapshots: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("epochs", "minutes", "learning_rate"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name}: must be a positive number; got {value}")
        for name in ("clip_norm", "sam"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name}: must be a finite number of at least 0; got {getattr(self, name)}")
        for name in ("warm_up", "momentum", "drop_path", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}: must be at least 0 and below 1; got {getattr(self, name)}")
        if self.batch_size < 2:
            raise ConfigError(f"batch_size: must be at least 2, for batch normalisation; got {self.batch_size}")
        if self.optimizer not in OPTIMIZERS:
            hint = nearest(self.optimizer, OPTIMIZERS)
            raise ConfigError(f"optimizer: must be one of {', '.join(OPTIMIZERS)}; got {self.optimizer!r}.{hint}")
        if choose_precision(self.precision) == "16-mixed" and self.sam:
            raise ConfigError("sam: can't go with precision fp16, whose loss scaling allows one step; take bf16 or 32")
        if any(not 1 <= epoch <= self.epochs for epoch in self.snapshots):
            raise ConfigError(f"snapshots: must be epochs from 1 to {self.epochs:g}; got {self.snapshots}")
        _ = self.objective, self.augmentation  # their own rules

    @property
    def objective(self) -> Objective:
        """What the training makes small."""
        return Objective(label_smoothing=self.label_smoothing, weight_decay=self.weight_decay, decays=self.decays)

    @property
    def augmentation(self) -> Augmentation:
        """What is drawn for each image and each batch."""
        names = ("crop", "padding", "flip", "rand_augment", "erase", "mixup", "cutmix")
        return Augmentation(**{name: getattr(self, name) for name in names})

    def learning_rate_at(self, done: float) -> float:
        """The learning rate after a share of the training: linear up to `warm_up`, then (1 + cos) / 2 down to 0.

        Args:
            done: share of the training, 0 to 1.
        """
        if done < self.warm_up:
            return self.learning_rate * done / self.warm_up
        return self.learning_rate * (1 + math.cos(math.pi * (done - self.warm_up) / (1 - self.warm_up))) / 2


_PLAIN: dict[str, Any] = {"rand_augment": "", "mixup": 0.0, "cutmix": 0.0}
_LAPTOP: dict[str, Any] = {
    **_PLAIN,
    "epochs": 20.0,
    "warm_up": 0.1,
    "batch_size": 64,
    "learning_rate": 3e-3,
    "decays": "matrices",
    "drop_path": 0.0,
}

RECIPES: Mapping[str, Recipe] = {
    # DeiT's training as the paper uses it on CIFAR-10 and CIFAR-100, for CNNs and transformers alike.
    "paper-cifar": Recipe(),
    # The same on ImageNet.
    "paper-imagenet": Recipe(
        batch_size=128, clip_norm=0.0, crop="resized", rand_augment="rand-m9-n2-mstd0.5", erase=0.25
    ),
    # The paper's appendix F: crop and flip alone.
    "weak": Recipe(**_PLAIN, label_smoothing=0.0, clip_norm=0.0),
    # Small networks in minutes on two cores.
    "laptop": Recipe(**_LAPTOP),
    # Much accuracy per GPU-minute: large batches, a high learning rate, few epochs, an average of the weights.
    "speed": Recipe(
        **_PLAIN,
        epochs=30.0,
        warm_up=0.2,
        batch_size=512,
        optimizer="sgd",
        learning_rate=0.5,
        weight_decay=5e-4,
        decays="matrices",
        clip_norm=0.0,
        drop_path=0.0,
        ema=0.998,
        compile=True,
    ),
}


def choose_recipe(name: str, changes: Mapping[str, Any]) -> Recipe:
    """A recipe by name, with some fields changed.

    Args:
        name: in `RECIPES`.
        changes: fields by name; None leaves the recipe's own value.

    Raises:
        ConfigError: for an unknown name or field, or a value outside its range.
    """
    if name not in RECIPES:
        raise ConfigError(f"recipe: must be one of {', '.join(RECIPES)}; got {name!r}.{nearest(name, RECIPES)}")
    fields = [field.name for field in dataclasses.fields(Recipe)]
    for key in changes:
        if key not in fields:
            raise ConfigError(f"recipe {name}: there is no field {key!r}.{nearest(key, fields)}")
    return dataclasses.replace(RECIPES[name], **{key: value for key, value in changes.items() if value is not None})
