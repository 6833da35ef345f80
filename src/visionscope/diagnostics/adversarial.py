"""Accuracy under adversarial attacks: FGSM, PGD and AutoAttack."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pyarrow as pa
from torch import Tensor

from visionscope.core.diagnostic import Cost
from visionscope.core.figure import Figure, Panel
from visionscope.core.grouping import images_text, rows_by_model
from visionscope.core.rules import MOST_IMAGES, check_rules, rule
from visionscope.core.sample import Batch
from visionscope.core.spans import spans_of
from visionscope.core.subject import Subject
from visionscope.core.table import column
from visionscope.diagnostics import _attacks, _perturbed
from visionscope.diagnostics._outcomes import ChangeRow, OutcomeRow, check_labels, first_images
from visionscope.errors import NotApplicableError
from visionscope.numerics.noise import uniform_noise

ATTACKS = tuple(_attacks.LIBRARIES)
_KEYS = ("attack", "eps", "steps", "step", "begins", "library")
_LEVELS = 255
_GROUP = 32  # images attacked together: AutoAttack's random numbers depend on them
_GRADIENT = 3  # forward passes that a gradient takes as long as
_AUTOATTACK = 5_000  # forward passes that it takes as long as, where images resist
_SEEDS = 2**31  # AutoAttack adds a position, and torch's seeds end at 2^63


@dataclasses.dataclass(frozen=True)
class AdversarialRow(OutcomeRow):
    """What became of a span of images under one attack, or as they are."""

    attack: str = column("fgsm, pgd or autoattack; none for the clean images")
    eps: float = column("largest change of a pixel", "1/255")
    steps: int = column("steps along the gradient; 0 where the attack chooses them")
    step: float = column("length of a step; 0 where the attack chooses it", "1/255")
    begins: str = column("image: from the image itself; random: from a place in the eps-ball; none: clean images")
    library: str = column("what made the attack, with its version")


@dataclasses.dataclass(frozen=True)
class AdversarialSummaryRow(ChangeRow):
    """Accuracy under one attack."""

    attack: str = column("fgsm, pgd or autoattack")
    eps: float = column("largest change of a pixel", "1/255")
    steps: int = column("steps along the gradient; 0 where the attack chooses them")
    step: float = column("length of a step; 0 where the attack chooses it", "1/255")
    begins: str = column("image: from the image itself; random: from a place in the eps-ball")
    library: str = column("what made the attack, with its version")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adversarial:
    """Accuracy under attacks that change no pixel by more than eps; the normalisation is part of what they see.

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
    version: ClassVar[int] = 1
    row: ClassVar[type] = AdversarialRow
    sample: ClassVar[str] = "eval"
    ensembles: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "fp64")

    attacks: tuple[str, ...] = rule(("fgsm", "pgd"), choices=ATTACKS, count=(1, len(ATTACKS)), distinct=True)
    eps: tuple[float, ...] = rule((0.5, 1.0, 2.0, 4.0), above=0, most=_LEVELS, count=(1, 1000), distinct=True)
    steps: int = rule(10, least=1, most=100_000)
    seed: int = rule(0, least=0, most=_SEEDS - 1)
    sample_size: int = rule(256, least=1, most=MOST_IMAGES)

    def __post_init__(self) -> None:
        check_rules(self, self.name)

    def identity(self) -> dict[str, Any]:
        """The fields, with the libraries that make the attacks and their versions, as the rows name them."""
        made = [_attacks.library_of(attack) for attack in self.attacks if not _attacks.missing(attack)]
        return {**dataclasses.asdict(self), "libraries": made}

    def images(self, available: int) -> int:
        """As many as asked, or as there are.

        Args:
            available: images in the sample.

        Raises:
            DataError: when there are none.
        """
        return first_images(self.name, self.sample_size, available)

    def parts(self, subject: Subject) -> Sequence[str]:
        """Spans of 256 images.

        Args:
            subject: with its sample `eval`.

        Raises:
            NotApplicableError: without labels, without the images' normalisation, without an attack's library, or where
                no gradient reaches the images.
        """
        check_labels(subject, self.sample)
        _perturbed.input_of(subject)
        for attack in self.attacks:
            if needed := _attacks.missing(attack):
                raise NotApplicableError(f"{subject.label}: {attack} needs a library that is not there; {needed}")
        _attacks.check_gradient(subject, self.sample)
        return spans_of(len(subject.samples[self.sample]))

    def cost(self, subject: Subject) -> Cost:
        """A gradient per step and a forward pass, for each attack and eps.

        Args:
            subject: with its sample.
        """
        steps = {"fgsm": 1, "pgd": self.steps}
        each = [1 + _GRADIENT * steps[name] if name in steps else _AUTOATTACK for name in self.attacks]
        advice = (
            f"take fewer images (--adversarial.sample_size, now {self.sample_size}), fewer eps or fewer steps "
            f"(--adversarial.steps, now {self.steps})"
        )
        found = _perturbed.usual_cost(subject, self.sample, 1 + len(self.eps) * sum(each), advice)
        # The backward pass keeps the maps of all layers.
        weights = sum(value.numel() * value.element_size() for value in subject.model.parameters())
        return dataclasses.replace(found, memory=20 * found.memory + weights)

    def measure(self, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[AdversarialRow]]]:
        """The rows of each part: the clean images first, then each attack with each eps.

        Args:
            subject: with its sample `eval`.
            parts: names from `parts`.

        Raises:
            DataError: for an image or a label that can't be used, and a logit that is not finite.
            ConfigError: for AutoAttack on a network of fewer than 4 classes.
        """
        pixels = _perturbed.Pixels.of(subject)
        network = _attacks.AttackedNetwork(subject, pixels)

        def changed(batch: Batch) -> Iterator[Tensor]:
            yield batch.images
            clean = pixels.of_images(batch.images)
            for attack in self.attacks:
                for eps in self.eps:
                    yield pixels.normalised(self.attacked(network, attack, clean, batch, eps))

        for part in parts:
            with _attacks.without_weight_gradients(subject.model):
                found = _perturbed.outcomes(subject, self.sample, part, changed, batch_size=_GROUP)
            conditions = [("none", 0.0), *((attack, eps) for attack in self.attacks for eps in self.eps)]
            yield part, [self._row(*key, outcome) for key, outcome in zip(conditions, found, strict=True)]

    def attacked(
        self, network: _attacks.AttackedNetwork, attack: str, pixels: Tensor, batch: Batch, eps: float
    ) -> Tensor:
        """Pixels after one attack.

        Args:
            network: what is attacked.
            attack: fgsm, pgd or autoattack.
            pixels: (batch, channel, height, width) in [0, 1].
            batch: their labels and positions.
            eps: largest change, in 1/255.
        """
        assert batch.labels is not None
        limit = eps / _LEVELS
        if attack == "autoattack":
            seed = self.seed * _SEEDS + int(batch.positions[0])
            return _attacks.auto_attack(network, pixels, batch.labels, limit, seed=seed)
        if attack == "fgsm":
            return _attacks.gradient_attack(network, pixels, batch.labels, limit, steps=1, start=None)
        start = uniform_noise(self.seed, batch.positions.tolist(), tuple(pixels.shape[1:])).to(pixels)
        return _attacks.gradient_attack(network, pixels, batch.labels, limit, steps=self.steps, start=start)

    def summary(self, table: pa.Table) -> pa.Table:
        """Accuracy and what it lost, per model, attack and eps; see `AdversarialSummaryRow`.

        Args:
            table: rows of one or more models, with the leading columns.
        """
        return _perturbed.summary(table, AdversarialSummaryRow, _KEYS, lambda row: row["attack"] == "none")

    def figure(self, table: pa.Table) -> Figure:
        """What each attack costs in accuracy, a panel per attack and a curve per model.

        Args:
            table: rows of one or more models, with the column `model`.
        """
        summary = self.summary(table)
        models = rows_by_model(summary)
        attacks = sorted({row["attack"] for rows in models.values() for row in rows}, key=ATTACKS.index)
        panels = tuple(
            Panel(
                model="",
                title=attack.upper() if attack != "autoattack" else "AutoAttack",
                x_label="largest change of a pixel (1/255)",
                y_label="change in accuracy (percentage points)",
                lines=tuple(
                    _perturbed.change_line(model, own, "eps")
                    for model, rows in models.items()
                    if (own := [row for row in rows if row["attack"] == attack])
                ),
                group="adversarial",
            )
            for attack in attacks
        )
        caption = (
            f"Change in accuracy over {images_text(summary)} when an attack that knows the network changes their "
            "pixels of [0, 1] by up to eps, so as to raise the NLL; the normalisation is part of what is attacked. "
            "Bars: 95 % intervals, paired over images; grey: p (McNemar, Holm over attacks and eps) of 0.05 or more."
        )
        return Figure(name="adversarial", title="Accuracy under attack", caption=caption, panels=panels)

    def _row(self, attack: str, eps: float, outcome: dict[str, Any]) -> AdversarialRow:
        how = {
            "none": (0, 0.0, "none"),
            "fgsm": (1, eps, "image"),
            "pgd": (self.steps, _attacks.STEP_SHARE * eps / self.steps, "random"),
            "autoattack": (0, 0.0, "random"),
        }
        steps, step, begins = how[attack]
        library = "none" if attack == "none" else _attacks.library_of(attack)
        return AdversarialRow(
            **outcome,
            attack=attack,
            eps=eps,
            steps=steps,
            step=step,
            begins=begins,
            library=library,
        )
