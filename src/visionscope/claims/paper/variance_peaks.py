"""The variance of a ResNet's feature maps rises along a stage and falls where the next one begins."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import LOG_RATIO, log
from visionscope.claims.one_seed import LAST, MissingError, OneSeed
from visionscope.claims.published import Published, figure


def _peak(stages: Sequence[Sequence[float]]) -> float:
    rises = [log(stage[-1] / stage[0], "a variance") for stage in stages if len(stage) > 1]
    falls = [log(before[-1] / after[0], "a variance") for before, after in pairwise(stages)]
    return float(min(np.mean(rises), np.mean(falls)))


def _number(one: OneSeed) -> float:
    rows = one.rows("variance", "resnet", LAST)
    rows = rows[rows["stage"] > 0].sort_values("depth", kind="stable")
    stages = [list(one.numbers(stage, "variance", "resnet")) for _, stage in rows.groupby("stage")]
    if len(stages) < 2 or max(map(len, stages)) < 2 or min(map(min, stages)) <= 0:
        raise MissingError("resnet: variance needs two stages, of two points or more")
    return _peak(stages)


def _published() -> Published:
    read = figure("figD1_feature_variance")["ResNet"]
    stages = [part.tolist() for part in np.split(np.array(read[1:]), np.cumsum([3, 4, 6]))]
    return Published(_peak(stages), "CIFAR-100", "the ResNet of Fig. D.1")


CLAIM = Claim(
    name="variance_peaks",
    number=15,
    family="exploratory",
    text="A ResNet's feature-map variance peaks at the ends of stages",
    source="Fig. 9, section 4",
    figure="9",
    variants=("resnet",),
    diagnostics=("variance",),
    number_of=_number,
    meaning="the smaller of the rise of the log variance from the first to the last block of a stage and its fall to "
    "the next stage's first block, each a mean over stages",
    unit=LOG_RATIO,
    direction=1,
    smallest=0.1,
    reason="0.1 is 10 % of the variance; the paper's figure shows several times as much.",
    published=_published(),
)
