"""What a model was trained to make small: one object for training, Hessians and landscapes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from visionscope.core.rules import check_rules, rule
from visionscope.core.sample import Batch
from visionscope.errors import ConfigError, DataError

if TYPE_CHECKING:  # the command line checks these fields before it needs torch
    from torch import Tensor

DECAYS = ("all", "matrices")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """Cross-entropy and weight decay, `L(w) = NLL(w) + (weight_decay / 2) |w|^2`, its two terms always apart.

    The paper trains with AdamW and reads its decoupled decay as this L2 term. Its code adds `weight_decay` times
    the sum of the tensors' norms instead, not squared; `l2` offers that as the convention `official`.

    Attributes:
        label_smoothing: share of each target spread evenly over all classes, 0 to below 1.
        weight_decay: the factor of the L2 term, per nat.
        decays: `all` parameters (as in the paper, biases and norms too) or `matrices`, those of two or more dimensions.

    Raises:
        ConfigError: for a value outside its range.
    """

    label_smoothing: float = rule(0.0, least=0, below=1)
    weight_decay: float = rule(0.05, least=0, most=1000)
    decays: str = rule("all", choices=DECAYS)

    def __post_init__(self) -> None:
        check_rules(self)

    def targets(self, batch: Batch, classes: int) -> Tensor:
        """The probabilities that the model should give, (batch, classes), in float64 on the labels' device.

        (1 - label_smoothing) * (share * own class + (1 - share) * partner's class) + label_smoothing / classes.

        Args:
            batch: with labels.
            classes: size of the model's head.

        Raises:
            DataError: when the images have no label that the model knows, or one beyond its head.
        """
        if batch.labels is None:
            raise DataError(
                f"the images have no labels that the model knows; a loss needs them (its head has {classes} classes: "
                "MODEL?num_classes=N makes another)"
            )
        import torch
        from torch.nn.functional import one_hot

        shares = torch.ones_like(batch.labels, dtype=torch.float64) if batch.shares is None else batch.shares.double()
        partners = batch.labels if batch.partners is None else batch.partners
        largest, smallest = (int(pick(batch.labels)) for pick in (torch.max, torch.min))
        if largest >= classes or smallest < 0:
            wrong = largest if largest >= classes else smallest
            raise DataError(f"a label is {wrong}, but the model has {classes} classes, 0 to {classes - 1}")
        own, other = (one_hot(labels, classes).double() for labels in (batch.labels, partners))
        mixed = shares[:, None] * own + (1 - shares[:, None]) * other
        return (1 - self.label_smoothing) * mixed + self.label_smoothing / classes

    def nll(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of each image in nats, (batch,), at least in float32; whoever wants a mean divides once.

        Args:
            logits: (batch, classes).
            targets: (batch, classes), from `targets`.
        """
        wide = logits.float() if logits.dtype.itemsize < 4 else logits
        return -(targets.to(wide) * wide.log_softmax(1)).sum(1)

    def mean_nll(self, logits_of: Callable[[Tensor], Tensor], batch: Batch, like: Tensor) -> Tensor:
        """The mean cross-entropy of a batch in nats, with its graph.

        Args:
            logits_of: gives logits (batch, classes) for images, such as a subject's `logits`.
            batch: with labels.
            like: a parameter of the model; images take its device and type.

        Raises:
            DataError: for labels that the model doesn't know.
        """
        logits = logits_of(batch.images.to(like))
        targets = self.targets(batch, logits.shape[1]).to(logits.device)
        return self.nll(logits, targets).sum() / len(batch.images)

    def decaying(self, name: str, parameter: Tensor) -> bool:
        """Whether weight decay acts on a parameter.

        Args:
            name: in `named_parameters`.
            parameter: its value.
        """
        return self.decays == "all" or parameter.ndim > 1

    def l2(self, parameters: Iterable[tuple[str, Tensor]], convention: str = "squared") -> float:
        """The second term, summed in float64; a complex number counts with both parts, `|w|^2 = re^2 + im^2`.

        Args:
            parameters: names and values.
            convention: `squared` for `(weight_decay / 2) * sum |w|^2`; `official` for the authors' code's
                `weight_decay * sum over tensors of |w|`.

        Raises:
            ConfigError: for another convention.
        """
        squares = [
            _reals(value.detach()).double().square().sum().item()
            for name, value in parameters
            if self.decaying(name, value)
        ]
        if convention == "squared":
            return self.weight_decay / 2 * math.fsum(squares)
        if convention == "official":
            return self.weight_decay * math.fsum(map(math.sqrt, squares))
        raise ConfigError(f"convention: must be squared or official; got {convention!r}")

    def identity(self) -> dict[str, Any]:
        """All fields, for digests and job.json."""
        return dataclasses.asdict(self)


def _reals(value: Tensor) -> Tensor:
    import torch

    return torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
