"""Feature maps of a multi-stage network are alike within a stage, those of a ViT change steadily."""

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import block_structure
from visionscope.claims.one_seed import LAST, OneSeed


def structure(one: OneSeed, variant: str, *, thirds: bool) -> float:
    """Mean CKA of points of one stage less that across stages; see `measuring.block_structure`.

    Args:
        one: tables of one seed.
        variant: name of a training.
        thirds: whether thirds of depth stand for stages, of networks that have none.

    Raises:
        MissingError: where there are no such points.
    """
    rows = one.rows("similarity", variant, LAST)
    return block_structure(rows, one.numbers(rows, "cka", variant), thirds=thirds)


def _number(one: OneSeed) -> float:
    staged = (structure(one, "resnet", thirds=False) + structure(one, "swin", thirds=False)) / 2
    return staged - structure(one, "vit", thirds=True)


CLAIM = Claim(
    name="cka_blocks",
    number=16,
    family="exploratory",
    text="Similarity forms blocks in multi-stage networks and not in a ViT",
    source="Fig. 10a and D.3, section 4",
    figure="10a",
    variants=("resnet", "swin", "vit"),
    diagnostics=("similarity",),
    number_of=_number,
    meaning="mean CKA of points of one stage less that across stages, mean of ResNet and Swin, less that of the ViT "
    "by thirds of its depth",
    unit="CKA",
    direction=1,
    smallest=0.05,
    reason="CKA runs from 0 to 1; less than 0.05 is not seen in a heat-map.",
)
