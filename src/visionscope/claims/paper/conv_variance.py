"""A ResNet's convolution branches spread feature maps."""

import numpy as np

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import LOG_RATIO, later_changes
from visionscope.claims.one_seed import OneSeed
from visionscope.claims.published import Published, figure

STARTS = (4, 8, 14)  # points of the published ResNet, stem and 3-4-6-3 blocks, at which the grid shrinks


def _number(one: OneSeed) -> float:
    return float(np.median(later_changes(one, "variance", "resnet", "conv", "log")))


def _published() -> Published:
    variances = np.array(figure("figD1_feature_variance")["ResNet"])
    told = [
        float(np.log(variances[place] / variances[place - 1]))
        for place in range(1, len(variances))
        if place not in STARTS and place / (len(variances) - 1) > 1 / 3
    ]
    return Published(float(np.median(told)), "CIFAR-100", "the ResNet of Fig. D.1")


CLAIM = Claim(
    name="conv_variance",
    number=14,
    family="exploratory",
    text="In later ResNet blocks convolutions raise the feature-map variance",
    source="Fig. 9 and D.1, section 3",
    figure="9",
    variants=("resnet",),
    diagnostics=("variance",),
    number_of=_number,
    meaning="median change of the log of the feature maps' variance over space by convolution branches of one grid, "
    "over the second and third thirds of depth",
    unit=LOG_RATIO,
    direction=1,
    smallest=0.02,
    reason="0.02 is 2 % of the variance, an eighth of what the paper's figure shows.",
    published=_published(),
)
