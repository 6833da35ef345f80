"""Accuracy under adversarial attacks: FGSM, PGD and AutoAttack."""

import dataclasses
from typing import Any, ClassVar

from visionscope.core.later import later
from visionscope.core.rules import MOST_IMAGES, rule
from visionscope.core.table import column
from visionscope.diagnostics.adversarial.libraries import LIBRARIES, library_of, missing
from visionscope.diagnostics.outcomes.damage import Damage
from visionscope.diagnostics.outcomes.rows import ChangeRow, DamageRow

ATTACKS = tuple(LIBRARIES)
LEVELS = 255
SEEDS = 2**31  # AutoAttack adds a position, and torch's seeds end at 2^63


@dataclasses.dataclass(frozen=True)
class Attack:
    """What was done to the images."""

    attack: str = column("fgsm, pgd or autoattack; none for the clean images")
    eps: float = column("largest change of a pixel", "1/255", role="convention")
    steps: int = column("steps along the gradient; 0 where the attack chooses them")
    step: float = column("length of a step; 0 where the attack chooses it", "1/255", role="convention")
    begins: str = column(
        "image: from the image itself; random: from a place in the eps-ball; none: clean images", role="convention"
    )
    library: str = column("what made the attack, with its version", role="convention")


@dataclasses.dataclass(frozen=True)
class AdversarialRow(Attack, DamageRow):
    """What became of a span of images under one attack, or as they are."""


@dataclasses.dataclass(frozen=True)
class AdversarialSummaryRow(Attack, ChangeRow):
    """Accuracy under one attack."""


@later(
    measure=("check", "cost", "measure"),
    results=("comparisons",),
    figure=("figure",),
    findings=("findings", "limits"),
    overview=("measures",),
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class Adversarial(Damage):
    """Accuracy under attacks: FGSM, PGD, AutoAttack.

    Accuracy under attacks that change no pixel by more than eps; the normalisation is part of what they see.

    Pixels are in [0, 1] and stay there. FGSM takes one step of eps along the sign of the gradient of the NLL; PGD
    takes `steps` steps of 2.5 eps / steps (Madry et al. 2018) from a random place in the ball, drawn from the seed and
    the image's position; both by foolbox. AutoAttack (the standard version: two APGD, FAB, Square; Croce & Hein 2020)
    is by pyautoattack, where that is installed, and takes thousands of passes per image that resists; it is seeded for
    each 32 images. Attacks on a network are a bound from above of its accuracy: a stronger one can find less.

    Attributes:
        attacks: fgsm, pgd and autoattack, as many as wanted.
        eps: largest changes of a pixel, in 1/255.
        steps: of PGD.
        seed: of PGD's starts and of AutoAttack.
        sample_size: how many images.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    name: ClassVar[str] = "adversarial"
    version: ClassVar[int] = 2
    row: ClassVar[type] = AdversarialRow
    condition: ClassVar[type] = Attack
    unchanged: ClassVar[str | None] = "none"
    summary_row: ClassVar[type] = AdversarialSummaryRow
    place: ClassVar[int] = 4
    ensembles: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64")

    attacks: tuple[str, ...] = rule(("fgsm", "pgd"), choices=ATTACKS, count=(1, len(ATTACKS)), distinct=True)
    eps: tuple[float, ...] = rule((0.5, 1.0, 2.0, 4.0), above=0, most=LEVELS, count=(1, 1000), distinct=True)
    steps: int = rule(10, least=1, most=100_000)
    seed: int = rule(0, least=0, most=SEEDS - 1)
    sample_size: int = rule(256, least=1, most=MOST_IMAGES)

    def identity(self) -> dict[str, Any]:
        """The fields, with the libraries that make the attacks and their versions, as the rows name them."""
        made = [library_of(attack) for attack in self.attacks if not missing(attack)]
        return {**dataclasses.asdict(self), "libraries": made}
