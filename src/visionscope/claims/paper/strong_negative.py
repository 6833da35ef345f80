"""Strong augmentation makes the curvature of a ViT's loss more negative."""

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import POINTS, negative_share
from visionscope.claims.one_seed import WARMUP, OneSeed


def _number(one: OneSeed) -> float:
    return negative_share(one, "vit_strong") - negative_share(one, "vit")


CLAIM = Claim(
    name="strong_negative",
    number=22,
    family="exploratory",
    text="Strong augmentation gives a ViT more negative eigenvalues",
    source="Fig. F.1b, appendix F",
    figure="F.1",
    variants=("vit_strong", "vit"),
    diagnostics=("hessian",),
    snapshot=WARMUP,
    number_of=_number,
    meaning="NEP of the ViT with strong augmentation less that without, at warm-up",
    unit=POINTS,
    direction=1,
    smallest=2.0,
    reason="2 points are a quarter of the 9 % that the paper's ViT has.",
)
