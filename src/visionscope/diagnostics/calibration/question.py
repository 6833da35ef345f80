"""How far a network's confidence can be trusted, as its probabilities come and after one temperature (Fig. F.1)."""

import dataclasses
from typing import ClassVar

from visionscope.core.diagnostic import Theme
from visionscope.core.later import later
from visionscope.core.rules import MOST_IMAGES, check_rules, rule
from visionscope.core.table import column
from visionscope.diagnostics.outcomes.rows import OutcomeRow
from visionscope.errors import DataError
from visionscope.numerics.calibration import BINS

_BESIDE = 5  # at most a fifth of the images serves the temperature


@dataclasses.dataclass(frozen=True)
class CalibrationRow(OutcomeRow):
    """What a network says of a span of images, at one temperature."""

    scaling: str = column("none: probabilities as they come; temperature: after the logits were divided by one")
    temperature: float = column("what the logits were divided by, 0.01 to 100")
    fit_images: int = column("images that the temperature was fitted on, none of them among these", role="convention")
    bins: int = column("bins of confidence, of equal width, that include their upper end", role="convention")
    classes: int = column("classes of the head")
    top_5: str = column(
        "which labels are among the 5 largest logits, written as the column right; empty of masks", packed=True
    )
    label: tuple[float, ...] = column("class index of each image, by position; empty of masks", packed=True)
    predicted: tuple[float, ...] = column("class index of its largest logit; empty of masks", packed=True)
    confidence: tuple[float, ...] = column(
        "probability of that class, of masks the mean over pixels, as in the next two", packed=True, percent=True
    )
    cross_entropy: tuple[float, ...] = column("-log of the label's probability", "nat", packed=True)
    brier: tuple[float, ...] = column(
        "sum over classes of (probability - 1 for the label, 0 for others) squared", packed=True
    )
    class_probability: tuple[float, ...] = column(
        "by class and within it by bin: sum of the class's probability over the images whose probability is in the bin",
        packed=True,
    )
    class_images: tuple[float, ...] = column(
        "by class and within it by bin: how many of those are of the class", packed=True
    )


@later(
    measure=("parts", "cost", "measure"),
    results=("summary", "comparisons", "outcomes"),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """How far confidence can be trusted: NLL, Brier score, ECE.

    NLL, Brier score, accuracies and calibration errors on clean test images, and the reliability diagram.

    As they come and at the temperature (Guo et al. 2017) of smallest NLL over `fit_size` images of the same split that
    are not among those measured. Bins are (low, high] with 0 in the first, so that an image of confidence 1.0 counts
    with its confidence; the official code drops it. Every measure is one over all images, where the official code
    averages over batches. Logarithms are taken of log-softmax in float64.

    Of masks every measure is a mean over images of means over their pixels that count, and `iou` the mean IoU; the
    temperature is fitted on 64 pixels of each image. What sorts all pixels, or asks for five classes, is left out.

    Attributes:
        sample_size: how many images are measured.
        fit_size: how many others the temperature is fitted on; at most a fifth of those that there are.
        bins: of confidence.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "calibration"
    version: ClassVar[int] = 1
    row: ClassVar[type] = CalibrationRow
    sample: ClassVar[str] = "eval"
    beside: ClassVar[tuple[str, ...]] = ("calibration",)
    theme: ClassVar[str] = Theme.TRUST
    place: ClassVar[int] = 0
    ensembles: ClassVar[bool] = True
    dense: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16", "float16", "bfloat16")

    sample_size: int = rule(10_000, least=1, most=MOST_IMAGES)
    fit_size: int = rule(1_000, least=1, most=MOST_IMAGES)
    bins: int = rule(BINS, least=1, most=10_000)

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def images(self, available: int) -> int:
        return min(self.sample_size, available - self.images_beside(available))

    def images_beside(self, available: int) -> int:
        if available < _BESIDE:
            raise DataError(
                f"calibration: needs at least {_BESIDE} images, one of them for the temperature; "
                f"the data have {available}"
            )
        return min(self.fit_size, available // _BESIDE)
