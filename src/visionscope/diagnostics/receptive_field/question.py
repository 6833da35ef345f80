"""Which pixels the centre of each point's map depends on: the effective receptive field (Luo et al. 2016)."""

import dataclasses
from typing import ClassVar

from visionscope.core.diagnostic import Theme
from visionscope.core.later import later
from visionscope.core.rules import MOST_IMAGES, check_rules, rule
from visionscope.core.table import column
from visionscope.diagnostics.outcomes.rows import first_images

SHARES = (0.5, 0.99)
PIXELS = "pixels of the input"


@dataclasses.dataclass(frozen=True)
class ReceptiveFieldRow:
    """The receptive field of one point."""

    part: str = column("number of the point", role="hidden")
    point: str = column("name of the point")
    kind: str = column("what the branch does")
    stage: int = column("stage of the network, 0 = stem")
    depth: float = column("index of the point / (number of points - 1)")
    grid_height: int = column("rows of the point's map", role="count")
    grid_width: int = column("columns of the point's map", role="count")
    images: int = column("images in the mean", role="count")
    radius_50: float | None = column(
        "radius of the circle around the field's centre of mass that holds half of it",
        PIXELS,
        role="outcome",
        spread="error_50",
    )
    error_50: float | None = column("its jackknife standard error over groups of images", PIXELS)
    radius_99: float | None = column(
        "radius of the circle that holds 99 % of it", PIXELS, role="outcome", spread="error_99"
    )
    error_99: float | None = column("its jackknife standard error over groups of images", PIXELS)
    even_50: float = column("radius_50 if all pixels counted alike", PIXELS)
    even_99: float = column("radius_99 if all pixels counted alike", PIXELS)
    centre_row: float | None = column("row of the field's centre of mass, from 0 at the top", PIXELS)
    centre_column: float | None = column("its column, from 0 at the left", PIXELS)
    groups: int = column("groups of images that the errors rest on", role="count")
    field: tuple[float, ...] = column(
        "the field as shares of its sum, row by row from the top, in cells of equal numbers of pixels", packed=True
    )
    field_width: int = column("cells in a row of the field", role="hidden")
    note: str = column("why there is no field, or no error")


@later(
    measure=("parts", "cost", "measure"),
    results=("summary",),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class ReceptiveField:
    r"""How far the centre of each feature map sees.

    Effective receptive field of every point: which pixels the centre of its map depends on, and how far they lie.

    :math:`F_{yx} = \mathrm{mean}_b \sum_c |\partial T_b / \partial x_{bcyx}|`, with :math:`T_b` the sum over channels
    of the point's map of image b at its centre, row h // 2 and column w // 2 (Luo et al. 2016, section 3.2; the mean
    over images is theirs). The radius is that of the circle around the field's centre of mass that holds 50 % or 99 %.
    Around the centre of mass, as no pixel lies under a position by rule: convolutions of stride 2 shift the field by
    half a pixel each. The script that many papers share (Ding et al. 2022, RepLKNet) keeps positive outputs and
    positive gradients alone, takes a logarithm before it sums, and measures squares around the image's middle. Here
    neither sign is cut and no logarithm comes before a sum; the picture alone has a root.

    Images are as the network gets them, normalised. Prefix tokens are no position. All points share the forward pass;
    each has a backward pass of its own through the layers before it, since the magnitude of a sum is not the sum of
    magnitudes. Gradients of weights are not computed. Where the channels add up to a constant, as right after a layer
    norm without weights, there is no field; a note says so.

    Attributes:
        sample_size: how many images.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "receptive_field"
    version: ClassVar[int] = 1
    row: ClassVar[type] = ReceptiveFieldRow
    sample: ClassVar[str] = "eval"
    theme: ClassVar[str] = Theme.FEATURE_MAPS
    place: ClassVar[int] = 5
    needs_logits: ClassVar[bool] = False
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64")

    sample_size: int = rule(50, least=1, most=MOST_IMAGES)

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def images(self, available: int) -> int:
        return first_images(self.name, self.sample_size, available)
