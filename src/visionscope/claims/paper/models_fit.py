"""Networks that fit the training set worse are worse on the test set: weak inductive bias does not over-fit."""

from visionscope.claims.claim import Beside, Claim
from visionscope.claims.measuring import POINTS_PER_NAT, accuracy, error_per_loss, rank_correlation, slope
from visionscope.claims.one_seed import OneSeed
from visionscope.claims.published import Published, figure

VARIANTS = ("resnet", "preresnet", "alternet", "swin", "convvit_3", "vit", "mixer")


def _number(one: OneSeed) -> float:
    losses = [one.number("training", "nll_train", variant) for variant in VARIANTS]
    return rank_correlation(losses, [100 - accuracy(one, variant) for variant in VARIANTS])


def _published() -> Published:
    read = figure("figC1a_cifar10").values()
    right = rank_correlation([one["nll_train"] for one in read], [one["error"] for one in read])
    return Published(right, "CIFAR-10", "seven networks of Fig. C.1a")


def _published_slope() -> Published:
    read = figure("figC1a_cifar10").values()
    value = slope([one["nll_train"] for one in read], [one["error"] for one in read])
    return Published(value, "CIFAR-10", "seven networks of Fig. C.1a")


CLAIM = Claim(
    name="models_fit",
    number=12,
    family="exploratory",
    text="Across networks training loss and test error rise together",
    source="Fig. 5a and C.1a, section 2",
    figure="5a",
    variants=VARIANTS,
    diagnostics=(),
    number_of=_number,
    meaning="rank correlation of NLL on augmented training images and test error, over seven networks",
    unit="rank correlation",
    direction=1,
    smallest=0.5,
    reason="Below 0.5 the one explains less than a quarter of the other's order.",
    published=_published(),
    beside=Beside(
        name="slope",
        number_of=lambda one: error_per_loss(one, VARIANTS),
        meaning="slope of test error over NLL on augmented training images, by least squares over seven networks",
        unit=POINTS_PER_NAT,
        published=_published_slope(),
    ),
)
