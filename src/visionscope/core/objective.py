"""What a model was trained to make small: one object for training, Hessians and landscapes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from visionscope.core.rules import check_rules, rule
from visionscope.core.sample import DENSE_AXES, IGNORED, MASK_AXES, Batch
from visionscope.errors import ConfigError, DataError

if TYPE_CHECKING:  # the command line checks these fields before it needs torch
    from torch import Tensor

DECAYS = ("all", "matrices")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """Cross-entropy and weight decay, `L(w) = NLL(w) + (weight_decay / 2) |w|^2`, its two terms always apart.

    The NLL of images is the mean of the images' own; that of an image with a mask is the mean of the cross-entropy of
    its pixels that count. So every image weighs as much, however many of its pixels are ignored: torch's
    `cross_entropy` of a batch, a mean over all its pixels, weighs an image by its pixels. Without ignored pixels the
    two are equal. An image none of whose pixels counts, as a random crop may leave one, adds nothing, and the mean is
    over the others.

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

        (1 - label_smoothing) * (share * own class + (1 - share) * partner's class) + label_smoothing / classes. Of
        masks they are not written out: `nll` makes them of the class indices.

        Args:
            batch: with labels.
            classes: size of the model's head.

        Returns:
            (batch, classes) of float64; for masks these, (batch, height, width) of int64.

        Raises:
            DataError: when the images have no label that the model knows, or one beyond its head; for a mask of another
                size than its image.
        """
        if batch.labels is None:
            raise DataError(
                f"the images have no labels that the model knows; a loss needs them (its head has {classes} classes: "
                "MODEL?num_classes=N makes another)"
            )
        if batch.labels.ndim == MASK_AXES:
            _check_masks(batch, classes)
            return batch.labels
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

        It is 0 for an image none of whose pixels counts; `counting` tells what to divide by.

        Args:
            logits: (batch, classes); of masks (batch, classes, height, width), resized to them where they are smaller.
            targets: (batch, classes) or masks, from `targets`.

        Raises:
            DataError: for logits per pixel and a label per image, and the other way round.
        """
        wide = logits.float() if logits.dtype.itemsize < 4 else logits
        if targets.ndim == MASK_AXES or logits.ndim == DENSE_AXES:
            return self._nll_of_masks(wide, targets)
        return -(targets.to(wide) * wide.log_softmax(1)).sum(1)

    def _nll_of_masks(self, logits: Tensor, masks: Tensor) -> Tensor:
        """(batch,) from logits (batch, classes, height, width) and class indices (batch, height, width)."""
        from torch.nn.functional import cross_entropy

        from visionscope.core.logits import of_pixels

        of_each = cross_entropy(
            of_pixels(logits, masks),
            masks,
            ignore_index=IGNORED,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return of_each.sum((1, 2)) / (masks != IGNORED).sum((1, 2)).clamp_min(1)

    def mean_nll(self, logits_of: Callable[[Tensor], Tensor], batch: Batch, like: Tensor) -> Tensor:
        """The mean cross-entropy of a batch in nats, with its graph.

        Args:
            logits_of: gives logits for images, (batch, classes) or (batch, classes, height, width), such as a subject's
                `logits`.
            batch: with labels.
            like: a parameter of the model; images take its device and type.

        Raises:
            DataError: for labels that the model doesn't know, and where no pixel of any mask counts.
        """
        logits = logits_of(batch.images.to(like))
        targets = self.targets(batch, logits.shape[1]).to(logits.device)
        return self.nll(logits, targets).sum() / counting(batch)

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


def counting(batch: Batch) -> int:
    """How many images the mean loss of a batch is over: all, but for masks none of whose pixels counts.

    Args:
        batch: with labels, with masks, or without either.

    Raises:
        DataError: where no pixel of any mask counts.
    """
    if batch.labels is None or batch.labels.ndim != MASK_AXES:
        return len(batch.images)
    images = len(batch.images) - len(_empty(batch.labels))
    if not images:
        place = int(batch.positions[0])
        raise DataError(
            f"masks: a batch needs a pixel that counts; all of image {place} and the others of its batch are "
            f"{IGNORED}, ignored"
        )
    return images


def check_each_counts(batch: Batch) -> None:
    """Refuses masks none of whose pixels counts: nothing that is right or wrong can be told of them.

    Args:
        batch: with masks.

    Raises:
        DataError: naming the first such image.
    """
    assert batch.labels is not None  # of a batch with masks
    if len(empty := _empty(batch.labels)):
        place = int(batch.positions[int(empty[0])])
        raise DataError(f"masks: each image needs a pixel that counts; all of image {place} are {IGNORED}, ignored")


def _empty(masks: Tensor) -> Tensor:
    """Where in a batch the images are of which no pixel counts."""
    return (masks == IGNORED).flatten(1).all(1).nonzero()[:, 0]


def _check_masks(batch: Batch, classes: int) -> None:
    """Refuses masks that no loss can be taken of."""
    masks = batch.labels
    assert masks is not None  # of a batch with masks
    if masks.shape[1:] != batch.images.shape[2:]:
        sizes = (" x ".join(map(str, some)) for some in (masks.shape[1:], batch.images.shape[2:]))
        raise DataError("masks: must be of the size of their images, which are {1}; got {0}".format(*sizes))
    counts = masks != IGNORED
    wrong = counts & ((masks < 0) | (masks >= classes))
    if bool(wrong.any()):
        image, row, column = wrong.nonzero()[0].tolist()
        raise DataError(
            f"masks: must be 0 to {classes - 1}, the classes of the model, or {IGNORED} for ignored pixels; "
            f"got {int(masks[image, row, column])} in image {int(batch.positions[image])}"
        )


def _reals(value: Tensor) -> Tensor:
    import torch

    return torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
