"""Moments of feature maps over space."""

import torch
from torch import Tensor
from torch.nn import functional

from visionscope.numerics.layouts import full_precision, image_chunks, join_positions, working_type


def spatial_variance(maps: Tensor) -> Tensor:
    """Variance over the positions of each channel, averaged over channels.

    sum_p (m_cp - mean_p m_c)^2 / (positions - 1), mean over c: the unbiased variance of Park & Kim 2022, Fig. 9. The
    mean is subtracted before squaring, in runs of images that fit in the cache, so a large mean costs no digits.

    Args:
        maps: (batch, channel, height, width), at least two positions.

    Returns:
        (batch,), in float32, or float64 for float64 maps.
    """
    result = torch.empty(len(maps), dtype=working_type(maps), device=maps.device)
    with full_precision(maps):
        for part, chunk in image_chunks(maps):
            values, axis = join_positions(chunk)
            mean = values.mean(axis, keepdim=True).expand_as(values)
            squares = functional.mse_loss(values, mean, reduction="none")  # difference and square in one pass
            result[part] = squares.flatten(1).sum(1) / (maps.shape[1] * (values.shape[axis] - 1))
    return result
