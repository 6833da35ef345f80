"""How well a network fits its training images, against its error on test images (Park & Kim 2022, Fig. 5 and C.1)."""

import dataclasses
from typing import ClassVar

from visionscope.core.diagnostic import Theme
from visionscope.core.later import later
from visionscope.core.rules import MOST_IMAGES, check_rules, rule
from visionscope.core.table import column
from visionscope.diagnostics.outcomes.rows import OutcomeRow, first_images


@dataclasses.dataclass(frozen=True)
class FitRow(OutcomeRow):
    """What a network does on a span of training or test images."""

    split: str = column("train: images as augmented for training; eval: clean test images")
    augmentation: str = column("how the images were changed: strong, weak or none", role="setting")
    targets: str = column("labels: the class alone; mixed: of Mixup or CutMix, with label smoothing", role="convention")
    label_smoothing: float = column(
        "share of each target spread over all classes; 0 where targets are labels", role="setting"
    )
    fraction: float | None = column(
        "share of the training images that the network was trained on, where it is known", role="convention"
    )
    cross_entropy: tuple[float, ...] = column("of each image, by position", "nat", packed=True)


@later(
    measure=("parts", "cost", "measure"),
    results=("summary", "comparisons", "outcomes"),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Fit:
    """Training NLL against test error: whether it overfits.

    NLL on augmented training images against the error on clean test images: does a network over-fit?

    The paper's Fig. 5: networks that fit their training images better have the smaller test error, so what is at fault
    with transformers on small data is not over-fitting. The training images are those of the frozen augmentation. Where
    Mixup or CutMix mixed them the NLL is the objective's, with soft targets and label smoothing; else it is
    -log softmax(logits)[label], as `visionscope train` tells it. What is right on a mixed image is the class of the
    larger share, as in the official code. Networks trained with `visionscope train --fraction` carry their share.

    Attributes:
        sample_size: how many training images.
        test_size: how many test images.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "fit"
    version: ClassVar[int] = 1
    row: ClassVar[type] = FitRow
    sample: ClassVar[str] = "train"
    beside: ClassVar[tuple[str, ...]] = ("eval",)
    theme: ClassVar[str] = Theme.TRUST
    place: ClassVar[int] = 1
    ensembles: ClassVar[bool] = True
    dense: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16", "float16", "bfloat16")

    sample_size: int = rule(4096, least=1, most=MOST_IMAGES)
    test_size: int = rule(10_000, least=1, most=MOST_IMAGES)

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def images(self, available: int) -> int:
        return first_images(self.name, self.sample_size, available, "training image")

    def images_beside(self, available: int) -> int:
        return first_images(self.name, self.test_size, available, "test image")
