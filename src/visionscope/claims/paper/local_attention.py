"""Attention that sees its neighbours alone has less negative curvature than attention that sees all."""

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import POINTS, negative_share
from visionscope.claims.one_seed import WARMUP, OneSeed


def _number(one: OneSeed) -> float:
    return negative_share(one, "convvit_3") - negative_share(one, "convvit_global")


CLAIM = Claim(
    name="local_attention",
    number=11,
    family="exploratory",
    text="Attention over 3x3 neighbours has fewer negative eigenvalues than attention over all",
    source="Fig. 7b, section 2",
    figure="7",
    variants=("convvit_3", "convvit_global"),
    diagnostics=("hessian",),
    snapshot=WARMUP,
    number_of=_number,
    meaning="NEP of the ConvViT with 3x3 kernels less that with global attention, at warm-up",
    unit=POINTS,
    direction=-1,
    smallest=2.0,
    reason="The paper's kernels differ by up to 4 points; half of that is the least that it could show.",
)
