"""How far a map of weights reaches from its centre of mass: the radius that holds a share of it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float64]


def centre_of_mass(weights: Map) -> tuple[float, float]:
    """Row and column of the centre of mass, in pixels.

    Args:
        weights: (height, width), none negative, not all zero.
    """
    total = weights.sum()
    rows, columns = (np.arange(size) for size in weights.shape)
    return float(weights.sum(1) @ rows / total), float(weights.sum(0) @ columns / total)


def radii(weights: Map, shares: Sequence[float]) -> tuple[float, ...]:
    """The radii, in pixels, of the circles around the centre of mass that hold these shares of a map.

    A circle holds the pixels whose centres it encloses. Between two distances at which pixels of any weight lie, the
    share grows in a straight line; below the nearest one's the radius is that one's distance.

    Args:
        weights: (height, width), none negative, not all zero.
        shares: of the sum, above 0 and below 1.
    """
    row, column = centre_of_mass(weights)
    # Where nothing is, nothing may change the radius: neither a frame of zeros nor where it ends.
    rows, columns = np.nonzero(weights)
    # Pixels that lie equally far must not be told apart by rounding.
    distances = np.hypot(rows - row, columns - column).round(9)
    found, places = np.unique(distances, return_inverse=True)
    held = np.cumsum(np.bincount(places, weights=weights[rows, columns]))
    return tuple(float(np.interp(share * held[-1], held, found)) for share in shares)


def jackknife(groups: Map, shares: Sequence[float]) -> tuple[float, ...] | None:
    r"""Standard errors of the radii of the mean over groups: :math:`\sqrt{\frac{g-1}{g} \sum_b (r_{-b} - \bar r)^2}`.

    Args:
        groups: (groups, height, width), the sum of the maps of each group of images.
        shares: as for `radii`.

    Returns:
        One per share; None below 4 groups, and where leaving one out leaves nothing.
    """
    count = len(groups)
    if count < 4:
        return None
    total = groups.sum(0)
    rest = [total - group for group in groups]
    if any(not one.sum() > 0 for one in rest):
        return None
    # What subtraction leaves of a pixel that nothing else reaches is rounding.
    left_out = np.array([radii(one.clip(0), shares) for one in rest])
    spread = ((left_out - left_out.mean(0)) ** 2).sum(0)
    return tuple(np.sqrt((count - 1) / count * spread).tolist())
