"""A block early in its stage is needed more than one late in it."""

import numpy as np

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import POINTS, early_less_late, removals
from visionscope.claims.one_seed import MissingError, OneSeed
from visionscope.claims.published import Published, figure

VARIANTS = ("resnet", "vit", "swin")


def _of(one: OneSeed, variant: str) -> float:
    rows = removals(one, variant)
    found = [early_less_late(stage["loss"].to_list()) for _, stage in rows.groupby("stage")]
    told = [value for value in found if value is not None]
    if not told:
        raise MissingError(f"{variant}: no stage has two branches to remove")
    return float(np.mean(told))


def _number(one: OneSeed) -> float:
    return float(np.mean([_of(one, variant) for variant in VARIANTS]))


def _published() -> Published:
    read = figure("figD4_lesion")
    resnet = np.split(np.array(read["ResNet_3x3conv_per_block_stages_3_4_6_3"]), np.cumsum([3, 4, 6]))
    swin = [stage for stage in read["Swin_units"].values() if None not in stage]  # one value lies outside the figure
    stages = {"ResNet": resnet, "ViT": [read["ViT_units_MSA_MLP_alternating"]], "Swin": swin}
    means = [
        np.mean([early_less_late([-change for change in stage]) or 0.0 for stage in all]) for all in stages.values()
    ]
    return Published(float(np.mean(means)), "CIFAR-100", "ResNet, ViT and stages 2 to 4 of Swin in Fig. D.4")


CLAIM = Claim(
    name="early_removals",
    number=7,
    family="primary",
    text="Removing an early branch of a stage costs more than removing a late one",
    source="Fig. 10b and D.4, section 4",
    figure="10b",
    variants=VARIANTS,
    diagnostics=("lesion",),
    number_of=_number,
    meaning="accuracy lost by removing a branch of the first half of a stage less that of the last half, mean over "
    "stages, then over ResNet, ViT (one stage) and Swin",
    unit=POINTS,
    direction=1,
    smallest=1.0,
    reason="1 point is about what removing the least needed branch of the paper's networks costs.",
    published=_published(),
)
