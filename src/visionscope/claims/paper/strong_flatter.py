"""Strong augmentation flattens the loss."""

import numpy as np

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import LOG_RATIO, flatness
from visionscope.claims.one_seed import WARMUP, OneSeed


def _number(one: OneSeed) -> float:
    return float(np.mean([flatness(one, f"{name}_strong") - flatness(one, name) for name in ("resnet", "vit")]))


CLAIM = Claim(
    name="strong_flatter",
    number=21,
    family="exploratory",
    text="Strong augmentation makes Hessian eigenvalues smaller",
    source="Fig. F.1b, appendix F",
    figure="F.1",
    variants=("resnet_strong", "vit_strong", "resnet", "vit"),
    diagnostics=("hessian",),
    snapshot=WARMUP,
    number_of=_number,
    meaning="log of the median magnitude of the largest eigenvalues, with strong augmentation less without, mean of "
    "ResNet and ViT, at warm-up",
    unit=LOG_RATIO,
    direction=-1,
    smallest=0.1,
    reason="0.1 is 10 %; the paper's spectra differ several times over.",
)
