"""Accuracy lost when one unit of a network is taken out (Park & Kim 2022, Fig. 10b and D.4)."""

import dataclasses
from typing import ClassVar, Literal

from visionscope.core.later import later
from visionscope.core.rules import MOST_IMAGES, rule
from visionscope.core.table import column
from visionscope.diagnostics.outcomes.damage import Damage
from visionscope.diagnostics.outcomes.rows import ChangeRow, DamageRow


@dataclasses.dataclass(frozen=True)
class Removal:
    """What was taken out."""

    unit: str = column("what was taken out: a branch's point, or a module; empty for the intact network")
    other_unit: str = column("the second unit of a pair, later in the pass; else empty")
    mode: str = column("branch, conv, block or pairs (of branches)", role="convention")
    kind: str = column("what the unit does: msa, mlp, conv ...; of a pair the first one; empty for the intact network")
    stage: int = column("of the unit; of a pair the first one's; 0 for the intact network")
    depth: float = column("of the unit's residual sum, 0 to 1; of a pair the first one's; 0 for the intact network")
    how: str = column("what stood in its place: skip operand, identity, subsampled 2x2 ...", role="convention")
    calls: str = column("of a module that a pass calls several times, which call: `2 of 3`, `all 3`; else empty")


@dataclasses.dataclass(frozen=True)
class LesionRow(Removal, DamageRow):
    """What became of a span of images without one unit, or without any."""


@dataclasses.dataclass(frozen=True)
class LesionSummaryRow(Removal, ChangeRow):
    """What a network's accuracy is without one unit, or two."""


@later(
    measure=("check", "cost", "measure"),
    results=("comparisons",),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Lesion(Damage):
    """Accuracy lost when a branch or a block is removed.

    Accuracy lost when one unit is removed from the trained network, against depth.

    `branch` removes what a residual sum adds: msa, mlp, conv and the like. The sum gives its skip operand, so that
    projection shortcuts stay and LayerScale goes with the branch. Stem and down-sampling are removed only where they
    are residual sums. `block` removes all branches of a block at once, `pairs` every two branches, with the single ones
    for comparison.

    `conv` removes one k x k convolution, k > 1, inside a block, as the paper does to ResNets: it is replaced by the
    identity. How the paper replaces a strided one is not said; here every stride-th row and column is taken,
    x[:, :, ::s, ::s]. New channels are filled with zeros, split evenly around the old ones as in the shortcuts of
    option A (He et al. 2016), surplus ones are cut off from both ends. Norms and activations stay.

    Where a pass calls a module several times (tied depth, recurrent refinement), each call is a unit of its own, named
    `blocks.0#2` and so on; with `calls` all, the module is taken out of all its calls at once. The table says which.

    Images are passed in batches; what a removal leaves unchanged is kept from the intact pass of the batch, which
    gives the same bits as whole passes do. With bf16, convolutions keep channels last.

    Attributes:
        mode: branch, conv, block or pairs.
        calls: whether of a module that is called several times each call is removed by itself, or all at once.
        sample_size: how many images.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "lesion"
    version: ClassVar[int] = 3
    row: ClassVar[type] = LesionRow
    condition: ClassVar[type] = Removal
    unchanged: ClassVar[str | None] = ""
    summary_row: ClassVar[type] = LesionSummaryRow
    place: ClassVar[int] = 0
    dense: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64", "bf16", "float16", "bfloat16")

    mode: Literal["branch", "conv", "block", "pairs"] = "branch"
    calls: Literal["each", "all"] = "each"
    sample_size: int = rule(1024, least=1, most=MOST_IMAGES)
