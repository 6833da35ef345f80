"""What a collection of Hessian eigenvalues comes to: NEP, APE, their intervals, and smooth densities of either sign."""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 2000
_TAIL = 0.025  # on either side of a 95 % interval
_LEAST_BANDWIDTH = 0.01  # of the axis


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number with the ends of its 95 % bootstrap interval; None where there is nothing to tell it from."""

    value: float | None
    low: float | None
    high: float | None


def negative_share(groups: list[NDArray[np.float64]], seed: int = 0) -> Estimate:
    """NEP: the share of negative values, by counting (Park & Kim 2022, section 2).

    Where no value, or every one, is negative, resampling knows of no other share. The interval is then the exact one
    of mini-batches: with 97.5 % confidence at most 1 - 0.025 ** (1 / n) of them hold any value of the sign that none of
    n holds, and no larger a share of values has it.

    Args:
        groups: the values of each mini-batch, which are drawn together in the bootstrap.
        seed: of the resampling.
    """
    negative = np.array([(values < 0).sum() for values in groups], dtype=float)
    counts = np.array([len(values) for values in groups], dtype=float)
    found = _ratio(negative, counts, seed)
    if found.low is None or found.value not in (0.0, 1.0):
        return found
    reach = 1 - _TAIL ** (1 / np.count_nonzero(counts))
    return Estimate(found.value, max(found.value - reach, 0.0), min(found.value + reach, 1.0))


def positive_mean(groups: list[NDArray[np.float64]], seed: int = 0) -> Estimate:
    """APE: the mean of the positive values, by counting (Park & Kim 2022, section 2).

    Args:
        groups: the values of each mini-batch, which are drawn together in the bootstrap.
        seed: of the resampling.
    """
    sums = np.array([values[values > 0].sum() for values in groups])
    counts = np.array([(values > 0).sum() for values in groups], dtype=float)
    return _ratio(sums, counts, seed)


def density_curve(values: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """A Gaussian kernel density of values of one sign, folded at zero: no mass on the other side.

    The bandwidth is spread * n ** (-1 / 5), with the smaller of the standard deviation and the quartiles' distance
    over 1.35, so that a few far values don't smear the others; or a hundredth of the axis where that is wider: nothing
    narrower can be seen.

    Args:
        values: (n,) all positive or all negative.
        at: where it is wanted; zero on the other side.

    Returns:
        (len(at),) per unit of the values, with integral 1.
    """
    magnitudes, places = np.abs(values), np.abs(at)
    lower, upper = np.quantile(magnitudes, [0.25, 0.75])
    spread = min(magnitudes.std(ddof=1), (upper - lower) / 1.35) if len(values) > 1 else 0.0
    width = max(spread * len(values) ** -0.2, _LEAST_BANDWIDTH * places.max())
    steps = np.concatenate([places[:, None] - magnitudes, -places[:, None] - magnitudes], axis=1) / width
    curve = np.exp(-(steps**2) / 2).sum(1) / (len(values) * width * math.sqrt(2 * math.pi))
    return np.where((np.sign(at) == np.sign(values[0])) | (at == 0), curve, 0.0)


def _ratio(numerators: NDArray[np.float64], counts: NDArray[np.float64], seed: int) -> Estimate:
    if not counts.sum():
        return Estimate(None, None, None)
    value = float(numerators.sum() / counts.sum())
    if len(counts) < 2:
        return Estimate(value, None, None)
    drawn = np.random.default_rng(seed).integers(len(counts), size=(_RESAMPLES, len(counts)))
    below = counts[drawn].sum(1)
    resampled = numerators[drawn].sum(1)[below > 0] / below[below > 0]
    low, high = np.quantile(resampled, [_TAIL, 1 - _TAIL])
    return Estimate(value, float(low), float(high))
