"""More heads flatten the loss of a ViT."""

from collections.abc import Sequence

import numpy as np

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import log, positive_mean
from visionscope.claims.one_seed import WARMUP, OneSeed
from visionscope.claims.published import Published, figure

HEADS = {"vit_heads_1": 1, "vit_heads_2": 2, "vit": 3, "vit_heads_6": 6}


def _exponent(heads: Sequence[int], logs: Sequence[float]) -> float:
    return float(np.polyfit(np.log(heads), logs, 1)[0])


def _number(one: OneSeed) -> float:
    logs = [log(positive_mean(one, variant), f"{variant}: the mean positive eigenvalue") for variant in HEADS]
    return _exponent(list(HEADS.values()), logs)


def _published() -> Published:
    read = figure("figC5a_heads")
    return Published(_exponent(read["heads"], np.log(read["APE"]).tolist()), "CIFAR-100", "1 to 9 heads of Fig. C.5a")


CLAIM = Claim(
    name="heads_flatter",
    number=23,
    family="exploratory",
    text="More heads make a ViT's positive eigenvalues smaller",
    source="Fig. C.5, appendix C",
    figure="C.5",
    variants=tuple(HEADS),
    diagnostics=("hessian",),
    snapshot=WARMUP,
    number_of=_number,
    meaning="slope of log APE over the log of the number of heads, by least squares over 1, 2, 3 and 6, at warm-up",
    unit="exponent",
    direction=-1,
    smallest=0.1,
    reason="With 0.1, twice the heads change the eigenvalues by 7 %.",
    published=_published(),
)
