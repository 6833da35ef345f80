"""How far the probabilities of a classifier can be trusted: proper scores, calibration errors, temperature scaling."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

from visionscope.errors import ConfigError, DataError
from visionscope.numerics.paired import CONFIDENCE, Flags, Values

BINS = 10
CONFIDENT = 0.9
COOLEST, HOTTEST = 0.01, 100.0
"""The temperatures that `fit_temperature` looks between."""
_RESAMPLED = 2_000
_AT_ONCE = 2**21  # numbers weighed at a time

Classes = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Share:
    """Some images out of others.

    Attributes:
        count: how many.
        of: out of how many.
    """

    count: int
    of: int

    @property
    def value(self) -> float | None:
        """The share, 0 to 1; None where it is of no images: a share of nothing is neither 0 nor 1."""
        return self.count / self.of if self.of else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bins:
    """Images by confidence, bin by bin.

    Attributes:
        images: (bins,) how many; of pixels the sum over images of the share of their pixels, like the next two.
        confidence: (bins,) sum of their confidences.
        right: (bins,) how many of them are right.
    """

    images: Classes | Values
    confidence: Values
    right: Classes | Values

    @property
    def ece(self) -> float:
        """Expected calibration error, `sum_b n_b / n |accuracy_b - mean confidence_b|` (Naeini et al. 2015)."""
        return float(np.abs(self.confidence - self.right).sum() / self.images.sum())

    @property
    def signed_ece(self) -> float:
        """`sum_b n_b / n (mean confidence_b - accuracy_b)`: above 0 over-confident, below 0 under-confident.

        The bins cancel: it is the mean confidence less the accuracy. The official code calls it ECSE.
        """
        return float((self.confidence - self.right).sum() / self.images.sum())


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def log_probabilities(logits: ArrayLike, temperature: float = 1.0) -> Values:
    """`log softmax(logits / temperature)`, (n, classes), in float64: finite wherever the logits are.

    The official code takes the softmax first and its logarithm afterwards, which underflows: its NLL is infinite where
    this one is 20.0.

    Args:
        logits: (n, classes).
        temperature: above 0.

    Raises:
        DataError: for a logit that is not finite, or an array of other than two axes.
        ConfigError: for a temperature that is not above 0 and finite.
    """
    if not 0 < temperature < np.inf:
        raise ConfigError(f"temperature: must be above 0 and finite; got {temperature}")
    from scipy.special import log_softmax

    result: Values = log_softmax(_finite(logits) / temperature, axis=1)
    return result


def nll(log_p: Values, labels: Classes) -> Values:
    """Cross-entropy of each image, `-log p[label]`, (n,) in nats.

    Args:
        log_p: (n, classes), from `log_probabilities`.
        labels: (n,) class indices.
    """
    return -log_p[np.arange(len(labels)), labels]


def brier(log_p: Values, labels: Classes) -> Values:
    """Brier score of each image, `sum_k (p_k - [k = label])^2`, (n,), 0 to 2 (Brier 1950).

    Args:
        log_p: (n, classes), from `log_probabilities`.
        labels: (n,) class indices.
    """
    missed = np.exp(log_p)
    missed[np.arange(len(labels)), labels] -= 1
    scores: Values = np.square(missed).sum(1)
    return scores


def among_top(logits: ArrayLike, labels: Classes, k: int) -> Flags:
    """Whether the label is among the k classes of largest logit, (n,); of equal logits the lower class comes first.

    Args:
        logits: (n, classes).
        labels: (n,) class indices.
        k: at least 1; from the number of classes on every image counts.
    """
    values = np.asarray(logits)
    own = values[np.arange(len(labels)), labels][:, None]
    lower = np.arange(values.shape[1]) < labels[:, None]
    flags: Flags = ((values > own) | ((values == own) & lower)).sum(1) < k
    return flags


def reliability(confidence: Values, right: Flags, bins: int = BINS) -> Bins:
    """Images by confidence in bins of equal width, `(b / bins, (b + 1) / bins]`, with 0 in the first.

    So a confidence of exactly 1.0 is in the last bin, with its confidence as well as its image: a classifier that is
    certain and always right has ECE 0. The official code counts such an image and drops its confidence (ECE 1);
    torchmetrics and torch-uncertainty put it into a bin of its own.

    Args:
        confidence: (n,) probability of the top class.
        right: (n,) whether that is the label.
        bins: how many.
    """
    place = _bins_of(confidence, bins)
    return Bins(
        images=np.bincount(place, minlength=bins),
        confidence=np.bincount(place, confidence, bins).astype(np.float64),
        right=np.bincount(place[right], minlength=bins),
    )


def adaptive_ece(confidence: Values, right: Flags, bins: int = BINS) -> float:
    """ECE over bins of equal numbers of images instead of equal widths (Nixon et al. 2019).

    Images are sorted by confidence and cut into bins whose sizes differ by one image at most. Images of one confidence
    count as right by their common share, so that their order does not matter where a cut goes through them.

    Args:
        confidence: (n,) probability of the top class.
        right: (n,) whether that is the label.
        bins: how many.
    """
    _, kind, count = np.unique(confidence, return_inverse=True, return_counts=True)
    gaps = confidence - (np.bincount(kind, right) / count)[kind]
    groups = np.array_split(gaps[np.argsort(confidence, kind="stable")], bins)
    return float(sum(abs(group.sum()) for group in groups) / len(confidence))


def class_sums(probabilities: Values, labels: Classes, bins: int = BINS) -> NDArray[np.float64]:
    """What `classwise_ece` needs of some images; sums over several sets of images add up.

    Args:
        probabilities: (n, classes).
        labels: (n,) class indices.
        bins: of equal width, as in `reliability`.

    Returns:
        (2, classes, bins): the sum of the class's probability over the images in the bin, and how many of them are of
        the class.
    """
    classes = probabilities.shape[1]
    place = _bins_of(probabilities, bins) + bins * np.arange(classes)
    own = place[np.arange(len(labels)), labels]
    sums = np.bincount(place.ravel(), probabilities.ravel(), classes * bins)
    hits = np.bincount(own, minlength=classes * bins)
    return np.stack([sums, hits.astype(np.float64)]).reshape(2, classes, bins)


def classwise_ece(sums: NDArray[np.float64], images: int) -> float:
    """Mean over classes of `sum_b n_b / n |share of the class_b - mean probability of the class_b|` (Kull et al. 2019).

    Args:
        sums: (2, classes, bins), from `class_sums`.
        images: n.
    """
    return float(np.abs(sums[0] - sums[1]).sum() / images / sums.shape[1])


def acc_90(confidence: Values, right: Flags) -> Share:
    """Acc-90, p(right | confidence > 0.9); of no images where none is so confident.

    Args:
        confidence: (n,) probability of the top class.
        right: (n,) whether that is the label.
    """
    sure = confidence > CONFIDENT
    return Share(int((right & sure).sum()), int(sure.sum()))


def unc_90(confidence: Values, right: Flags) -> Share:
    """Unc-90, p(confidence <= 0.9 | wrong); of no images where none is wrong.

    Args:
        confidence: (n,) probability of the top class.
        right: (n,) whether that is the label.
    """
    return Share(int((~right & (confidence <= CONFIDENT)).sum()), int((~right).sum()))


def freq_90(confidence: Values) -> Share:
    """Freq-90, p(confidence > 0.9).

    Args:
        confidence: (n,) probability of the top class.
    """
    return Share(int((confidence > CONFIDENT).sum()), len(confidence))


def iou(predicted: Classes, labels: Classes) -> float | None:
    """Mean over classes of `|right| / (|predicted as it| + |of it| - |right|)`; for IoU-90 of the confident images.

    The mean is over the classes that occur among the labels, as in the official code. None without images: where no
    image has a confidence above 0.9 there is no IoU-90.

    Args:
        predicted: (n,) class indices.
        labels: (n,) class indices.
    """
    if not len(labels):
        return None
    most = int(max(predicted.max(), labels.max())) + 1
    true = np.bincount(labels, minlength=most)
    right = np.bincount(labels[predicted == labels], minlength=most)
    union = np.bincount(predicted, minlength=most) + true - right
    return float((right[true > 0] / union[true > 0]).mean())


def fit_temperature(logits: ArrayLike, labels: Classes) -> float:
    """The temperature T of smallest mean NLL of `softmax(logits / T)` (Guo et al. 2017); fit it on other images.

    The NLL is convex in 1/T, with slope `mean(sum_k p_k logit_k - logit_label)`, whose zero is looked for in log T.
    Multiplying the logits by c multiplies T by c.

    Args:
        logits: (n, classes), n at least 1.
        labels: (n,) class indices.

    Returns:
        T between 0.01 and 100: one of these two where the NLL goes on falling beyond, as it does when all images are
        right or the logits say less than nothing. 1 where all logits of each image are equal.

    Raises:
        DataError: for a logit that is not finite.
    """
    from scipy.optimize import brentq  # takes half a second, which no other diagnostic needs
    from scipy.special import softmax

    values = _finite(logits)
    values = values - values.max(1, keepdims=True)
    own = values[np.arange(len(labels)), labels]

    def slope(log_t: float) -> float:
        p = softmax(values / np.exp(log_t), axis=1)
        return float(((p * values).sum(1) - own).mean())

    coolest, hottest = float(np.log(COOLEST)), float(np.log(HOTTEST))
    if not values.any():
        return 1.0
    if slope(coolest) <= 0:
        return COOLEST
    if slope(hottest) >= 0:
        return HOTTEST
    return float(np.exp(brentq(slope, coolest, hottest, xtol=1e-13, rtol=1e-13)))


def resampled(
    confidence: Values, right: Flags, scores: Values, *, bins: int = BINS, seed: int = 0
) -> tuple[Interval, Interval, tuple[Interval, ...]]:
    """ECE, signed ECE and means of scores with 95 % intervals by the bootstrap over images.

    2,000 times n images are drawn with replacement. For signed ECE and the means, which have no bias, the ends are the
    2.5 % and 97.5 % quantiles of the drawn values. ECE, a sum of magnitudes, comes out too large where there is chance
    in the bins, and of drawn images by about as much again; so its interval is the basic one, `2 ECE - quantiles`,
    which takes that off, not below 0, and widened to hold the ECE itself where it would not. Close to 0 it is still too
    short: of images calibrated exactly it reaches 0 in little more than half of all cases.

    Args:
        confidence: (n,) probability of the top class.
        right: (n,) whether that is the label.
        scores: (scores, n) values per image, such as NLL.
        bins: of the ECE.
        seed: of the draws.
    """
    gaps = np.zeros((len(confidence), bins))
    gaps[np.arange(len(confidence)), _bins_of(confidence, bins)] = confidence - right
    return resampled_gaps(gaps, scores, seed=seed)


def resampled_gaps(gaps: Values, scores: Values, *, seed: int = 0) -> tuple[Interval, Interval, tuple[Interval, ...]]:
    """The same of what each image adds to each bin: of an image with many pixels it is more than one.

    Args:
        gaps: (n, bins) of each image the sum of confidence less correctness of its part in the bin.
        scores: (scores, n) values per image, such as NLL.
        seed: of the draws.
    """
    images, bins = gaps.shape
    columns = np.concatenate([gaps, scores.T], axis=1)
    random, rows = np.random.default_rng(seed), max(1, _AT_ONCE // images)
    drawn = []
    for done in range(0, _RESAMPLED, rows):
        count = min(rows, _RESAMPLED - done)
        picked = random.integers(0, images, (count, images))
        # How often each image was drawn: then the sums of all drawn sets are one product of matrices.
        weights = np.stack([np.bincount(row, minlength=images) for row in picked])
        drawn.append(weights.astype(np.float64) @ columns / images)
    means = np.concatenate(drawn)
    drawn_gaps, own = means[:, :bins], columns.mean(0)
    ece = float(np.abs(own[:bins]).sum())
    low, high = _ends(np.abs(drawn_gaps).sum(1))
    errors = Interval(ece, min(ece, max(0.0, 2 * ece - high)), max(ece, 2 * ece - low))
    signed = Interval(float(own[:bins].sum()), *_ends(drawn_gaps.sum(1)))
    return errors, signed, tuple(Interval(float(own[at]), *_ends(means[:, at])) for at in range(bins, len(own)))


def _ends(values: Values) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _bins_of(probabilities: Values, bins: int) -> Classes:
    """The bin `(b / bins, (b + 1) / bins]` of each, with 0 in the first."""
    place: Classes = np.searchsorted(np.arange(bins + 1) / bins, probabilities, side="left") - 1
    return np.clip(place, 0, bins - 1)  # a sum of rounded shares may exceed 1 by a rounding error


def _finite(logits: ArrayLike) -> Values:
    values = np.asarray(logits, dtype=np.float64)
    if values.ndim != 2:
        raise DataError(f"logits: must be (images, classes); got shape {values.shape}")
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        raise DataError(f"logits: must be finite; those of image {bad[0]} are not")
    return values
