"""The Hessian's eigenvalues of largest magnitude, mini-batch by mini-batch (Park & Kim 2022, Fig. 1c, 4, 6 and 7b)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from visionscope.core.diagnostic import Theme
from visionscope.core.later import later
from visionscope.core.rules import MOST_IMAGES, check_rules, rule, seed_rule
from visionscope.core.sample import MINI_BATCH
from visionscope.core.subject import Point
from visionscope.core.table import column
from visionscope.diagnostics.second_order.mini_batches import whole_mini_batches
from visionscope.errors import ConfigError, nearest

UNIT = "nat per squared weight"
LEVELS = ("model", "stage", "block", "kind")
_MOST = 600  # mini-batches, as in the paper


@dataclasses.dataclass(frozen=True)
class HessianRow:
    """One eigenvalue of one mini-batch's Hessian, of the whole model or of a diagonal block."""

    scope: str = column("which parameters", usual="model")
    level: str = column("model, stage, block or kind", usual="model")
    parameters: int = column("how many numbers they are", role="count")
    measured: str = column("trainable: frozen numbers are left out; all: they are among them")
    frozen: int = column("frozen numbers of the scope: left out, or among `parameters`")
    unused: int = column("numbers that the loss does not depend on: their curvature is the weight decay alone")
    mini_batch: int = column("number of the mini-batch in the sample")
    images: int = column("images in the mini-batch", role="count")
    rank: int = column("1 for the largest magnitude")
    eigenvalue: float | None = column("of the Hessian of NLL + (weight_decay / 2) |w|²", UNIT)
    residual: float | None = column("|H v - eigenvalue v| / |eigenvalue| of the unit eigenvector found")
    converged: bool = column("whether the eigenvalue meets the tolerance")
    products: int = column(
        "Hessian-vector products that the mini-batch took in this scope", title="products per mini-batch", role="count"
    )
    nll: float = column("mean cross-entropy of the mini-batch", "nat", title="NLL", role="outcome")
    augmentation: str = column("how the images were changed: strong, weak or none", role="setting")
    batch_norm: str = column(
        "eval: running statistics; train: those of the mini-batch", title="BatchNorm", role="setting"
    )
    weight_decay: float = column("factor of the L2 term", UNIT, role="setting")
    label_smoothing: float = column("share of each target spread over all classes", role="setting")
    note: str = column("why there is no value, or what it is")


@later(
    measure=("identity_in", "parts", "cost", "measure"),
    results=("summary", "comparisons"),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Hessian:
    """The Hessian's eigenvalues of largest magnitude.

    Hessian max-eigenvalue spectrum: per mini-batch of 16 the k eigenvalues of largest magnitude, with sign.

    Of `L(w) = NLL + (weight_decay / 2) |w|²`, on frozen augmented training images, dropout and drop path off. The paper
    took PyHessian's power iteration, which stops when two estimates agree and gets pairs of nearly equal magnitude and
    opposite sign wrong; here Lanczos with full reorthogonalization goes on until an error bound from the residual meets
    the tolerance. Weight decay is an exact shift, added before the k are chosen, where it acts on all parameters in
    scope.

    Attributes:
        k: eigenvalues per mini-batch.
        mini_batches: how many mini-batches of 16 images.
        fraction: share of the sample instead, 600 mini-batches at most; 0.1 is the paper's.
        scopes: levels, comma-separated: model, stage, block, kind; the Hessian's diagonal blocks of these parameters.
        parameters: trainable or all; by default the trainable ones where some are frozen, else all. Scopes of which
            nothing is left are left out.
        tolerance: largest error of an eigenvalue, relative to its magnitude.
        max_products: Hessian-vector products per mini-batch at most; what has not converged then has no value.
        batch_norm: eval keeps the running statistics; train takes those of the mini-batch.
        seed: of the start vectors.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "hessian"
    version: ClassVar[int] = 2
    row: ClassVar[type] = HessianRow
    sample: ClassVar[str] = "train"
    theme: ClassVar[str] = Theme.CURVATURE
    place: ClassVar[int] = 0
    dense: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64")
    monitored: ClassVar[Mapping[str, Any]] = {"mini_batches": 2}

    k: int = rule(5, least=1, most=1000)
    mini_batches: int = rule(32, least=1, most=MOST_IMAGES // MINI_BATCH)
    fraction: float | None = rule(None, above=0, most=1)
    scopes: str = rule("model", empty=False, longest=100)
    parameters: Literal["trainable", "all"] | None = None
    tolerance: float = rule(1e-4, above=0, below=1)
    max_products: int = rule(100, least=1, most=100_000)
    batch_norm: Literal["eval", "train"] = "eval"
    seed: int = seed_rule()

    def __post_init__(self) -> None:
        check_rules(self, self.name)
        if self.max_products < self.k:
            raise ConfigError(f"hessian.max_products: must be at least k = {self.k}; got {self.max_products}")
        for level in self.levels:
            if level not in LEVELS:
                listed = ", ".join(LEVELS)
                raise ConfigError(f"hessian.scopes: must be among {listed}; got {level!r}.{nearest(level, LEVELS)}")

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that `scopes` names."""
        return tuple(level.strip() for level in self.scopes.split(","))

    def images(self, available: int) -> int:
        wanted = self.mini_batches
        if self.fraction is not None:
            wanted = min(_MOST, max(1, round(self.fraction * available / MINI_BATCH)))
        return whole_mini_batches(self.name, wanted, available)

    def identity(self) -> dict[str, Any]:
        # What `parameters` comes to depends on the network: `identity_in` tells it.
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "parameters"}

    def is_whole(self, part: str, rows: Sequence[HessianRow], points: Sequence[Point]) -> bool:
        first, last = map(int, part.split("-"))
        return {row.mini_batch for row in rows} == set(range(first, last))
