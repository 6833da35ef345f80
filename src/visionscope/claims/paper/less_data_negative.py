"""With less data the loss of a ViT has more negative curvature."""

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import POINTS, negative_share
from visionscope.claims.one_seed import WARMUP, OneSeed


def _number(one: OneSeed) -> float:
    return negative_share(one, "vit_sixteenth") - negative_share(one, "vit")


CLAIM = Claim(
    name="less_data_negative",
    number=10,
    family="exploratory",
    text="A ViT trained on a sixteenth of the data has more negative eigenvalues",
    source="Fig. 4, section 2",
    figure="4",
    variants=("vit_sixteenth", "vit"),
    diagnostics=("hessian",),
    snapshot=WARMUP,
    number_of=_number,
    meaning="NEP on a sixteenth of the images less that on all of them, at warm-up",
    unit=POINTS,
    direction=1,
    smallest=2.0,
    reason="2 points are a quarter of the 9 % that the paper's ViT has with all data.",
)
