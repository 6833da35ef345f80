"""In a ViT's middle and late blocks attention is a low-pass filter, and the MLP a high-pass one."""

import numpy as np

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import later_changes
from visionscope.claims.one_seed import OneSeed
from visionscope.claims.published import Published, figure


def _number(one: OneSeed) -> float:
    lowered = -np.median(later_changes(one, "fourier", "vit", "msa", "change"))
    raised = np.median(later_changes(one, "fourier", "vit", "mlp", "change"))
    return float(min(lowered, raised))


def _published() -> Published:
    changes = np.diff(figure("figD2_fourier")["ViT"]["delta_log_amp_high"])  # stem, then msa and mlp in turn
    later = changes[len(changes) // 3 :]
    return Published(float(min(-np.median(later[::2]), np.median(later[1::2]))), "ImageNet", "the ViT of Fig. D.2")


CLAIM = Claim(
    name="vit_fourier",
    number=4,
    family="primary",
    text="In later ViT blocks attention lowers high frequencies and MLPs raise them",
    source="Fig. 2a, 8 and D.2, section 3",
    figure="8",
    variants=("vit",),
    diagnostics=("fourier",),
    number_of=_number,
    meaning="the smaller of the median fall at attention points and the median rise at MLP points, of the relative "
    "log-amplitude at the highest frequency, over the second and third thirds of depth",
    unit="natural log",
    direction=1,
    smallest=0.02,
    reason="0.02 is 2 % of the amplitude; the paper's later blocks change it by about five times as much.",
    published=_published(),
)
