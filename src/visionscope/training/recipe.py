"""Recipes: everything that says how a network is trained, as data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from visionscope.core.objective import Objective
from visionscope.core.precisions import AUTO, BF16, FP16, FP32, meant
from visionscope.core.rules import check_rules, rule, same_rule
from visionscope.core.values import shown
from visionscope.data.draws import UNFOLLOWED, Augmentation, check_follows
from visionscope.errors import ConfigError, nearest

OPTIMIZERS = ("adamw", "sgd")
PRECISIONS = {FP32: "32-true", BF16: "bf16-mixed", FP16: "16-mixed"}
"""The precisions of a recipe, in Lightning Fabric's words."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained. The defaults are the paper's on CIFAR (its section 3 and its code's configuration).

    The learning rate climbs linearly, step by step, over the share `warm_up` of the training and then falls to zero
    along half a cosine. Deviations from the authors' code: the cosine moves with every step, not every epoch, and the
    first step's rate is half a step's worth instead of 0.

    Attributes:
        epochs: passes over the training images, the warm-up included.
        minutes: time limit in minutes, by which the learning rate is down; such runs are not repeatable to the bit.
        warm_up: share of the training over which the learning rate climbs.
        batch_size: images per process and step.
        optimizer: `adamw` (Loshchilov & Hutter 2019) or `sgd` (with Nesterov's momentum).
        learning_rate: highest learning rate, reached after the warm-up.
        momentum: momentum of `sgd`.
        weight_decay: factor of the weight decay; decoupled for `adamw`, joined to the gradient for `sgd`.
        decays: which parameters decay: `all` (the paper) or `matrices`, those of two or more dimensions.
        sam: radius of sharpness-aware minimization (Foret et al. 2021), about 0.05; 0 for none; doubles the cost.
        clip_norm: largest norm of the whole gradient; 0 for no limit.
        label_smoothing: share of each target that is spread evenly over the classes.
        crop: `pad` (black border, then a random crop), `resized` (a random share of the area) or `centre` (none).
        padding: width of the border of `pad`, in pixels.
        flip: probability of a horizontal flip.
        rand_augment: timm's RandAugment recipe, such as `rand-m9-n2-mstd1.0`; empty for none.
        erase: probability of random erasing.
        mixup: alpha of Mixup; 0 for none. With both Mixup and CutMix, each gets half of the batches.
        cutmix: alpha of CutMix; 0 for none.
        drop_path: rate of stochastic depth in the last block, growing linearly from 0 in the first.
        ema: decay per step of the weights' moving average, such as 0.9998; 0 for none.
        precision: `auto` (bf16 where the hardware computes in it, else fp16 on a GPU and fp32 on a processor), `fp32`,
            `bf16` or `fp16`; the narrow ones by autocast.
        compile: whether the network is compiled by torch.compile first; pays off on GPUs.
        snapshots: epochs after which the weights are kept, such as 1,5,20.

    Raises:
        ConfigError: for a value outside its range, naming the field.
    """

    epochs: float = rule(305.0, above=0, most=1_000_000)
    minutes: float | None = rule(None, above=0, most=1_000_000)
    warm_up: float = rule(5 / 305, least=0, below=1)
    batch_size: int = rule(96, least=2, most=65536)  # batch normalisation needs 2
    optimizer: str = rule("adamw", choices=OPTIMIZERS)
    learning_rate: float = rule(1.25e-4, above=0, most=1000)
    momentum: float = rule(0.9, least=0, below=1)
    weight_decay: float = same_rule(Objective, "weight_decay", 0.05)
    decays: str = same_rule(Objective, "decays", "all")
    sam: float = rule(0.0, least=0, most=1000)
    clip_norm: float = rule(5.0, least=0, most=1_000_000)
    label_smoothing: float = same_rule(Objective, "label_smoothing", 0.1)
    crop: str = same_rule(Augmentation, "crop", "pad")
    padding: int = same_rule(Augmentation, "padding", 4)
    flip: float = same_rule(Augmentation, "flip", 0.5)
    rand_augment: str = same_rule(Augmentation, "rand_augment", "rand-m9-n2-mstd1.0")
    erase: float = same_rule(Augmentation, "erase", 0.0)
    mixup: float = same_rule(Augmentation, "mixup", 1.0)
    cutmix: float = same_rule(Augmentation, "cutmix", 0.8)
    drop_path: float = rule(0.1, least=0, below=1)
    ema: float = rule(0.0, least=0, below=1)
    precision: str = rule("auto", choices=(AUTO, *PRECISIONS), meant=meant((AUTO, *PRECISIONS)))
    compile: bool = False
    snapshots: tuple[int, ...] = rule((), least=1, most=1_000_000)

    def __post_init__(self) -> None:
        check_rules(self)
        if self.precision == "fp16" and self.sam:
            raise ConfigError(
                "sam: does not work with precision fp16, whose loss scaling allows one step; take bf16 or fp32"
            )
        if self.snapshots and max(self.snapshots) > self.epochs:
            raise ConfigError(f"snapshots: must be epochs from 1 to {self.epochs:g}; got {shown(self.snapshots)}")
        _ = self.augmentation  # its fields' rules for each other

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


def followed_by_masks(recipe: Recipe, changes: Mapping[str, Any], note: Callable[[str], None]) -> Recipe:
    """A recipe without what masks can't follow: RandAugment, random erasing, Mixup and CutMix.

    Args:
        recipe: by name, with changes.
        changes: that were asked for beside the name; one of these is refused instead.
        note: takes a line that says what is left out.

    Raises:
        ConfigError: for a change that masks can't follow.
    """
    check_follows(Augmentation(**{name: changes[name] for name in UNFOLLOWED if changes.get(name) is not None}))
    left_out = [name for name, none in UNFOLLOWED.items() if getattr(recipe, name) != none]
    if left_out:
        note(f"masks follow crops and flips alone, so {', '.join(left_out)} of the recipe are left out")
    off: dict[str, Any] = {name: UNFOLLOWED[name] for name in left_out}
    return dataclasses.replace(recipe, **off)


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
    # Studies that train many small networks: crop and flip alone, and in float32, whatever the processor.
    "pico": Recipe(
        **_PLAIN,
        epochs=12.0,
        warm_up=0.1,
        batch_size=64,
        learning_rate=2e-3,
        label_smoothing=0.0,
        drop_path=0.0,
        precision="fp32",
    ),
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
