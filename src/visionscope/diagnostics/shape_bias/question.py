"""Does a network go by shape or by texture? Decisions on images where the two disagree (Geirhos et al. 2019)."""

import dataclasses
from typing import ClassVar

from visionscope.core.diagnostic import Theme
from visionscope.core.later import later
from visionscope.core.rules import MOST_IMAGES, check_rules, rule
from visionscope.core.table import column
from visionscope.diagnostics.outcomes.rows import OutcomeRow, first_images


@dataclasses.dataclass(frozen=True)
class ShapeBiasRow(OutcomeRow):
    """Which cue-conflict images are decided by their shape (`right`), and which by their texture."""

    texture: str = column("which are decided for the class of their texture, in the digits of `right`", packed=True)
    shapes: str = column(
        "the class of each image's shape, two hexadecimal digits each, an index of `classes`", packed=True
    )
    classes: tuple[str, ...] = column("the classes that are decided between", packed=True)
    decision: str = column(
        "how: between the classes of the head, or by the mean probability of the ImageNet classes of each of 16",
        role="convention",
    )


@later(
    measure=("identity", "source", "parts", "cost", "measure"),
    results=("summary", "comparisons", "outcomes"),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapeBias:
    """Whether a network decides by shape or by texture.

    Shape bias: the share of decisions for the shape among those for either cue, where shape and texture disagree.

    `shape / (shape + texture)` over cue-conflict images (Geirhos et al. 2019); decisions for a third class are told
    apart and count for neither. A network with ImageNet's 1,000 classes decides between the paper's 16 entry-level
    classes: for each the probabilities of its ImageNet classes (207 in all) are averaged, as in the authors' code; the
    cross-entropy is then that of these 16 means, made to sum to 1. Other networks decide between the classes of their
    head.

    Attributes:
        folder: images in the layout of texture-vs-shape/stimuli/style-transfer-preprocessed-512; where it is empty and
            the study is about the embedded data, their split `conflict`.
        sample_size: how many images.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "shape_bias"
    version: ClassVar[int] = 1
    row: ClassVar[type] = ShapeBiasRow
    sample: ClassVar[str] = "conflict"
    theme: ClassVar[str] = Theme.TRUST
    place: ClassVar[int] = 2
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16", "float16", "bfloat16")
    ensembles: ClassVar[bool] = True

    folder: str = ""
    sample_size: int = rule(2000, least=1, most=MOST_IMAGES)

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def images(self, available: int) -> int:
        return first_images(self.name, self.sample_size, available)
