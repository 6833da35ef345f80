"""Attacks of kept libraries on a network together with its normalisation, in pixels of [0, 1]."""

import contextlib
import importlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from visionscope.core.inputs import image_like
from visionscope.core.modes import evaluation_mode
from visionscope.core.subject import Subject
from visionscope.curvature.obstacles import cut
from visionscope.diagnostics.outcomes.passes import predict
from visionscope.diagnostics.outcomes.perturbing import Pixels
from visionscope.errors import ConfigError, NotApplicableError
from visionscope.tracing.opaque import hidden

STEP_SHARE = 2.5
_TARGETS = 9
_LEAST_CLASSES = 4


class AttackedNetwork(nn.Module):
    """A subject's network as a function of pixels of [0, 1]; what a library does to the module leaves it alone.

    Args:
        subject: its network is called, not registered.
        pixels: its normalisation.
    """

    def __init__(self, subject: Subject, pixels: Pixels) -> None:
        super().__init__()
        self._subject, self._pixels = subject, pixels
        self.training = False

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (batch, classes), in the pixels' own type: AutoAttack works in float32, whatever the network does.

        Args:
            pixels: (batch, channel, height, width) in [0, 1].
        """
        return predict(self._subject, self._pixels.normalised(pixels)).to(pixels.dtype)


@contextlib.contextmanager
def without_weight_gradients(model: nn.Module) -> Iterator[None]:
    """Parameters need no gradient for a while: a backward pass to the images leaves none in them, and costs less.

    Args:
        model: every parameter gets its flag back.
    """
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


def check_gradient(subject: Subject, name: str) -> None:
    """Refuses a network whose gradient does not reach its images, or is not its own, by a few passes of one image.

    Args:
        subject: with its sample.
        name: of the sample.

    Raises:
        NotApplicableError: saying why.
    """
    found = hidden(subject.model)
    if found is not None and not found.gradients:
        raise NotApplicableError(f"{subject.label}: an attack follows gradients, and {found.reason}")
    image = next(iter(subject.samples[name].batches(0, 1, 1))).images
    image = image.to(image_like(subject.model, image.shape[1:])).detach().clone().requires_grad_()
    with (
        evaluation_mode(subject.model),
        without_weight_gradients(subject.model),
        torch.enable_grad(),
        torch.random.fork_rng(),
    ):
        try:
            reason = _missing_gradient(subject, image)
            where = cut(subject.model, image) if found is None and not reason else ""
        except RuntimeError as error:
            reason, where = str(error).strip().partition("\n")[0], ""
    if where:
        reason = f"none passes through module {where!r}, which runs under torch.no_grad or detaches"
    if reason:
        raise NotApplicableError(f"{subject.label}: an attack follows gradients, and {reason}")


def _missing_gradient(subject: Subject, image: Tensor) -> str:
    logits = predict(subject, image)
    # The sum of probabilities would have no gradient.
    weighted = (logits * torch.arange(1, logits.shape[1] + 1).to(logits)).sum()
    gradient = torch.autograd.grad(weighted, image, allow_unused=True)[0] if weighted.requires_grad else None
    if gradient is None:
        return "none reaches the images: a part of its forward runs under torch.no_grad, inference_mode or detach"
    if not gradient.any():
        return "that of its logits is zero: a step or a rounding is in the way"
    return ""


def gradient_attack(
    network: AttackedNetwork, pixels: Tensor, labels: Tensor, eps: float, *, steps: int, start: Tensor | None
) -> Tensor:
    """FGSM or PGD by foolbox: steps along the sign of the loss's gradient, each taken back into the eps-ball.

    `x <- clip(x0 + clip(x + step sign(grad NLL) - x0, -eps, eps), 0, 1)`. Without a start it is one step of eps, the
    fast gradient sign method; with one it is projected gradient descent from x0 + eps start, in steps of 2.5 eps /
    steps, Madry et al.'s rule (ICLR 2018). The start takes the place of the library's own, whose random numbers
    depend on the batch.

    Args:
        network: what is attacked.
        pixels: (batch, channel, height, width) in [0, 1].
        labels: (batch,); the loss is their cross-entropy.
        eps: largest change of a pixel, in [0, 1].
        steps: how many; 1 for FGSM.
        start: shaped as the pixels, -1 to 1, or None.

    Returns:
        Attacked pixels in [0, 1].
    """
    foolbox, eagerpy = _imported("foolbox"), _imported("eagerpy")
    share = 1.0 if start is None else STEP_SHARE / steps
    attack = foolbox.attacks.LinfPGD(rel_stepsize=share, steps=steps, random_start=start is not None)
    if start is not None:
        attack.get_random_start = lambda given, epsilon: given + epsilon * eagerpy.astensor(start)
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device=pixels.device)
    with torch.enable_grad():
        found: Tensor = attack.run(model, pixels, foolbox.criteria.Misclassification(labels), epsilon=eps)
    return found.detach()


def auto_attack(network: AttackedNetwork, pixels: Tensor, labels: Tensor, eps: float, *, seed: int) -> Tensor:
    """AutoAttack's standard version (Croce & Hein, ICML 2020): APGD-CE, targeted APGD and FAB, Square.

    Args:
        network: what is attacked.
        pixels: (batch, channel, height, width) in [0, 1]; its random numbers depend on the whole batch.
        labels: (batch,).
        eps: largest change of a pixel, in [0, 1].
        seed: of its random numbers.

    Returns:
        Attacked pixels in [0, 1].

    Raises:
        ConfigError: for fewer than 4 classes, which its targeted loss needs.
    """
    with torch.no_grad():
        classes = network(pixels[:1]).shape[1]
    if classes < _LEAST_CLASSES:
        raise ConfigError(
            f"adversarial.attacks: autoattack needs a network of at least {_LEAST_CLASSES} classes; got {classes}. "
            "Take fgsm,pgd."
        )
    devices = [pixels.device.index or 0] if pixels.device.type == "cuda" else []
    # It seeds torch's own generators, which are given back.
    with torch.random.fork_rng(devices), torch.enable_grad():
        attack = _imported("pyautoattack").AutoAttack(network, eps=eps, seed=seed, device=pixels.device)
        for part in (attack.apgd_targeted, attack.fab):
            part.n_target_classes = min(_TARGETS, classes - 1)
        found: Tensor = attack.run_standard_evaluation(pixels.float(), labels, batch_size=len(pixels))[0]
    return found.detach().to(pixels)


def _imported(name: str) -> Any:
    # foolbox 3.3.4 imports from a place that scipy has deprecated.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(name)
