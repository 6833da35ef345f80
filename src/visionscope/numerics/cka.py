"""Mini-batch linear CKA with the unbiased HSIC estimator, from Gram matrices of groups of images."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visionscope.numerics.layouts import full_precision, join_features, working_type

Array = NDArray[np.float64]

_COLUMNS = 2**14  # of a block of features; 32 images of it fit in a core's cache
_ROUNDING = 1e-6  # relative size under which a centred Gram matrix is float32 rounding of a constant one
_FEWEST_GROUPS = 4  # for a jackknife


def centred_gram(maps: Tensor) -> Tensor:
    """Inner products between the images of a group, after their mean is subtracted from each.

    The unbiased HSIC is the same without the subtraction, but float32 keeps its digits only with it. Products are in
    float32 (float64 for float64 maps), never in autocast's bfloat16, which puts CKA off by 0.1.

    Args:
        maps: (images, channel, height, width).

    Returns:
        (images, images).
    """
    features = join_features(maps)
    dtype = working_type(maps)
    with full_precision(maps):
        gram = torch.zeros(len(maps), len(maps), dtype=dtype, device=maps.device)
        average = torch.full((1, len(maps)), 1 / len(maps), dtype=dtype, device=maps.device)
        for start in range(0, features.shape[1], _COLUMNS):
            block = features[:, start : start + _COLUMNS].to(dtype)
            block = block - average @ block
            gram.addmm_(block, block.T)
    return gram


def self_centred(grams: Array) -> Array:
    r"""U-centring (Székely & Rizzo 2014): zero diagonal, and every row and column sums to zero.

    With it the unbiased estimator of Song et al. 2012 is one inner product:
    :math:`\mathrm{HSIC}_1(K, L) = \sum_{ij} \tilde K_{ij} \tilde L_{ij} / (n (n - 3))`. What is left of a Gram matrix
    of equal images is rounding; it is set to zero, so that a point without variation has no similarity, not a random
    one.

    Args:
        grams: (points, n, n) Gram matrices, n > 3.

    Returns:
        (points, n, n).
    """
    count = grams.shape[-1]
    off = grams * (1.0 - np.eye(count))
    rows = off.sum(axis=-1, keepdims=True)
    total = rows.sum(axis=-2, keepdims=True)
    centred = off - (rows + np.swapaxes(rows, -1, -2)) / (count - 2) + total / ((count - 1) * (count - 2))
    centred *= 1.0 - np.eye(count)
    size = np.abs(grams).max(axis=(-1, -2), keepdims=True, initial=0.0)
    constant = np.abs(centred).max(axis=(-1, -2), keepdims=True) <= _ROUNDING * size
    kept: Array = np.where(constant, 0.0, centred)
    return kept


def hsic(x: Array, y: Array) -> Array:
    """Unbiased HSIC between all pairs of points of one group.

    Args:
        x: (points of x, n, n), from `self_centred`.
        y: (points of y, n, n), likewise.

    Returns:
        (points of x, points of y).
    """
    count = x.shape[-1]
    products: Array = x.reshape(len(x), -1) @ y.reshape(len(y), -1).T
    products /= count * (count - 3)
    return products


def cka(cross: Array, self_x: Array, self_y: Array) -> tuple[Array, Array]:
    r"""CKA of all pairs, with the sums over groups taken before the ratio, and its standard error.

    :math:`\sum_b \mathrm{HSIC}_1(K_b, L_b) / \sqrt{\sum_b \mathrm{HSIC}_1(K_b, K_b) \sum_b \mathrm{HSIC}_1(L_b, L_b)}`
    (Nguyen et al. 2021, eq. 2-4). The error is the jackknife's over groups,
    :math:`\sqrt{\frac{g-1}{g} \sum_b (c_{-b} - \bar c)^2}` with :math:`c_{-b}` the CKA without group b.

    Args:
        cross: (groups, points of x, points of y), unbiased HSIC.
        self_x: (groups, points of x), HSIC of each point with itself.
        self_y: (groups, points of y).

    Returns:
        CKA and standard error, (points of x, points of y) each. NaN where a point's self-HSIC is not positive: it does
        not vary; the error is NaN below 4 groups, and where leaving a group out leaves no variation.
    """
    groups = len(cross)
    value = _ratio(cross.sum(0), self_x.sum(0), self_y.sum(0))
    if groups < _FEWEST_GROUPS:
        return value, np.full_like(value, np.nan)
    left_out = _ratio(cross.sum(0) - cross, self_x.sum(0) - self_x, self_y.sum(0) - self_y)
    spread = ((left_out - left_out.mean(0)) ** 2).sum(0)
    return value, np.sqrt((groups - 1) / groups * spread)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """CKA of all points of one network with all points of another, or of the same.

    Attributes:
        cka: (points of x, points of y); NaN where a point does not vary.
        error: standard errors, likewise.
        groups: groups of images in the sums.
    """

    cka: Array
    error: Array
    groups: int


def compare(grams: Iterable[tuple[Array, Array]]) -> Comparison:
    """CKA from the Gram matrices of some groups, added in the order given.

    Args:
        grams: (points of x, n, n) and (points of y, n, n) of each group; at least one group.
    """
    cross, self_x, self_y = [], [], []
    for x, y in grams:
        one, other = self_centred(x), self_centred(y)
        cross.append(hsic(one, other))
        self_x.append(np.diagonal(hsic(one, one)))
        self_y.append(np.diagonal(hsic(other, other)))
    values, errors = cka(np.array(cross), np.array(self_x), np.array(self_y))
    return Comparison(values, errors, len(cross))


def _ratio(cross: Array, self_x: Array, self_y: Array) -> Array:
    # A point that does not vary is not unlike all others: it has no similarity.
    scale_x = np.sqrt(np.where(self_x > 0, self_x, np.nan))
    scale_y = np.sqrt(np.where(self_y > 0, self_y, np.nan))
    ratio: Array = cross / scale_x[..., :, None] / scale_y[..., None, :]
    return ratio
