"""Which spatial frequencies the feature maps hold, point by point (Park & Kim 2022, Fig. 2a, 8 and D.2)."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from visionscope.core.diagnostic import Theme
from visionscope.core.later import later
from visionscope.core.rules import check_rules, rule
from visionscope.core.spans import span_of
from visionscope.core.subject import Point
from visionscope.core.table import column
from visionscope.diagnostics.changes.rows import PointRow


@dataclasses.dataclass(frozen=True)
class FourierRow(PointRow):
    """Log-amplitude of one point at one frequency, relative to frequency 0."""

    labelling: str = column("`true` frequencies, or those that the paper's notebook writes at them")
    profile: str = column("`diagonal`: half-diagonal of the spectrum; `radial`: rings")
    frequency: float | None = column("spatial frequency per axis (diagonal) or radius (radial)", "π rad/pixel")
    delta_log_amplitude: float | None = column("log-amplitude minus that at frequency 0, mean", "natural log")
    standard_error: float | None = column("of the mean over images", "natural log")
    log_amplitude: float | None = column("log-amplitude itself, not relative to that at frequency 0", "natural log")
    follows: str = column("the point that holds what the branch received; empty where none does")
    change: float | None = column(
        "delta_log_amplitude minus that of the point it follows", "natural log", role="outcome"
    )
    change_error: float | None = column("standard error of the mean paired difference over images", "natural log")
    high_frequency: bool = column("whether this is the last half-diagonal frequency below Nyquist")
    change_note: str = column("why there is no change")
    note: str = column("why there is no value")


@dataclasses.dataclass(frozen=True)
class FourierState:
    """Sums over the images of one part, per frequency of one point."""

    point: str = column("name of the point")
    profile: str = column("`diagonal` or `radial`")
    start: int = column("position of the first image in the sample", role="hidden")
    images: int = column("images in the sums", role="count")
    sums: tuple[float, ...] = column(
        "sum of log-amplitude at frequency 0, then of the differences from it", "natural log", packed=True
    )
    squares: tuple[float, ...] = column("sum of its squares", packed=True)
    change_images: int = column("images in the sums of changes")
    change_sums: tuple[float, ...] = column(
        "sum of paired differences from the point it follows", "natural log", packed=True
    )
    change_squares: tuple[float, ...] = column("sum of their squares", packed=True)


@later(
    measure=("observer",),
    results=("summary", "comparisons"),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Fourier:
    """Frequencies in the feature maps: relative log amplitude.

    Delta log-amplitude of every point: log|DFT| at a frequency minus log|DFT| at 0, mean over channels and images.

    The logarithm comes before the mean, and amplitudes get 1e-6 first, as in the authors' notebook; the half-diagonal
    is theirs. Unlike the notebook: the mean is over a sample, not one image; prefix tokens are dropped by what the
    trace says, not by model name; frequencies are the true ones (the notebook's linspace(0, 1) calls the last bin
    1.0 π where a 14 x 14 map has 0.857 π); grids may be odd or not square. Values compare between points of equal
    grid only; the mean of a map enters all of them, as frequency 0. A change is measured from the stream that the
    branch received (`visionscope.core.following`).

    Attributes:
        labelling: `true`, or `paper` to label the half-diagonal from 0 to 1 as the notebook does.
        radial: also average the whole spectrum over rings; costs a full FFT per map.

    Raises:
        ConfigError: for another labelling.
    """

    name: ClassVar[str] = "fourier"
    version: ClassVar[int] = 3
    row: ClassVar[type] = FourierRow
    state_row: ClassVar[type] = FourierState
    theme: ClassVar[str] = Theme.FEATURE_MAPS
    place: ClassVar[int] = 0

    labelling: str = rule("true", choices=("true", "paper"))
    radial: bool = False

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def is_whole(self, part: str, rows: Sequence[FourierState], points: Sequence[Point]) -> bool:
        start, stop = span_of(part)
        profiles = ("diagonal", "radial") if self.radial else ("diagonal",)
        expected = [(point.name, profile, start, stop - start) for profile in profiles for point in points]
        return sorted((row.point, row.profile, row.start, row.images) for row in rows) == sorted(expected)
