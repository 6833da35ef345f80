"""Shares of images with their intervals, and differences of two shares over the same images."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from visionscope.errors import ConfigError

CONFIDENCE = 0.95
_RESAMPLED = 2_000
_AT_ONCE = 2**22  # numbers drawn at a time
_FEW_VALUES = 512
_ALL_FLIPS = 12  # images whose 4,096 flips are all made

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """How much larger one mean over images is than another over the same images.

    Attributes:
        value: first minus second.
        low: lower end of the 95 % interval.
        high: its upper end.
        p: chance of a difference at least as large where there is none.
    """

    value: float
    low: float
    high: float
    p: float


@functools.cache  # of one run's images there are few counts, and many conditions
def wilson(right: int, images: int) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson's score (Wilson 1927), as scipy has it.

    `(p + z^2/2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2/n)` with z = 1.96: inside [0, 1], and of some width
    even where all images are right or none is.

    Args:
        right: images that count.
        images: all images, n.

    Raises:
        ConfigError: for no images, or more right ones than there are.
    """
    if not 0 <= right <= images or images < 1:
        raise ConfigError(f"right: must be 0 to images = {images}, of at least 1 image; got {right}")
    from scipy.stats import binomtest  # takes a second, which no measuring needs

    found = binomtest(right, images).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def mean_interval(values: Values, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean over images, of values that are no yes or no, by the bootstrap over images.

    2,000 times n images are drawn with replacement; the ends are the 2.5 % and 97.5 % quantiles of the drawn means.

    Args:
        values: (n,) a value per image.
        seed: of the draws.

    Raises:
        ConfigError: for no images.
    """
    if not len(values):
        raise ConfigError("values: must be of at least 1 image; got none")
    drawn = _drawn_means(values, np.random.default_rng(seed))
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def paired_shares(first: Flags, second: Flags) -> Difference:
    """The difference of two shares over the same images, such as accuracy damaged and clean.

    p is McNemar's exact one: of the images on which the two disagree, b for the first and c for the second, two-sided
    binomial with chance 1/2 (1 where they never disagree). The interval is Newcombe's score interval for paired
    shares (Newcombe 1998, method 10 without the correction of phi): Wilson's intervals (l, u) of both shares are put
    together by `d - sqrt((p1 - l1)^2 - 2 phi (p1 - l1)(u2 - p2) + (u2 - p2)^2)`, and upwards alike, where phi is the
    correlation of the two over the images. It can hold zero where p is slightly below 0.05, and the other way round:
    decide by p.

    Args:
        first: (n,) which images count.
        second: (n,) which images count, for the same images.

    Raises:
        ConfigError: when they are of different numbers of images, or of none.
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ConfigError(f"second: must be of the same images as the first; got {second.shape} and {first.shape}")
    from scipy.stats import binomtest

    images = len(first)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    shares = (both + only_first) / images, (both + only_second) / images
    (low_1, high_1), (low_2, high_2) = wilson(both + only_first, images), wilson(both + only_second, images)
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    phi = (both * neither - only_first * only_second) / math.sqrt(margins) if margins else 0.0
    value = shares[0] - shares[1]

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))

    disagreeing = only_first + only_second
    return Difference(
        value=value,
        low=max(-1.0, value - reach(shares[0] - low_1, high_2 - shares[1])),
        high=min(1.0, value + reach(high_1 - shares[0], shares[1] - low_2)),
        p=float(binomtest(only_first, disagreeing).pvalue) if disagreeing else 1.0,
    )


