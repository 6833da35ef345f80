"""Averaging the tokens convexifies the loss, compared with reading a class token."""

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import POINTS, negative_share
from visionscope.claims.one_seed import WARMUP, OneSeed


def _number(one: OneSeed) -> float:
    return negative_share(one, "vit_gap") - negative_share(one, "vit")


CLAIM = Claim(
    name="gap_negative",
    number=2,
    family="primary",
    text="A ViT with average pooling has fewer negative eigenvalues than one with class token",
    source="Fig. 6, section 2",
    figure="6",
    variants=("vit_gap", "vit"),
    diagnostics=("hessian",),
    snapshot=WARMUP,
    number_of=_number,
    meaning="NEP with average pooling less that with a class token, at warm-up",
    unit=POINTS,
    direction=-1,
    smallest=2.0,
    reason="The paper's curves differ by 2 to 3 points; less would not be seen in them.",
)
