"""Pixel accuracy, mean IoU and the cross-entropy of a network that gives a class to every pixel."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from visionscope.core.inputs import image_like
from visionscope.core.logits import Readout, of_pixels
from visionscope.core.objective import Objective, check_each_counts
from visionscope.core.sample import IGNORED, MASK_AXES, Batch, InputConfig
from visionscope.data.masks import fitted_masks
from visionscope.data.sources import MaskSource
from visionscope.errors import ConfigError, VisionscopeError
from visionscope.numerics.segmentation import counts_of, mean_iou, most_common, pixel_accuracies
from visionscope.training.evaluation import in_eval_mode


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskScores:
    """What a network achieves on some images with masks; pixels that don't count are left out.

    Attributes:
        images: how many.
        mean_iou: mean over the classes that occur of intersection over union, over the pixels of all images.
        pixel_accuracy: share of an image's pixels whose class has the largest logit, averaged over images.
        nll: mean cross-entropy of an image's pixels in nats, averaged over images.
    """

    images: int
    mean_iou: float
    pixel_accuracy: float
    nll: float


def evaluate_masks(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    readout: Readout,
    label: str = "the model",
    reduce: Callable[[Tensor], Any] = lambda sums: sums,
) -> MaskScores:
    """Scores a network on masks in eval mode, which it leaves as it was.

    The NLL is -log softmax(logits)[class] without label smoothing. Sums over images in float64 are divided once.

    Args:
        model: gives logits per pixel, of any size; images go to its device and type.
        batches: of images with masks.
        readout: how the logits are read from what it returns.
        label: how an error calls the model.
        reduce: adds the sums (3 + 3 * classes,) in float64, on the CPU, over processes.

    Raises:
        ConfigError: when there are no images.
        DataError: for masks that the model doesn't know or that have no pixel that counts, and an output that is no
            logits.
        VisionscopeError: when the NLL of an image is not finite.
    """
    sums = torch.zeros(3 + 3 * readout.classes, dtype=torch.float64)
    # Not inference_mode: what a model caches in it can't be used when the training goes on.
    with in_eval_mode(model), torch.no_grad():
        like = None
        for batch in batches:
            like = image_like(model, batch.images.shape[1:]) if like is None else like
            sums += _sums(readout.logits(model(batch.images.to(like))), batch, readout.classes, label)
    (images, right, nll), counts = (part.numpy() for part in reduce(sums).split([3, 3 * readout.classes]))
    if not images:
        raise ConfigError(f"{label}: there are no images to score it on")
    return MaskScores(
        images=round(images),
        mean_iou=mean_iou(counts.reshape(1, 3, readout.classes)),
        pixel_accuracy=float(right / images),
        nll=float(nll / images),
    )


def of_counting(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches without the images none of whose pixels counts, as random crops may leave some.

    Args:
        batches: of images with labels or masks.
    """
    for batch in batches:
        masks = batch.labels
        if masks is None or masks.ndim != MASK_AXES:
            yield batch
        elif len(some := (masks != IGNORED).flatten(1).any(1).nonzero()[:, 0]):
            yield Batch(batch.images[some], masks[some], batch.positions[some])


def constant_accuracy(source: MaskSource, config: InputConfig) -> float:
    """The pixel accuracy of always answering the class that does so best, on the masks as they are scored.

    Args:
        source: whose masks are read.
        config: how the model wants its images: masks are resized and cropped as these are.

    Raises:
        ConfigError: for an input configuration that can't be used.
        DataError: when a mask can't be read.
    """
    of_class = np.zeros((len(source), 3, len(source.classes)), dtype=np.int64)
    fit = fitted_masks(config)
    for index in range(len(source)):
        mask = source.mask(index)
        values = np.asarray(fit(mask) if mask is not None else ())
        of_class[index, 2] = np.bincount(values[values != IGNORED], minlength=len(source.classes))
    return most_common(of_class)


def _sums(logits: Tensor, batch: Batch, classes: int, label: str) -> Tensor:
    """Images, pixel accuracies and cross-entropies, each summed, and the counts of all images.

    One image at a time is enlarged, as many classes of a large image take much memory.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    objective = Objective()  # without label smoothing
    masks = objective.targets(batch, classes).to(wide.device)
    check_each_counts(batch)
    losses, found = [], []
    for place in range(len(wide)):
        one, mask = wide[place : place + 1], masks[place : place + 1]
        resized = of_pixels(one, mask)
        losses.append(objective.nll(resized, mask).cpu().double())
        found.append(counts_of(resized.argmax(1), mask, classes))
    nll, counts = torch.cat(losses), np.concatenate(found)
    if not nll.isfinite().all():
        place = int((~nll.isfinite()).nonzero()[0, 0])
        raise VisionscopeError(f"{label}: the NLL of image {int(batch.positions[place])} is {float(nll[place])}")
    first = torch.tensor([len(nll), float(pixel_accuracies(counts).sum()), float(nll.sum())], dtype=torch.float64)
    return torch.cat([first, torch.from_numpy(counts.sum(0).ravel()).double()])
