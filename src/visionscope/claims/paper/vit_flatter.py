"""The loss of a ViT is flatter than that of a ResNet early in training."""

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import LOG_RATIO, flatness
from visionscope.claims.one_seed import WARMUP, OneSeed


def _number(one: OneSeed) -> float:
    return flatness(one, "vit") - flatness(one, "resnet")


CLAIM = Claim(
    name="vit_flatter",
    number=9,
    family="exploratory",
    text="A ViT's Hessian eigenvalues are smaller than a ResNet's",
    source="Fig. 1c and 4, section 2",
    figure="4",
    variants=("vit", "resnet"),
    diagnostics=("hessian",),
    snapshot=WARMUP,
    number_of=_number,
    meaning="log of the median magnitude of the largest eigenvalues, ViT less ResNet, at warm-up",
    unit=LOG_RATIO,
    direction=-1,
    smallest=0.1,
    reason="0.1 is 10 %; the paper's medians differ several times over.",
)
