"""Top-1, top-5 and the cross-entropy of a network, on clean or augmented images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionscope.core.inputs import image_like
from visionscope.core.logits import Readout
from visionscope.core.objective import Objective
from visionscope.core.sample import Batch, InputConfig
from visionscope.data.sources import Source
from visionscope.errors import ConfigError, VisionscopeError
from visionscope.numerics.paired import wilson
from visionscope.training.images import Images, plain_reader


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """What a network achieves on some images.

    Attributes:
        images: how many.
        top_1: share of the images whose class has the largest logit (the lowest class where several have it).
        top_5: share whose class is among the 5 largest, or among all classes where there are fewer.
        nll: mean cross-entropy in nats.
    """

    images: int
    top_1: float
    top_5: float
    nll: float

    @property
    def top_1_interval(self) -> tuple[float, float]:
        """The 95 % interval of `top_1` (Wilson)."""
        return wilson(round(self.top_1 * self.images), self.images)


def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    objective: Objective,
    *,
    readout: Readout | None = None,
    label: str = "the model",
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    reduce: Callable[[Tensor], Any] = lambda sums: sums,
) -> Scores:
    """Scores a network in eval mode, which it leaves as it was.

    On clean images the NLL is -log softmax(logits)[label], whatever the objective's label smoothing. On images that
    Mixup or CutMix mixed (NLL_train) it is the objective's, with its soft targets and label smoothing, and the class
    that counts is the one with the largest share; the official code does the same. Unlike that code, which averages
    probabilities and takes logarithms of sums that underflow, all is computed from log softmax in at least float32;
    and sums over images in float64 are divided once, so that a small last batch weighs what its images weigh.

    Args:
        model: gives logits; images go to its device and type.
        batches: of images with labels.
        objective: what it was trained to make small.
        readout: how the logits are read from what it returns; by names alone, whatever its values, without one.
        label: how an error calls the model.
        autocast: a context for each forward pass; the loss is computed outside of it.
        reduce: adds the sums (4,) in float64, on the CPU, over processes.

    Raises:
        ConfigError: when there are no images.
        DataError: for labels that the model doesn't know, and an output that is no logits.
        VisionscopeError: when the NLL of an image is not finite.
    """
    readout = readout or Readout(output_is="logits")
    sums = torch.zeros(4, dtype=torch.float64)
    # Not inference_mode: what a model caches in it can't be used when the training goes on.
    with in_eval_mode(model), torch.no_grad():
        like = None
        for batch in batches:
            like = image_like(model, batch.images.shape[1:]) if like is None else like
            with autocast():
                logits = readout.logits(model(batch.images.to(like)))
            sums += _sums(logits, batch, objective, label)
    images, first, fifth, nll = reduce(sums).tolist()
    if not images:
        raise ConfigError(f"{label}: there are no images to score it on")
    return Scores(images=round(images), top_1=first / images, top_5=fifth / images, nll=nll / images)


def clean_batches(
    images: Images | Source,
    config: InputConfig,
    batch_size: int,
    *,
    rank: int = 0,
    processes: int = 1,
    chosen: Tensor | None = None,
) -> Iterator[Batch]:
    """Every image once, in order and as in evaluation; the last batch may be smaller.

    Args:
        images: in memory, or a source whose images are read.
        config: how the model wants its images.
        batch_size: images at a time, at least 1.
        rank: number of this process, from 0; each takes neighbouring images, shared out evenly.
        processes: how many there are.
        chosen: indices of the images meant, or None for all.

    Raises:
        DataError: when an image can't be read or has no label that the model knows.
    """
    read = plain_reader(images, config)
    indices = torch.arange(len(images)) if chosen is None else chosen
    mine = indices[len(indices) * rank // processes : len(indices) * (rank + 1) // processes]
    for first in range(0, len(mine), batch_size):
        some = mine[first : first + batch_size]
        yield Batch(*read(some), some)


def _sums(logits: Tensor, batch: Batch, objective: Objective, label: str) -> Tensor:
    """Images, hits, hits among five and cross-entropy, each summed."""
    logits = logits.double() if logits.dtype == torch.float64 else logits.float()
    targets = objective.targets(batch, logits.shape[1]).to(logits)
    classes = targets.argmax(1)
    mixed = batch.partners is not None
    nll = objective.nll(logits, targets) if mixed else F.cross_entropy(logits, classes, reduction="none")
    nll = nll.cpu().double()
    if not nll.isfinite().all():
        place = int((~nll.isfinite()).nonzero()[0, 0])
        raise VisionscopeError(f"{label}: the NLL of image {int(batch.positions[place])} is {float(nll[place])}")
    own = logits.gather(1, classes[:, None])
    lower = torch.arange(logits.shape[1], device=logits.device) < classes[:, None]
    rank = ((logits > own) | ((logits == own) & lower)).sum(1)
    return torch.tensor([len(nll), int((rank < 1).sum()), int((rank < 5).sum()), float(nll.sum())], dtype=torch.float64)


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Puts a network into eval mode, and each of its modules back into its own afterwards.

    Args:
        model: any.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
