"""What JPEG does to the maps of the same images: their high frequencies, and how alike they stay."""

import dataclasses
from typing import ClassVar

from visionscope.core.diagnostic import Theme
from visionscope.core.later import later
from visionscope.core.rules import MOST_IMAGES, check_rules, rule
from visionscope.core.table import column
from visionscope.diagnostics.outcomes.rows import first_images


@dataclasses.dataclass(frozen=True)
class CompressionRow:
    """Sums over the images of a part, for one point and one quality."""

    part: str = column("span of images that it was measured with", role="hidden")
    point: str = column("name of the point")
    kind: str = column("what the branch does")
    stage: int = column("stage of the network, 0 = stem")
    depth: float = column("index of the point / (number of points - 1)")
    quality: int = column("of the JPEG, 100 the best")
    images: int = column("images in the sums", role="count")
    high_change: float | None = column(
        "sum over images of the relative log-amplitude at the highest frequency, compressed less clean", "natural log"
    )
    high_squares: float | None = column("sum of its squares", "natural log²")
    cosine: float = column("sum over images of the cosine between the clean and the compressed image's map")
    cosine_squares: float = column("sum of its squares")
    hsic: tuple[float, ...] = column(
        "of each whole group of images: HSIC of clean with compressed, clean with clean, compressed with compressed",
        packed=True,
    )
    dropped: int = column("images in no whole group: left out of CKA", role="count")
    origin: str = column("what encoded the images, with its version", role="convention")


@later(
    measure=("identity", "parts", "cost", "measure"),
    results=("summary",),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Compression:
    """What JPEG does to the feature maps.

    High frequencies and similarity of every point's maps, between the same images clean and as JPEG of each quality.

    Per image, the change of the relative log-amplitude at the highest half-diagonal frequency (as in `fourier`) and
    the cosine between the two maps as they are; over groups of 32 images, as in `similarity`, linear CKA between clean
    and compressed. All of one forward pass over an image and its compressed copies. The network's own 8-bit pixels,
    after resizing and cropping, are encoded by Pillow, colours at half resolution, and decoded again. What compression
    does to accuracy is asked by `corruption` with the type jpeg.

    Attributes:
        qualities: of the JPEG, 100 the best.
        sample_size: how many images.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "compression"
    version: ClassVar[int] = 1
    row: ClassVar[type] = CompressionRow
    sample: ClassVar[str] = "eval"
    theme: ClassVar[str] = Theme.ROBUSTNESS
    place: ClassVar[int] = 5
    needs_logits: ClassVar[bool] = False
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64")

    qualities: tuple[int, ...] = rule((95, 75, 50, 30, 10), least=1, most=100, count=(1, 100), distinct=True)
    sample_size: int = rule(256, least=1, most=MOST_IMAGES)

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def images(self, available: int) -> int:
        return first_images(self.name, self.sample_size, available)

    @property
    def levels(self) -> tuple[int, ...]:
        """The qualities, the mildest first."""
        return tuple(sorted(self.qualities, reverse=True))
