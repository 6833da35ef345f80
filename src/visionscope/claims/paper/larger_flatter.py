"""Larger networks have a flatter loss."""

import numpy as np

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import LOG_RATIO, flatness
from visionscope.claims.one_seed import WARMUP, OneSeed


def _number(one: OneSeed) -> float:
    return float(np.mean([flatness(one, f"{name}_large") - flatness(one, name) for name in ("resnet", "vit")]))


CLAIM = Claim(
    name="larger_flatter",
    number=25,
    family="exploratory",
    text="Larger networks have smaller Hessian eigenvalues",
    source="Fig. C.7c, appendix C",
    figure="C.7",
    variants=("resnet_large", "vit_large", "resnet", "vit"),
    diagnostics=("hessian",),
    snapshot=WARMUP,
    number_of=_number,
    meaning="log of the median magnitude of the largest eigenvalues, large less small, mean of ResNet and "
    "ViT, at warm-up",
    unit=LOG_RATIO,
    direction=-1,
    smallest=0.1,
    reason="0.1 is 10 %; the paper's ResNet-101 is 27 % below its ResNet-50.",
)
