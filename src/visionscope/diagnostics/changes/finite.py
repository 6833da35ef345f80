"""The error that an observer raises where what it measured in a feature map is no number."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visionscope.core.subject import Point
from visionscope.errors import VisionscopeError
from visionscope.numerics.layouts import working_type


def refuse_non_finite(
    name: str, point: Point, maps: Tensor, positions: Sequence[int], values: NDArray[np.float64]
) -> None:
    """Names the first image of a batch whose values are no numbers, and whether its map was at fault.

    Args:
        name: of the diagnostic.
        point: whose maps they are.
        maps: of the batch, the images along the first axis.
        positions: of the images in the sample.
        values: what was measured, the images along the first axis.

    Raises:
        VisionscopeError: when a value is NaN or infinite.
    """
    finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if finite.all():
        return
    first = int(finite.argmin())
    count = int((~torch.isfinite(maps[first])).sum())
    what = f"{count} non-finite values" if count else f"values too large for {working_type(maps)}"
    raise VisionscopeError(f"{name} at {point.name!r}: {what} in image position {positions[first]}")
