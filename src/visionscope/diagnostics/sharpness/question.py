"""How much the loss rises when weights change: on average, at worst, and along a direction (Andriushchenko 2023)."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from visionscope.core.diagnostic import Theme
from visionscope.core.later import later
from visionscope.core.rules import MOST_IMAGES, check_rules, rule, seed_rule
from visionscope.core.sample import MINI_BATCH
from visionscope.core.table import column
from visionscope.diagnostics.second_order.mini_batches import whole_mini_batches
from visionscope.errors import ConfigError

AVERAGE, WORST, CRITICAL = "average", "worst", "critical"
KINDS = (AVERAGE, WORST, CRITICAL)
UNITS = {AVERAGE: "nat", WORST: "nat", CRITICAL: "nat per squared weight"}
GRADIENT, UPDATE = "negative gradient", "optimizer's last update"
PER_UPDATE = "1 / update"
_WORST_RADIUS = {"linf": 0.002, "l2": 0.5}


@dataclasses.dataclass(frozen=True)
class SharpnessRow:
    """One kind of sharpness of one batch of images."""

    part: str = column("number of the batch and of the next one", role="hidden")
    batch: int = column("number of the batch in the sample")
    images: int = column("images in the batch", role="count")
    kind: str = column("average, worst or critical")
    value: float | None = column(
        "average, worst: rise of the NLL; critical: 2 / the first step at which the NLL rises", role="outcome"
    )
    unit: str = column("of value")
    standard_error: float | None = column("of the average, over draws", "nat")
    radius: float | None = column(
        "how far weights go, as a share of each weight's magnitude; null of critical, which has none", role="setting"
    )
    norm: str = column(
        "what the radius bounds: gaussian (standard deviation), linf (each weight), l2 (all together)", role="setting"
    )
    direction: str = column("along which the critical step was looked for", role="setting")
    step: float | None = column(
        "critical step: a learning rate in squared weights per nat; along an update, a multiple of it"
    )
    step_low: float | None = column("lower end of the bracket that holds it")
    step_high: float | None = column("upper end")
    forward_passes: int = column("forward passes of the batch", role="count")
    gradients: int = column("gradients of the batch", role="count")
    nll: float = column("mean cross-entropy of the batch where the network is", "nat", title="NLL", role="outcome")
    parameters: int = column("how many numbers move", role="count")
    measured: str = column("trainable: frozen numbers stay; all: they move, too")
    frozen: int = column("frozen numbers of the model")
    augmentation: str = column("how the images were changed: strong, weak or none", role="setting")
    label_smoothing: float = column("share of each target spread over all classes", role="setting")
    note: str = column("why there is no value")


@later(
    measure=("identity_in", "parts", "cost", "measure"),
    results=("summary",),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Sharpness:
    r"""How much the loss rises when weights change.

    Adaptive sharpness, on average and at worst, and critical sharpness along the negative gradient.

    All are of the NLL alone, without weight decay, per batch of m frozen augmented training images, in evaluation mode.
    Perturbations are relative, :math:`\delta = |w| \circ u` element by element, so that no rescaling of single weights
    changes the first two (Andriushchenko et al. 2023, A Modern Look at the Relationship between Sharpness and
    Generalization, eq. 1 and 2 with `c = |w|`).

    - `average`: :math:`\mathrm{mean}_u\, L(w + |w| \circ u) - L(w)` with u normal, of standard deviation
      `average_radius`.
    - `worst`: the same at its largest with :math:`|u|_\infty` or :math:`|u|_2` at most `worst_radius`, by `steps`
      steps of projected ascent of length 2.5 radius / steps, from u = 0, the best place kept. Ascent is in u, along
      :math:`|w| \circ g` or its sign. The authors' Auto-PGD starts at random with steps of 2 radius, halves them where
      the loss stalls and adds momentum; its l2 step is :math:`|w| \circ g / |g|`, which depends on how weights are
      scaled. Like theirs it is a lower bound.
    - `critical`: :math:`2 / \eta_c`, with :math:`\eta_c` the first step along the negative gradient at which the loss
      is above its start (Kalra et al. 2026): a gradient and at most 9 forward passes. In a monitor it is along the
      optimizer's last update instead, from the weights before it, and :math:`\eta_c` counts such updates. A sharpness
      above 2 then says that the update itself raised the loss; divided by the learning rate, it is the authors' own.

    The authors also divide logits by their norm in some comparisons, which is not done here.

    Attributes:
        kinds: which of average, worst and critical.
        batches: how many batches.
        batch_size: images in each, the paper's m: a multiple of 16.
        average_radius: standard deviation of the average's changes, as a share of each weight's magnitude.
        draws: random changes per batch.
        norm: what bounds the worst change: linf or l2.
        worst_radius: its radius; by default 0.002 for linf and 0.5 for l2, which the paper has for CNNs and ViTs.
        steps: of ascent.
        parameters: trainable or all; by default the trainable ones where some are frozen, else all.
        seed: of the random changes.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "sharpness"
    version: ClassVar[int] = 1
    row: ClassVar[type] = SharpnessRow
    sample: ClassVar[str] = "train"
    theme: ClassVar[str] = Theme.CURVATURE
    place: ClassVar[int] = 3
    dense: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64")
    monitored: ClassVar[Mapping[str, Any]] = {"kinds": (CRITICAL,), "batches": 1}

    kinds: tuple[str, ...] = rule(KINDS, choices=KINDS, count=(1, len(KINDS)), distinct=True)
    batches: int = rule(8, least=1, most=MOST_IMAGES // MINI_BATCH)
    batch_size: int = rule(128, least=MINI_BATCH, most=2**16)
    average_radius: float = rule(0.1, above=0, most=100)
    draws: int = rule(20, least=2, most=10_000)
    norm: Literal["linf", "l2"] = "linf"
    worst_radius: float | None = rule(None, above=0, most=1e6)
    steps: int = rule(20, least=1, most=10_000)
    parameters: Literal["trainable", "all"] | None = None
    seed: int = seed_rule()

    def __post_init__(self) -> None:
        check_rules(self, self.name)
        if self.batch_size % MINI_BATCH:
            below = self.batch_size // MINI_BATCH * MINI_BATCH
            raise ConfigError(
                f"sharpness.batch_size: must be a multiple of {MINI_BATCH}, such as {below}; got {self.batch_size}"
            )

    @property
    def radius(self) -> float:
        """Of the worst change."""
        return _WORST_RADIUS[self.norm] if self.worst_radius is None else self.worst_radius

    @property
    def reads_update(self) -> bool:
        """Whether it asks for the optimizer's last update, where there is one."""
        return CRITICAL in self.kinds

    def images(self, available: int) -> int:
        count = whole_mini_batches(self.name, self.batches * self.batch_size // MINI_BATCH, available)
        return count // self.batch_size * self.batch_size or count

    def identity(self) -> dict[str, Any]:
        # What `parameters` comes to depends on the network: `identity_in` tells it.
        fields = {name: value for name, value in dataclasses.asdict(self).items() if name != "parameters"}
        return {**fields, "worst_radius": self.radius}
