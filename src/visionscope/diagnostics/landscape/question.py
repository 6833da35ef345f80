"""The loss around a network, along lines and over planes in the space of its weights (Park & Kim 2022, Fig. 1a)."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, ClassVar, Literal

from visionscope.core.diagnostic import Theme
from visionscope.core.later import later
from visionscope.core.rules import MOST_IMAGES, check_rules, rule, seed_rule
from visionscope.core.table import column
from visionscope.diagnostics.outcomes.rows import first_images
from visionscope.errors import ConfigError

_READ_LATER = ("rise", "radius", "parameters")
"""Fields that no stored number depends on: the summary reads two, and what the last comes to is in `identity_in`."""


@dataclasses.dataclass(frozen=True)
class LandscapeRow:
    """The loss at one place in the space of weights."""

    part: str = column("row of the grid, line or place that it was measured with", role="hidden")
    plane: str = column("random, eigenvectors or checkpoints", role="setting")
    normalization: str = column(
        "what the directions' lengths are: filter, layer, none, official, curvature or distance", role="setting"
    )
    draw: int = column("0 for the plane's directions, 1 and up for a further draw of one direction")
    x: float = column("step along the first direction")
    y: float = column("step along the second direction")
    place: str = column("name of the checkpoint that lies here, else empty")
    nll: float = column("mean cross-entropy; may be infinite or NaN", "nat", title="NLL", role="outcome")
    l2: float | None = column("(weight_decay / 2) * sum of squared weights that are measured", "nat")
    l2_official: float = column("the authors' code: weight_decay * sum over tensors of |w|", "nat")
    accuracy: float = column(
        "share of images whose top class has the largest share of the target", role="outcome", percent=True
    )
    images: int = column("images in the means", role="count")
    bf16_error: float | None = column("|bf16 - fp32| / fp32 of the NLL here, over the first 256 images")
    measured: str = column("trainable: frozen numbers stay where they are; all: they may move")
    frozen: int = column("frozen numbers of the model")
    augmentation: str = column("how the images were changed: strong, weak or none", role="setting")
    batch_norm: str = column(
        "kept: running statistics of the network; reestimated: at each place; none: has no such",
        title="BatchNorm",
        role="setting",
    )
    weight_decay: float = column("factor of the L2 term", "nat per squared weight", role="setting")
    label_smoothing: float = column("share of each target spread over all classes", role="setting")


@later(
    measure=("identity_in", "parts", "cost", "measure"),
    results=("summary", "comparisons"),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Landscape:
    """The loss along directions through the weights.

    Loss landscape: NLL, L2 and accuracy at w + x d1 + y d2, for the same images at every place.

    Directions are Gaussian, drawn from the seed and each parameter's name, with the filter normalization of Li et al.
    2018 over parameters of two or more dimensions. The authors' code takes norms across filters, redraws augmentation
    and Mixup at every place and adds up un-squared norms; its normalization and its L2 are offered as `official`, its
    redrawing is not. Accuracy counts an image as right where its top class has the larger share of the mixed target.
    Beside the grid, further directions are drawn and followed along one line each, to tell how much flatness depends
    on the draw.

    In the plane of eigenvectors all parameters that may move do, and a step of 1 changes the NLL by 1 nat if the
    Hessian alone decides. In the plane of checkpoints a step of 1 is the distance from the network to the first file;
    only parameters move, so re-estimate the statistics of batch normalization. Neither plane has further draws.

    Attributes:
        sample_size: how many images of the sample, the same at every place.
        points: places along each axis, odd.
        extent: largest step to either side; the plane of checkpoints chooses its own.
        axes: 2 for a grid, 1 for the line y = 0.
        plane: random, eigenvectors (the Hessian's two of largest magnitude, of the first 8 mini-batches of 16) or
            checkpoints.
        normalization: filter, layer (whole tensors), none, or official.
        parameters: trainable or all may move and are in L2; by default the trainable ones where some are frozen, else
            all. Between checkpoints all do.
        draws: further directions, along a line each.
        rise: the rise of the NLL, in nats, whose radius is told.
        radius: the step at which sharpness is told.
        batch_norm: kept leaves the running statistics as they are; reestimated measures them anew at each place.
        checkpoints: two files of weights, for the plane of checkpoints.
        seed: of the directions.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "landscape"
    version: ClassVar[int] = 2
    row: ClassVar[type] = LandscapeRow
    sample: ClassVar[str] = "train"
    theme: ClassVar[str] = Theme.CURVATURE
    place: ClassVar[int] = 2
    dense: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16")

    sample_size: int = rule(1024, least=1, most=MOST_IMAGES)
    points: int = rule(21, least=3, most=1001)
    extent: float = rule(1.0, above=0, most=10**12)
    axes: Literal[1, 2] = 2
    plane: Literal["random", "eigenvectors", "checkpoints"] = "random"
    normalization: Literal["filter", "layer", "none", "official"] = "filter"
    parameters: Literal["trainable", "all"] | None = None
    draws: int = rule(5, least=0, most=10_000)
    rise: float = rule(1.0, above=0, most=1_000_000)
    radius: float = rule(0.5, above=0, most=1_000_000)
    batch_norm: Literal["kept", "reestimated"] = "kept"
    checkpoints: tuple[str, ...] = rule((), empty=False)
    seed: int = seed_rule()

    def __post_init__(self) -> None:
        check_rules(self, self.name)
        if self.points % 2 == 0:
            raise ConfigError(f"landscape.points: must be odd; got {self.points}. Take {self.points + 1}.")
        if self.radius > self.extent:
            raise ConfigError(f"landscape.radius: must be at most extent = {self.extent:g}; got {self.radius:g}")
        if self.plane == "checkpoints" and self.parameters == "trainable":
            raise ConfigError("landscape.parameters: must be all where plane is checkpoints; got 'trainable'")
        wanted = 2 if self.plane == "checkpoints" else 0
        if len(self.checkpoints) != wanted:
            raise ConfigError(
                f"landscape.checkpoints: must be {wanted or 'no'} files where plane is {self.plane}; "
                f"got {len(self.checkpoints)}"
            )

    def images(self, available: int) -> int:
        return first_images(self.name, self.sample_size, available)

    def identity(self) -> dict[str, Any]:
        # Files of weights are known by their content: a path may hold others later.
        fields = {**dataclasses.asdict(self), "checkpoints": [_content_digest(path) for path in self.checkpoints]}
        return {name: value for name, value in fields.items() if name not in _READ_LATER}


def _content_digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"checkpoint {path}: it can't be read: {error.strerror}") from error
