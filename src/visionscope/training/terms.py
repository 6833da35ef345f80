"""What a training is asked beside its recipe, as data; checked before anything that trains is imported."""

import dataclasses

from visionscope.core.rules import check_rules, rule, seed_rule
from visionscope.errors import ConfigError
from visionscope.models.decoders import DECODERS, LINEAR
from visionscope.training.recipe import RECIPES
from visionscope.training.trackers import TRACKERS

SAME = ("epochs", "steps")
SCORED = ("epochs", "end")
SEGMENTATION = "segmentation"
TASKS = ("classification", SEGMENTATION)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Terms:
    """What a training is asked beside its recipe's fields.

    Attributes:
        recipe: paper-cifar, paper-imagenet, weak, laptop, pico or speed.
        task: whether images or pixels are told apart.
        decoder: of a segmentation: linear, or one of segmentation_models_pytorch.
        seed: seed of weights, order, augmentation and dropout.
        fraction: share of each class's training images, such as 1/16.
        same: what a smaller fraction leaves the same: the number of `epochs` (fewer steps) or of `steps` (more passes).
        validation: share of the training images held out; the best weights on them go to best.safetensors.
        scored: when the network is scored: after each of its `epochs`, or at the `end` alone.
        devices: processes per machine, with a GPU each where there are GPUs.
        nodes: number of machines.
        workers: further processes that prepare batches.
        track: trackers besides log.csv, comma-separated.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    recipe: str = rule("laptop", choices=tuple(RECIPES))
    task: str = rule("classification", choices=TASKS)
    decoder: str = rule(LINEAR, choices=DECODERS)
    seed: int = seed_rule()
    fraction: float = rule(1.0, above=0, most=1, ratio=True)
    same: str = rule("epochs", choices=SAME)
    validation: float = rule(0.0, least=0, below=1, ratio=True)
    scored: str = rule("epochs", choices=SCORED)
    devices: int = rule(1, least=1, most=1024)
    nodes: int = rule(1, least=1, most=65536)
    workers: int = rule(0, least=0, most=1024)
    track: tuple[str, ...] = rule((), choices=tuple(TRACKERS), count=(0, len(TRACKERS)), distinct=True)

    def __post_init__(self) -> None:
        check_rules(self)
        if self.decoder != LINEAR and self.task != SEGMENTATION:
            raise ConfigError(
                f"decoder: is of --task {SEGMENTATION}, and the task is {self.task}; got {self.decoder!r}"
            )
