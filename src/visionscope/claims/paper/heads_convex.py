"""More heads convexify the loss of a ViT."""

from collections.abc import Sequence

import numpy as np

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import negative_share
from visionscope.claims.one_seed import WARMUP, OneSeed
from visionscope.claims.paper.heads_flatter import HEADS
from visionscope.claims.published import Published, figure


def _slope(heads: Sequence[int], shares: Sequence[float]) -> float:
    return float(np.polyfit(np.log2(heads), shares, 1)[0])


def _number(one: OneSeed) -> float:
    return _slope(list(HEADS.values()), [negative_share(one, variant) for variant in HEADS])


def _published() -> Published:
    read = figure("figC5a_heads")
    return Published(_slope(read["heads"], read["NEP_percent"]), "CIFAR-100", "1 to 9 heads of Fig. C.5a")


CLAIM = Claim(
    name="heads_convex",
    number=24,
    family="exploratory",
    text="More heads give a ViT fewer negative eigenvalues",
    source="Fig. C.5, appendix C",
    figure="C.5",
    variants=tuple(HEADS),
    diagnostics=("hessian",),
    snapshot=WARMUP,
    number_of=_number,
    meaning="slope of NEP over the doublings of heads, by least squares over 1, 2, 3 and 6, at warm-up",
    unit="percentage points per doubling",
    direction=-1,
    smallest=0.5,
    reason="Half a point a doubling is between a quarter and a third of what the paper's figure shows.",
    published=_published(),
)
