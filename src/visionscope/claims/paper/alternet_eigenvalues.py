"""AlterNet's loss has fewer large eigenvalues than that of the CNN that it was made from."""

import numpy as np

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import POINTS, eigenvalues
from visionscope.claims.one_seed import WARMUP, OneSeed


def _number(one: OneSeed) -> float:
    before = eigenvalues(one, "preresnet")
    large = np.quantile(before, 0.75)
    return float(100 * ((eigenvalues(one, "alternet") > large).mean() - (before > large).mean()))


CLAIM = Claim(
    name="alternet_eigenvalues",
    number=19,
    family="exploratory",
    text="AlterNet has fewer large Hessian eigenvalues than its CNN",
    source="Fig. 12c, section 5",
    figure="12c",
    variants=("alternet", "preresnet"),
    diagnostics=("hessian",),
    snapshot=WARMUP,
    number_of=_number,
    meaning="share of AlterNet's eigenvalues above its CNN's upper quartile, less the CNN's own share, at warm-up",
    unit=POINTS,
    direction=-1,
    smallest=5.0,
    reason="5 points are a fifth of the quarter that the CNN has.",
)
