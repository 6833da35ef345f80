"""Attention at the ends of stages raises the accuracy of a CNN."""

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import POINTS, accuracy
from visionscope.claims.one_seed import OneSeed
from visionscope.claims.published import Published, figure


def _number(one: OneSeed) -> float:
    return accuracy(one, "alternet") - accuracy(one, "preresnet")


def _published() -> Published:
    right = {tuple(step["msa_per_stage"]): step["acc"] for step in figure("fig12a_buildup_cifar100")}
    return Published(right[0, 1, 1, 2] - right[0, 0, 0, 0], "CIFAR-100", "Fig. 12a, (0, 1, 1, 2) less (0, 0, 0, 0)")


CLAIM = Claim(
    name="attention_helps",
    number=18,
    family="exploratory",
    text="Attention at the ends of stages raises a CNN's accuracy",
    source="Fig. 12a, section 5",
    figure="12b",
    variants=("alternet", "preresnet"),
    diagnostics=(),
    number_of=_number,
    meaning="test accuracy of AlterNet less that of the same network without attention",
    unit=POINTS,
    direction=1,
    smallest=0.5,
    reason="Half a point is a third of the 1.5 that the paper reports.",
    published=_published(),
)
