"""Accuracy on images with noise, blur, weather and the traces of compression (Park & Kim 2022, "robustness")."""

import dataclasses
from typing import ClassVar, Literal

from visionscope.core.later import later
from visionscope.core.rules import MOST_IMAGES, rule, seed_rule
from visionscope.core.table import column
from visionscope.data.corruption_types import JPEG, SEVERITIES, TYPES
from visionscope.diagnostics.outcomes.damage import Damage
from visionscope.diagnostics.outcomes.rows import DamageRow
from visionscope.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Corrupted:
    """How images were corrupted."""

    corruption: str = column("type of the corruption; empty for the clean images")
    severity: int = column("1 to 5, of `jpeg` the quality; 0 for the clean images")
    origin: str = column(
        "published (its images are those of the literature), or the library that made them and its version: its "
        "parameters differ from the published ones, so that its numbers are not comparable with the literature",
        role="convention",
    )
    paired: bool = column("whether the clean rows are about the same images", role="convention")


@dataclasses.dataclass(frozen=True)
class CorruptionRow(Corrupted, DamageRow):
    """Which images a network gets right under one corruption."""

    picture: str = column("PNG (base64) of one small image under this corruption, else empty", packed=True)


@later(
    measure=("identity", "parts", "cost", "measure"),
    results=("summary", "comparisons"),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Corruption(Damage):
    """Accuracy under 15 types of corruption in 5 severities.

    Robustness: the mean accuracy over 15 types of corruption in 5 severities (Hendrycks & Dietterich 2019).

    As in Park & Kim (2022) it is the mean of 75 accuracies, no mCE and not normalised by AlexNet. Images are read from
    a published set, or made on the fly by torch-uncertainty from the pixels that the network would see, after resizing
    and cropping, rounded to 8 bits. What it draws depends on the seed, the image's position, type and severity. Some of
    its parameters differ from the published ones (a plain motion blur, stronger glass blur, other brightness), and they
    are ImageNet-C's at every size: small images suffer far more than in CIFAR-10-C (a blur over 10 pixels to each side
    is most of 32). A network for grey images sees colours corrupted, then made grey, as it would see a published set.
    So only published sets are comparable with the literature; the column `origin` says which it was.

    The type `jpeg`, alone, is compression by quality instead: the network's own 8-bit pixels encoded by Pillow, colours
    at half resolution, and decoded again. What severity is to the others, quality is to it.

    Published images come at the size after cropping, so that they are resized to the network's size, where that is
    another, and not cropped again. The same images are taken of each type and severity. They are compared with the
    clean images of the study's data one by one where these have the same number of images with the same labels (and
    names, where both have files); elsewhere changes are not told.

    Attributes:
        folder: a published set: TYPE.npy and labels.npy (CIFAR-10-C, CIFAR-100-C) or `TYPE/SEVERITY/CLASS/*.JPEG`
            (ImageNet-C); empty makes the images on the fly.
        types: which of the 15, as the published sets name them, or jpeg alone.
        severities: which of 1 to 5.
        qualities: of the type jpeg, 100 the best.
        sample_size: how many images.
        seed: of what is drawn, and of which images of a published set are taken.
        reference: alexnet adds the mean corruption error, which means something for ImageNet-C alone: the mean over
            types of the errors' sum over severities, divided by AlexNet's.
        with_images: show the first image of your data on the contact sheet instead of a drawn one; of a published set
            there is no other.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "corruption"
    version: ClassVar[int] = 2
    row: ClassVar[type] = CorruptionRow
    condition: ClassVar[type] = Corrupted
    unchanged: ClassVar[str | None] = ""
    place: ClassVar[int] = 3
    ensembles: ClassVar[bool] = True
    dense: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16", "float16", "bfloat16")

    folder: str = ""
    types: tuple[str, ...] = rule(tuple(TYPES), choices=(*TYPES, JPEG), count=(1, len(TYPES)), distinct=True)
    severities: tuple[int, ...] = rule(SEVERITIES, choices=SEVERITIES, count=(1, len(SEVERITIES)), distinct=True)
    qualities: tuple[int, ...] = rule((95, 75, 50, 30, 10), least=1, most=100, count=(1, 100), distinct=True)
    sample_size: int = rule(1024, least=1, most=MOST_IMAGES)
    seed: int = seed_rule()
    reference: Literal["none", "alexnet"] = "none"
    with_images: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.by_quality and len(self.types) > 1:
            raise ConfigError(
                f"corruption.types: jpeg stands alone, since qualities are no severities; got {', '.join(self.types)}. "
                "Did you mean 'jpeg_compression'?"
            )
        if self.by_quality and self.folder:
            raise ConfigError("corruption.types: jpeg is made on the fly; leave corruption.folder out")
        if self.reference == "alexnet" and not self.folder:
            raise ConfigError(
                "corruption.reference: alexnet's errors are on ImageNet-C; name its folder (corruption.folder) or "
                "take none"
            )

    @property
    def by_quality(self) -> bool:
        """Whether images are compressed by quality instead of corrupted by severity."""
        return JPEG in self.types

    @property
    def levels(self) -> tuple[int, ...]:
        """Severities, or qualities, the mildest first."""
        return tuple(sorted(self.qualities, reverse=True)) if self.by_quality else self.severities
