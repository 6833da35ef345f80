"""What a network that answers per pixel gets right: counts per image, pixel accuracy, intersection over union."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visionscope.core.sample import IGNORED
from visionscope.errors import ConfigError, DataError
from visionscope.numerics.paired import CONFIDENCE, Values

_RESAMPLED = 2_000
_AT_ONCE = 2**21  # numbers weighed at a time

Counts = NDArray[np.int64]
"""(images, 3, classes): of each image and class the pixels that are right, those predicted as it, and those of it."""


def confusions(predicted: Tensor, masks: Tensor, classes: int) -> Tensor:
    """The confusion matrix of each image, its pixels by true and by predicted class.

    Args:
        predicted: (batch, height, width) class indices.
        masks: (batch, height, width) class indices, `IGNORED` where a pixel doesn't count.
        classes: how many there are.

    Returns:
        (batch, true class, predicted class) of int64, on their device.

    Raises:
        DataError: for a class index beyond the classes.
    """
    counts = masks != IGNORED
    for what, values in (("predicted", predicted[counts]), ("masks", masks[counts])):
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < classes:
            worst = int(values.max()) if int(values.max()) >= classes else int(values.min())
            raise DataError(f"{what}: must be 0 to {classes - 1}; got {worst}")
    image = torch.arange(len(masks), device=masks.device)[:, None, None].expand_as(masks)
    places = (image * classes + masks) * classes + predicted
    found = torch.bincount(places[counts], minlength=len(masks) * classes * classes)
    return found.view(len(masks), classes, classes)


def counts_of(predicted: Tensor, masks: Tensor, classes: int) -> Counts:
    """The diagonal and the two margins of each image's confusion matrix: all that the measures here need.

    Args:
        predicted: (batch, height, width) class indices.
        masks: (batch, height, width) class indices, `IGNORED` where a pixel doesn't count.
        classes: how many there are.

    Returns:
        (batch, 3, classes): right, predicted as the class, of the class.

    Raises:
        DataError: for a class index beyond the classes.
    """
    found = confusions(predicted, masks, classes)
    counts: Counts = torch.stack([found.diagonal(dim1=1, dim2=2), found.sum(1), found.sum(2)], 1).cpu().numpy()
    return counts


def pixel_accuracies(counts: Counts) -> Values:
    """The share of each image's pixels that are right, of those that count, (images,).

    Its mean over images is the pixel accuracy of a sample: every image weighs as much, as in the objective. Where all
    images have as many pixels that count it is the share of all pixels.

    Args:
        counts: from `counts_of`; each image has a pixel that counts.
    """
    shares: Values = counts[:, 0].sum(1) / counts[:, 2].sum(1)
    return shares


def most_common(counts: Counts) -> float:
    """The pixel accuracy of always answering the class that does so best: what knows nothing of an image can reach.

    Args:
        counts: from `counts_of`.
    """
    return float(common_shares(counts).mean())


def common_shares(counts: Counts) -> Values:
    """The share of each image's pixels that are of the class whose mean share over images is the largest, (images,).

    Args:
        counts: from `counts_of`.
    """
    shares: Values = counts[:, 2] / counts[:, 2].sum(1, keepdims=True)
    commonest: Values = shares[:, shares.mean(0).argmax()]
    return commonest


def class_ious(counts: Counts) -> Values:
    """Intersection over union of each class over all images, `right / (predicted + true - right)`, (classes,).

    Pixels of all images are added up before they are divided, as is the custom (Everingham et al. 2015): a class that
    an image lacks has no share of its own there. NaN for a class that no pixel is of or predicted as.

    Args:
        counts: from `counts_of`.
    """
    return _ious(counts.sum(0))


def mean_iou(counts: Counts) -> float:
    """The mean of `class_ious` over the classes that occur in the masks or the predictions.

    Args:
        counts: from `counts_of`.
    """
    return float(np.nanmean(class_ious(counts)))


def mean_iou_interval(counts: Counts, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the mean IoU by the bootstrap over images.

    2,000 times as many images are drawn with replacement, with their counts; the ends are the 2.5 % and 97.5 %
    quantiles. Pixels of an image are no independent draws, images are. A class that no drawn image has, or is predicted
    in, leaves the mean of that draw.

    Args:
        counts: from `counts_of`.
        seed: of the draws.
    """
    return _ends(_drawn_mean_ious(counts, seed))


def mean_iou_change(changed: Counts, clean: Counts, seed: int = 0) -> tuple[float, float, float]:
    """How much larger the mean IoU is than another over the same images, with its 95 % interval, paired over images.

    Each of the 2,000 draws of `mean_iou_interval` takes an image with both of its counts, so that what makes images
    hard for both leaves the difference. The classes that occur are those of each side.

    Args:
        changed: from `counts_of`.
        clean: of the same images, in the same order.
        seed: of the draws.

    Returns:
        The mean IoU of `changed` minus that of `clean`, and the ends of its interval.

    Raises:
        ConfigError: when the two are not of as many images and classes.
    """
    if changed.shape != clean.shape:
        raise ConfigError(f"clean: must be of the same images and classes; got {clean.shape} and {changed.shape}")
    # The same seed draws the same images of both.
    low, high = _ends(_drawn_mean_ious(changed, seed) - _drawn_mean_ious(clean, seed))
    return mean_iou(changed) - mean_iou(clean), low, high


def _drawn_mean_ious(counts: Counts, seed: int) -> Values:
    """The mean IoU of as many images drawn with replacement, 2,000 times."""
    images, _, classes = counts.shape
    random, flat = np.random.default_rng(seed), counts.reshape(images, -1).astype(np.float64)
    rows, drawn = max(1, _AT_ONCE // max(images, 3 * classes)), []
    for done in range(0, _RESAMPLED, rows):
        # How often each image is drawn: the sums of all draws are then one product of matrices.
        weights = random.multinomial(images, np.full(images, 1 / images), min(rows, _RESAMPLED - done))
        drawn.append(np.nanmean(_ious((weights @ flat).reshape(-1, 3, classes)), axis=-1))
    return np.concatenate(drawn)


def _ends(drawn: Values) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _ious(sums: NDArray[np.int64] | Values) -> Values:
    """(..., 3, classes) to (..., classes)."""
    right, predicted, true = (sums[..., place, :] for place in range(3))
    union = predicted + true - right
    found: Values = np.divide(right, union, out=np.full(union.shape, np.nan), where=union > 0)
    return found
