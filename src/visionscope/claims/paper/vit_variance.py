"""In a ViT's middle and late blocks attention averages feature maps, and the MLP spreads them."""

import numpy as np

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import LOG_RATIO, later_changes
from visionscope.claims.one_seed import OneSeed
from visionscope.claims.published import Published, figure


def _number(one: OneSeed) -> float:
    lowered = -np.median(later_changes(one, "variance", "vit", "msa", "log"))
    raised = np.median(later_changes(one, "variance", "vit", "mlp", "log"))
    return float(min(lowered, raised))


def _published() -> Published:
    changes = np.diff(np.log(figure("figD1_feature_variance")["ViT"]))  # stem, then msa and mlp in turn
    later = changes[len(changes) // 3 :]
    return Published(float(min(-np.median(later[::2]), np.median(later[1::2]))), "CIFAR-100", "the ViT of Fig. D.1")


CLAIM = Claim(
    name="vit_variance",
    number=5,
    family="primary",
    text="In later ViT blocks attention lowers the feature-map variance and MLPs raise it",
    source="Fig. 9 and D.1, section 3",
    figure="9",
    variants=("vit",),
    diagnostics=("variance",),
    number_of=_number,
    meaning="the smaller of the median fall at attention points and the median rise at MLP points, of the log of the "
    "feature maps' variance over space, over the second and third thirds of depth",
    unit=LOG_RATIO,
    direction=1,
    smallest=0.005,
    reason="0.005 is half a percent of the variance in each block, a little less than the paper's own figure shows.",
    published=_published(),
)
