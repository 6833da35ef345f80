"""The loss of a ViT has negative curvature early in training, that of a ResNet hardly any."""

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import POINTS, negative_share
from visionscope.claims.one_seed import WARMUP, OneSeed


def _number(one: OneSeed) -> float:
    return negative_share(one, "vit") - negative_share(one, "resnet")


CLAIM = Claim(
    name="vit_negative",
    number=1,
    family="primary",
    text="A ViT has more negative Hessian eigenvalues than a ResNet",
    source="Fig. 1c and 4, section 2",
    figure="1c",
    variants=("vit", "resnet"),
    diagnostics=("hessian",),
    snapshot=WARMUP,
    number_of=_number,
    meaning="NEP of the ViT less that of the ResNet, at warm-up",
    unit=POINTS,
    direction=1,
    smallest=2.0,
    reason="2 points are a quarter of the 9 % that the paper's ViT has.",
)
