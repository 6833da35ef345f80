"""A ResNet's convolution branches are high-pass filters."""

import numpy as np

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import later_changes
from visionscope.claims.one_seed import OneSeed
from visionscope.claims.published import Published, figure


def _number(one: OneSeed) -> float:
    return float(np.median(later_changes(one, "fourier", "resnet", "conv", "change")))


def _published() -> Published:
    read = figure("figD2_fourier")["ResNet"]
    high, grids = np.array(read["delta_log_amp_high"]), np.array(read["points_per_curve"])
    depth = np.arange(len(high)) / (len(high) - 1)
    told = (np.diff(grids) == 0) & (depth[1:] > 1 / 3)  # between points of one grid
    return Published(float(np.median(np.diff(high)[told])), "ImageNet", "the ResNet of Fig. D.2")


CLAIM = Claim(
    name="conv_fourier",
    number=13,
    family="exploratory",
    text="In later ResNet blocks convolutions raise high frequencies",
    source="Fig. 2a, 8 and D.2, section 3",
    figure="8",
    variants=("resnet",),
    diagnostics=("fourier",),
    number_of=_number,
    meaning="median change of the relative log-amplitude at the highest frequency by convolution branches of one grid, "
    "over the second and third thirds of depth",
    unit="natural log",
    direction=1,
    smallest=0.02,
    reason="0.02 is 2 % of the amplitude, as for attention and MLPs.",
    published=_published(),
)