def paired_means(first: Values, second: Values, seed: int = 0) -> Difference:
    """The difference of two means over the same images, for values that are no yes or no.

    The interval is the bootstrap's: 2,000 times n images are drawn with replacement, with their pair of values, and the
    ends are the 2.5 % and 97.5 % quantiles of the drawn differences. p is that of exchanging the two values of images
    at random: the share of the ways to do so (all of them for up to 12 images that differ, else 2,000 drawn ones) in
    which the difference is as large. Of yes and no that is McNemar's exact test. Where none of the drawn ones is as
    large, p is the normal tail of the exchanged sums, at most 1 in 2,001: so it can withstand Holm's rule for any
    number of comparisons.

    Args:
        first: (n,) a value per image, such as its accuracy over many corruptions.
        second: (n,) the same of the other, for the same images.
        seed: of the draws.

    Raises:
        ConfigError: when they are of different numbers of images, or of none.
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ConfigError(f"second: must be of the same images as the first; got {second.shape} and {first.shape}")
    changes = first - second
    random = np.random.default_rng(seed)
    drawn = _drawn_means(changes, random)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Difference(value=float(changes.mean()), low=float(low), high=float(high), p=_exchanged(changes, random))


def relative_losses(intact: Values, damaged: Values, chance: float | Values) -> Values:
    """Values per image whose mean is the share R of the accuracy above chance that damage costs.

    With A and D the accuracies without and with damage, R = (A - D) / (A - chance), a ratio of two means over images.
    Each image gets `R + ((intact_i - damaged_i) - R (intact_i - chance_i)) / (A - chance)`: R and the influence of the
    image on it; the influences sum to zero. To first order R moves with the images as the mean of these values does
    (the delta method), so that the R of two networks are compared like two means over the same images, by
    `paired_means`.

    Args:
        intact: (n,) whether each image is right without damage, 0 or 1.
        damaged: (n,) the same with damage, or the mean over several kinds of it.
        chance: accuracy of guessing; (n,) where it differs from image to image, as that of always answering the
            commonest class of masks does: then its mean moves with the images, too.

    Returns:
        (n,) a share of 1 each; 0 where damage costs nothing, 1 where all above chance is lost.

    Raises:
        ConfigError: when the accuracy without damage is not above chance.
    """
    guessed = float(np.mean(chance))
    spare = float(intact.mean()) - guessed
    if spare <= 0:
        raise ConfigError(f"intact: must be right more often than by chance, {guessed:g}; got {intact.mean():g}")
    lost = float((intact - damaged).mean()) / spare
    values: Values = lost + ((intact - damaged) - lost * (intact - chance)) / spare
    return values


def _exchanged(changes: Values, random: np.random.Generator) -> float:
    """Two-sided p of a sum of changes whose signs could as well have been the other ones."""
    changes = changes[changes != 0]
    count = len(changes)
    # Sums that are equal but for rounding count as such.
    least = abs(changes.sum()) - 1e-9 * np.abs(changes).sum()
    if count <= _ALL_FLIPS:
        # The bits of each number are one choice of signs.
        flipped = np.arange(2**count)[:, None] >> np.arange(count) & 1
        return float((np.abs((1 - 2 * flipped) @ changes) >= least).mean())
    sizes, counts = np.unique(np.abs(changes), return_counts=True)
    rows, reached = max(1, _AT_ONCE // count), 0
    for done in range(0, _RESAMPLED, rows):
        piece = min(rows, _RESAMPLED - done)
        if len(sizes) <= _FEW_VALUES:
            # Of equal magnitudes no more matters than how many keep their sign.
            sums = (2.0 * random.binomial(counts, 0.5, (piece, len(sizes))) - counts) @ sizes
        else:
            sums = (1.0 - 2.0 * random.integers(0, 2, (piece, count), dtype=np.int8)) @ changes
        reached += int((np.abs(sums) >= least).sum())
    # What was observed is one of the ways, too: no p is 0.
    p = (reached + 1) / (_RESAMPLED + 1)
    return p if reached else min(p, math.erfc(max(0.0, least) / math.sqrt(2 * float(changes @ changes))))


def _drawn_means(changes: Values, random: np.random.Generator) -> Values:
    """Means of as many values drawn with replacement, 2,000 times."""
    images = len(changes)
    values, counts = np.unique(changes, return_counts=True)
    if len(values) <= _FEW_VALUES:
        # How often each value is drawn is multinomial: the same distribution for a fraction of the time.
        shares: Values = random.multinomial(images, counts / images, _RESAMPLED) @ values / images
        return shares
    rows = max(1, _AT_ONCE // images)
    pieces = [min(rows, _RESAMPLED - done) for done in range(0, _RESAMPLED, rows)]
    return np.concatenate([changes[random.integers(0, images, (piece, images))].mean(1) for piece in pieces])


def holm(chances: Sequence[float]) -> tuple[float, ...]:
    """The p of several comparisons made at once, raised by Holm's rule (1979).

    The i-th smallest of m, from 0, is multiplied by m - i; none may fall below a smaller one's, none exceed 1. Where
    those below 0.05 are taken for differences, the chance of a single false one among them all stays below 0.05.

    Args:
        chances: p of each.
    """
    order = sorted(range(len(chances)), key=lambda index: chances[index])
    raised = [0.0] * len(chances)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[index]))
        raised[index] = highest
    return tuple(raised)
