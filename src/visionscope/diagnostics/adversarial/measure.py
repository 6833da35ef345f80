"""The passes of attacked images."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from visionscope.core.diagnostic import Cost
from visionscope.core.sample import Batch
from visionscope.core.subject import Subject
from visionscope.diagnostics.adversarial import attacks
from visionscope.diagnostics.adversarial.libraries import library_of, missing
from visionscope.diagnostics.adversarial.question import LEVELS, SEEDS, Adversarial, AdversarialRow
from visionscope.diagnostics.outcomes.perturbing import Pixels, input_of, outcomes_of, usual_cost
from visionscope.errors import NotApplicableError
from visionscope.numerics.noise import uniform_noise

_GROUP = 32  # images attacked together: AutoAttack's random numbers depend on them
_GRADIENT = 3  # forward passes that a gradient takes as long as
_AUTOATTACK = 5_000  # forward passes that it takes as long as, where images resist
_MAPS = 20  # times the memory of a forward pass: the backward pass keeps the maps of all layers


def check(asked: Adversarial, subject: Subject) -> None:
    """Refuses images of unknown normalisation, attacks without their library, images that no gradient reaches."""
    input_of(subject)
    for attack in asked.attacks:
        if needed := missing(attack):
            raise NotApplicableError(f"{subject.label}: {attack} needs a library that is not installed; {needed}")
    attacks.check_gradient(subject, asked.sample)


def cost(asked: Adversarial, subject: Subject) -> Cost:
    """A gradient per step and a forward pass, for each attack and eps."""
    steps = {"fgsm": 1, "pgd": asked.steps}
    each = [1 + _GRADIENT * steps[name] if name in steps else _AUTOATTACK for name in asked.attacks]
    advice = f"fewer eps or fewer steps (--adversarial.steps, now {asked.steps})"
    found = usual_cost(asked, subject, 1 + len(asked.eps) * sum(each), advice)
    weights = sum(value.numel() * value.element_size() for value in subject.model.parameters())
    return dataclasses.replace(found, memory=_MAPS * found.memory + weights)


def measure(asked: Adversarial, subject: Subject, parts: Sequence[str]) -> Iterator[tuple[str, list[AdversarialRow]]]:
    """The rows of each part: the clean images first, then each attack with each eps."""
    pixels = Pixels.of(subject)
    network = attacks.AttackedNetwork(subject, pixels)
    strengths = [(attack, eps) for attack in asked.attacks for eps in asked.eps]

    def changed(batch: Batch) -> Iterator[Tensor]:
        yield batch.images
        clean = pixels.of_images(batch.images)
        for attack, eps in strengths:
            yield pixels.normalised(attacked(asked, network, attack, clean, batch, eps))

    for part in parts:
        with attacks.without_weight_gradients(subject.model):
            found = outcomes_of(subject, asked.sample, part, changed, batch_size=_GROUP)
        conditions = [("none", 0.0), *strengths]
        yield part, [_row(asked, *key, outcome) for key, outcome in zip(conditions, found, strict=True)]


def attacked(
    asked: Adversarial, network: attacks.AttackedNetwork, attack: str, pixels: Tensor, batch: Batch, eps: float
) -> Tensor:
    """Pixels after one attack.

    Args:
        asked: with the steps and the seed.
        network: what is attacked.
        attack: fgsm, pgd or autoattack.
        pixels: (batch, channel, height, width) in [0, 1].
        batch: their labels and positions.
        eps: largest change, in 1/255.
    """
    assert batch.labels is not None
    limit = eps / LEVELS
    if attack == "autoattack":
        seed = asked.seed * SEEDS + int(batch.positions[0])
        return attacks.auto_attack(network, pixels, batch.labels, limit, seed=seed)
    if attack == "fgsm":
        return attacks.gradient_attack(network, pixels, batch.labels, limit, steps=1, start=None)
    start = uniform_noise(asked.seed, batch.positions.tolist(), tuple(pixels.shape[1:])).to(pixels)
    return attacks.gradient_attack(network, pixels, batch.labels, limit, steps=asked.steps, start=start)


def _row(asked: Adversarial, attack: str, eps: float, outcome: dict[str, Any]) -> AdversarialRow:
    how = {
        "none": (0, 0.0, "none"),
        "fgsm": (1, eps, "image"),
        "pgd": (asked.steps, attacks.STEP_SHARE * eps / asked.steps, "random"),
        "autoattack": (0, 0.0, "random"),
    }
    steps, step, begins = how[attack]
    library = "none" if attack == "none" else library_of(attack)
    return AdversarialRow(**outcome, attack=attack, eps=eps, steps=steps, step=step, begins=begins, library=library)
