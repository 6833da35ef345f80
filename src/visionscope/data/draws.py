"""What augmentation draws at random, as data; checked before anything that draws is imported."""

import dataclasses
import json
from collections.abc import Mapping

from visionscope.core.rules import check_rules, rule
from visionscope.errors import ConfigError

STRENGTHS = ("strong", "weak", "none")
UNFOLLOWED: Mapping[str, float | str] = {"rand_augment": "", "erase": 0.0, "mixup": 0.0, "cutmix": 0.0}
"""What masks can't follow, or what leaves a pixel without a class of its own, each switched off."""
_CROPS = ("centre", "pad", "resized")
_LEAST_ALPHA = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is drawn at random for each image and each mini-batch, once and for all; carried out by timm's transforms.

    Attributes:
        crop: `resized` (random share of the area, then resized), `pad` (resized, padded by `padding` and cropped
            at random, as on CIFAR) or `centre` (as in evaluation).
        area: least and largest share of the area for `resized`.
        padding: pixels of black border on each side for `pad`.
        flip: probability of a horizontal flip.
        rand_augment: timm's RandAugment recipe, such as `rand-m9-n2-mstd1.0` (the paper's on CIFAR), or "".
        erase: probability of timm's random erasing.
        mixup: Mixup's share is drawn from Beta(mixup, mixup); 0 for none. With both, half of the mini-batches get each.
        cutmix: the same for CutMix.

    Raises:
        ConfigError: for a value outside its range.
    """

    crop: str = rule("resized", choices=_CROPS)
    area: tuple[float, float] = rule((0.08, 1.0), above=0, most=1)
    padding: int = rule(4, least=0, most=1024)
    flip: float = rule(0.5, least=0, most=1)
    rand_augment: str = rule("", pattern=r"(rand-\S+)?", longest=200, words="a recipe like 'rand-m9-n2-mstd1.0'")
    erase: float = rule(0.0, least=0, most=1)
    mixup: float = rule(0.0, least=0, most=1000)
    cutmix: float = rule(0.0, least=0, most=1000)

    def __post_init__(self) -> None:
        check_rules(self)
        if self.area[0] > self.area[1]:
            raise ConfigError(f"area: must be a least and a largest share, in that order; got {list(self.area)}")
        for name in ("mixup", "cutmix"):
            if 0 < getattr(self, name) < _LEAST_ALPHA:  # numpy draws NaN from the very smallest
                raise ConfigError(f"{name}: must be 0 or at least {_LEAST_ALPHA:g}; got {getattr(self, name)}")

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with others of their mini-batch."""
        return self.mixup > 0 or self.cutmix > 0

    def identity(self) -> str:
        """All fields as text, for digests; mixing is named where there is some."""
        fields = dataclasses.asdict(self)
        unmixed = () if self.mixes else ("mixup", "cutmix")
        return json.dumps({name: value for name, value in fields.items() if name not in unmixed}, sort_keys=True)


def check_follows(augmentation: Augmentation) -> None:
    """Refuses an augmentation that masks can't follow.

    RandAugment turns and shears by draws that can't be had again for a mask, an erased pixel has no class, and Mixup
    and CutMix give a pixel two.

    Args:
        augmentation: asked for.

    Raises:
        ConfigError: naming the first field that is on.
    """
    for name, off in UNFOLLOWED.items():
        if getattr(augmentation, name) != off:
            raise ConfigError(
                f"{name}: masks follow crops and flips alone; got {getattr(augmentation, name)!r}, take {off!r} "
                "(of the named augmentations: weak or none)"
            )
