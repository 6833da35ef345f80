"""Accuracy under noise of one band of spatial frequencies (Park & Kim 2022, Fig. 2b)."""

import dataclasses
from typing import ClassVar, Literal

from visionscope.core.later import later
from visionscope.core.rules import MOST_IMAGES, rule, seed_rule
from visionscope.core.table import column
from visionscope.diagnostics.outcomes.damage import Damage
from visionscope.diagnostics.outcomes.rows import ChangeRow, DamageRow

_RMS = "root mean square of the noise that was added, in the model's normalised units"


@dataclasses.dataclass(frozen=True)
class Ring:
    """The noise that was added."""

    frequency: float | None = column("centre of the ring; none for the clean images", "π rad/pixel")
    low: float | None = column("lower end of the ring, inside it", "π rad/pixel")
    high: float | None = column("upper end, outside unless it is 1 or more", "π rad/pixel")
    noise: str = column("sign: +eps or -eps per number; gaussian; none for the clean images", role="convention")
    eps: float = column(
        "standard deviation of the noise before the ring is cut out, in units of `space`", role="convention"
    )
    eps_in_pixels: float = column(
        "eps in pixels of [0, 1], mean over channels; of networks that normalise alike the same", role="convention"
    )
    energy: str = column(
        "equal_eps: as the ring leaves it; equal_energy: scaled to rms eps sqrt(width) in each ring", role="convention"
    )
    space: str = column(
        "normalised: added to the model's images; pixel: in pixels of [0, 1], not clipped either", role="convention"
    )
    share: float = column("share of the plane's frequencies that the ring holds", percent=True)
    coverage: float = column(
        "share of the plane's frequencies that all rings hold together; the others had no noise",
        role="convention",
        percent=True,
    )


@dataclasses.dataclass(frozen=True)
class FrequencyNoiseRow(Ring, DamageRow):
    """What became of a span of images under noise of one ring, or as they are."""

    rms: float = column(_RMS)


@dataclasses.dataclass(frozen=True)
class FrequencyNoiseSummaryRow(Ring, ChangeRow):
    """Accuracy under noise of one ring."""

    rms: float = column(_RMS)


@later(
    measure=("check", "cost", "measure"),
    results=("summary", "comparisons"),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class FrequencyNoise(Damage):
    """Accuracy under noise of one frequency band each.

    Robustness against noise of one frequency band: accuracy on `x + F^-1(F(noise) * ring)`, ring by ring.

    A ring holds the frequencies whose larger component over both axes lies in [f - width / 2, f + width / 2); it is
    exact at any size. The rings 0.05, 0.15 ... 0.95 of width 0.1 hold each frequency once, the last the Nyquist
    frequency too. The paper's nine centres, 0.1 to 0.9, leave out the constant with all below 0.05 and all from 0.95
    on; the column `coverage` says how much is covered. An image has one noise, whatever the ring, so that rings differ
    by the mask alone. With equal_energy each ring's noise has the root mean square eps sqrt(width), so that frequencies
    can be compared with each other. With equal_eps, as in the paper, a ring of more frequencies gets more noise, in
    general a higher one; what networks lose is then compared, and frequencies are not. Nothing is clipped, as in the
    authors' example.

    The authors' code has square images of three channels and even size in mind, a ring that is not Hermitian, so that
    3.5 % of the energy is lost with the imaginary part, and a default width of 0.127.

    Attributes:
        frequencies: centres of the rings, in π rad/pixel.
        width: of each ring, in π rad/pixel.
        noise: sign, +eps or -eps as in the authors' example, or gaussian.
        eps: standard deviation of the noise before the ring is cut out.
        energy: equal_energy, the same in each ring, or equal_eps (the paper).
        space: normalised, added to what the model is given (the authors' example), or pixel, in pixels of [0, 1], for
            networks that normalise differently.
        seed: of the noise.
        sample_size: how many images.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "frequency_noise"
    version: ClassVar[int] = 3
    row: ClassVar[type] = FrequencyNoiseRow
    condition: ClassVar[type] = Ring
    summary_row: ClassVar[type] = FrequencyNoiseSummaryRow
    place: ClassVar[int] = 1
    ensembles: ClassVar[bool] = True
    dense: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16")

    frequencies: tuple[float, ...] = rule(
        (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), least=0, most=1, count=(1, 1000), distinct=True
    )
    width: float = rule(0.1, above=0, most=2)
    noise: Literal["sign", "gaussian"] = "sign"
    eps: float = rule(0.7, above=0, most=1_000_000)
    energy: Literal["equal_energy", "equal_eps"] = "equal_energy"
    space: Literal["normalised", "pixel"] = "normalised"
    seed: int = seed_rule()
    sample_size: int = rule(1024, least=1, most=MOST_IMAGES)
