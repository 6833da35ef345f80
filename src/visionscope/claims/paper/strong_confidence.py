"""Strong augmentation makes networks under-confident."""

import numpy as np

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import POINTS
from visionscope.claims.one_seed import LAST, OneSeed


def _excess(one: OneSeed, variant: str) -> float:
    return 100 * one.number("calibration_summary", "signed_ece", variant, LAST, scaling="none")


def _number(one: OneSeed) -> float:
    strong = float(np.mean([_excess(one, f"{name}_strong") for name in ("resnet", "vit")]))
    plain = float(np.mean([_excess(one, name) for name in ("resnet", "vit")]))
    return max(strong, strong - plain)


CLAIM = Claim(
    name="strong_confidence",
    number=20,
    family="exploratory",
    text="Strong augmentation makes networks under-confident",
    source="Fig. F.1a, appendix F",
    figure="F.1",
    variants=("resnet_strong", "vit_strong", "resnet", "vit"),
    diagnostics=("calibration",),
    number_of=_number,
    meaning="confidence less accuracy with strong augmentation, or what it changed if that is nearer to zero or above, "
    "mean of ResNet and ViT",
    unit=POINTS,
    direction=-1,
    smallest=1.0,
    reason="1 point is about the calibration error that is left after temperature scaling.",
)
