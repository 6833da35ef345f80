"""The whole spectrum of a sample's Hessian: its density by stochastic Lanczos quadrature, its trace by Hutch++."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from visionscope.core.diagnostic import Theme
from visionscope.core.later import later
from visionscope.core.rules import MOST_IMAGES, check_rules, rule, seed_rule
from visionscope.core.sample import MINI_BATCH
from visionscope.core.subject import Point
from visionscope.core.table import column
from visionscope.diagnostics.second_order.mini_batches import whole_mini_batches

UNIT = "nat per squared weight"
TRACE = "trace"
"""The part of Hutch++; the others are random vectors of the density."""


@dataclasses.dataclass(frozen=True)
class DensityRow:
    """One mass of the spectral density, or one term of the trace."""

    quantity: str = column("ritz: a mass of the density; sketch and residual: the two terms of Hutch++")
    probe: int = column("number of the random vector; -1 for the sketch")
    value: float = column("Ritz value, or the term of the trace", UNIT)
    weight: float = column("of a Ritz value: its share of the probe's mass; 1 for terms of the trace")
    images: int = column("images in the Hessian", role="count")
    parameters: int = column("how many numbers it is taken over", role="count")
    measured: str = column("trainable: frozen numbers are left out; all: they are among them")
    frozen: int = column("frozen numbers of the model: left out, or among `parameters`")
    unused: int = column("numbers that the loss does not depend on: their curvature is the weight decay alone")
    augmentation: str = column("how the images were changed: strong, weak or none", role="setting")
    batch_norm: str = column(
        "eval: running statistics; train: those of each mini-batch", title="BatchNorm", role="setting"
    )
    weight_decay: float = column("factor of the L2 term", UNIT, role="setting")


@later(
    measure=("identity_in", "parts", "cost", "measure"),
    results=("summary",),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Density:
    """Spectral density and trace of the loss's Hessian.

    Spectral density and trace of the Hessian of `NLL + (weight_decay / 2) |w|²` over a whole sample.

    Density: stochastic Lanczos quadrature. Trace: Hutch++. Both from Hessian-vector products that are summed over
    mini-batches of 16; the graph of a mini-batch serves all the vectors of a part, then goes.

    Attributes:
        mini_batches: how many mini-batches of 16 images.
        probes: random vectors of the density.
        steps: Lanczos steps of each.
        sketch: random vectors of Hutch++'s sketch, and as many for the rest.
        parameters: trainable or all; by default the trainable ones where some are frozen, else all.
        batch_norm: eval keeps the running statistics; train takes those of the mini-batch.
        seed: of the random vectors.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "density"
    version: ClassVar[int] = 2
    row: ClassVar[type] = DensityRow
    sample: ClassVar[str] = "train"
    theme: ClassVar[str] = Theme.CURVATURE
    place: ClassVar[int] = 1
    dense: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64")

    mini_batches: int = rule(16, least=1, most=MOST_IMAGES // MINI_BATCH)
    probes: int = rule(4, least=2, most=10_000)
    steps: int = rule(25, least=2, most=10_000)
    sketch: int = rule(8, least=2, most=10_000)
    parameters: Literal["trainable", "all"] | None = None
    batch_norm: Literal["eval", "train"] = "eval"
    seed: int = seed_rule()

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def images(self, available: int) -> int:
        return whole_mini_batches(self.name, self.mini_batches, available)

    def identity(self) -> dict[str, Any]:
        # What `parameters` comes to depends on the network: `identity_in` tells it.
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "parameters"}

    def is_whole(self, part: str, rows: Sequence[DensityRow], points: Sequence[Point]) -> bool:
        if part == TRACE:
            return bool(rows) and all(row.quantity != "ritz" for row in rows)
        first, last = map(int, part.split("-")[1:])
        return {row.probe for row in rows if row.quantity == "ritz"} == set(range(first, last))
