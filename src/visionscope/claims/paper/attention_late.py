"""At the start of a stage the MLP is needed more, at its end the attention."""

from collections.abc import Sequence

import numpy as np

from visionscope.claims.claim import Claim
from visionscope.claims.measuring import POINTS, removals
from visionscope.claims.one_seed import MissingError, OneSeed
from visionscope.claims.published import Published, figure


def _gain(attention: Sequence[float], mlp: Sequence[float]) -> float:
    """How much more the attention matters, less the MLP, in the last block of a stage than in the first."""
    return (attention[-1] - mlp[-1]) - (attention[0] - mlp[0])


def _number(one: OneSeed) -> float:
    told = []
    for _, stage in removals(one, "swin").groupby("stage"):
        attention, mlp = (stage.loc[stage["kind"] == kind, "loss"].to_list() for kind in ("msa", "mlp"))
        if len(attention) > 1 and len(mlp) > 1:
            told.append(_gain(attention, mlp))
    if not told:
        raise MissingError("swin: no stage has two blocks of attention and MLP")
    return float(np.mean(told))


def _published() -> Published:
    told = [stage for stage in figure("figD4_lesion")["Swin_units"].values() if None not in stage]
    losses = [-np.array(stage) for stage in told]
    gain = np.mean([_gain(stage[::2].tolist(), stage[1::2].tolist()) for stage in losses])
    return Published(float(gain), "CIFAR-100", "stages 2 to 4 of Swin in Fig. D.4")


CLAIM = Claim(
    name="attention_late",
    number=17,
    family="exploratory",
    text="Attention matters more, compared with MLPs, at the end of a stage",
    source="Fig. 10b and D.4, section 4",
    figure="10b",
    variants=("swin",),
    diagnostics=("lesion",),
    number_of=_number,
    meaning="accuracy lost without the attention less that without the MLP, in the last block of a stage less in the "
    "first, mean over Swin's stages",
    unit=POINTS,
    direction=1,
    smallest=0.5,
    reason="Half a point is half of what the paper's Swin shows.",
    published=_published(),
)
