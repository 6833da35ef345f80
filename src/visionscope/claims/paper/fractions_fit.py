"""Less data makes a ViT worse on the training set, too: it does not over-fit."""

from visionscope.claims.claim import Beside, Claim
from visionscope.claims.measuring import POINTS_PER_NAT, accuracy, error_per_loss, rank_correlation, slope
from visionscope.claims.one_seed import OneSeed
from visionscope.claims.published import Published, figure

VARIANTS = ("vit", "vit_half", "vit_quarter", "vit_eighth", "vit_sixteenth")


def _number(one: OneSeed) -> float:
    losses = [one.number("training", "nll_train", variant) for variant in VARIANTS]
    return rank_correlation(losses, [100 - accuracy(one, variant) for variant in VARIANTS])


def _published() -> Published:
    read = figure("fig5b_vit_ti_cifar100_dataset_size")
    return Published(rank_correlation(read["nll_train"], read["error"]), "CIFAR-100", "seven fractions of Fig. 5b")


def _published_slope() -> Published:
    read = figure("fig5b_vit_ti_cifar100_dataset_size")
    return Published(slope(read["nll_train"], read["error"]), "CIFAR-100", "seven fractions of Fig. 5b")


CLAIM = Claim(
    name="fractions_fit",
    number=3,
    family="primary",
    text="With less data a ViT's training loss and test error rise together",
    source="Fig. 5b, section 2",
    figure="5b",
    variants=VARIANTS,
    diagnostics=(),
    number_of=_number,
    meaning="rank correlation of NLL on augmented training images and test error, over five fractions of the data",
    unit="rank correlation",
    direction=1,
    smallest=0.5,
    reason="Below 0.5 the one explains less than a quarter of the other's order.",
    published=_published(),
    beside=Beside(
        name="slope",
        number_of=lambda one: error_per_loss(one, VARIANTS),
        meaning="slope of test error over NLL on augmented training images, by least squares over five fractions",
        unit=POINTS_PER_NAT,
        published=_published_slope(),
    ),
)
