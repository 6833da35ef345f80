"""Amplitudes of feature maps over spatial frequency."""

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from visionscope.numerics.layouts import full_precision, image_chunks, join_positions, working_type

EPSILON = 1e-6  # added to every amplitude before the logarithm, as in the official code
SMALLEST_GRID = 3
_COLUMNS = 16  # matrix products run faster with a multiple of this many columns
_CANCELLED = 1e-3  # of the mean sum: below it float32 has lost digits to cancellation


def diagonal_length(grid: tuple[int, int]) -> int:
    """How many frequencies the half-diagonal has: ceil(m / 2) with m the shorter side; a grid under 3 has none.

    Args:
        grid: height and width.
    """
    return -(-min(grid) // 2) if min(grid) >= SMALLEST_GRID else 0


def ring_count(grid: tuple[int, int]) -> int:
    """How many rings the radial profile has: floor(m / 2) + 1 with m the shorter side; a grid under 3 has none.

    Args:
        grid: height and width.
    """
    return min(grid) // 2 + 1 if min(grid) >= SMALLEST_GRID else 0


def frequencies(grid: tuple[int, int], count: int) -> list[float]:
    """The frequencies 2k / m in pi rad/pixel, k = 0 ... count - 1, with m the shorter side.

    Args:
        grid: height and width.
        count: as many as `diagonal_length` or `ring_count` says.
    """
    return [2 * k / min(grid) for k in range(count)]


def diagonal_log_amplitude(maps: Tensor) -> Tensor:
    r"""Log-amplitude of each image along the half-diagonal of its spectrum.

    :math:`A_k = \mathrm{mean}_c \ln(|\sum_{yx} m_{cyx} e^{-i \pi f_k (y + x)}| + 10^{-6})` at :math:`f_k = 2k/m`, with
    m the shorter side. The logarithm comes before every mean. On a square grid these are the DFT's coefficients (k, k)
    for k = 0 ... ceil(m/2) - 1, those that the official notebook reads off the shifted diagonal (Park & Kim 2022,
    Fig. 2a and 8); only they are computed, as one matrix product. On another grid the diagonal is sampled at the same
    frequencies as a discrete-time Fourier transform, in which a constant map still has no amplitude but at 0.

    Args:
        maps: (batch, channel, height, width), at least 3 x 3 positions.

    Returns:
        (batch, frequencies), in float32, or float64 for float64 maps.
    """
    batch, _, height, width = maps.shape
    dtype = working_type(maps)
    count = diagonal_length((height, width))
    with full_precision(maps):
        waves = _diagonal_waves(height, width, dtype, maps.device)
        result = torch.empty(batch, count, dtype=dtype, device=maps.device)
        # chunks bound the converted copy of a bfloat16 map; float32 maps are not copied and go through in one product
        for part, chunk in image_chunks(maps, elements=2**20 if dtype != maps.dtype else 2**26):
            values, axis = join_positions(chunk)
            channels = 3 - axis
            # (batch, waves, channel), or (batch, channel, waves): cosines, sines, in the latter case padding
            parts = waves[:, : 2 * (count - 1)].T @ values if axis == 1 else values @ waves
            real, imaginary = parts.narrow(axis, 0, count - 1), parts.narrow(axis, count - 1, count - 1)
            amplitude = real.square().add_(imaginary.square()).sqrt_()
            result[part, 1:] = amplitude.add_(EPSILON).log_().mean(channels)
            result[part, 0] = _sums(chunk, values, axis).abs_().add_(EPSILON).log_().mean(1)
    return result


def radial_log_amplitude(maps: Tensor) -> Tensor:
    """Log-amplitude of each image over the radius of its spectrum.

    All DFT coefficients whose radius lies nearest to 2k / m pi rad/pixel, k = 1 ... floor(m/2), form ring k; ring 0 is
    the constant alone; corners beyond the last ring are left out. Logarithm first, then the mean over ring and
    channels.

    Args:
        maps: (batch, channel, height, width), at least 3 x 3 positions.

    Returns:
        (batch, rings), in float32, or float64 for float64 maps.
    """
    batch, _, height, width = maps.shape
    dtype = working_type(maps)
    with full_precision(maps):
        rings = _rings(height, width, dtype, maps.device)
        result = torch.empty(batch, rings.shape[1], dtype=dtype, device=maps.device)
        for part, chunk in image_chunks(maps):
            amplitude = torch.fft.fft2(chunk).abs().add_(EPSILON).log_()
            result[part] = amplitude.mean(1).flatten(1) @ rings
    return result


def _sums(maps: Tensor, values: Tensor, axis: int) -> Tensor:
    """Each channel's sum over positions; in float64 where it nearly cancels: its logarithm needs relative digits."""
    sums = values.sum(axis)
    size = sums.abs()
    image, channel = torch.nonzero(size < _CANCELLED * size.mean(), as_tuple=True)
    if len(image):
        sums[image, channel] = maps[image, channel].cpu().double().sum((1, 2)).to(sums)
    return sums


@lru_cache(maxsize=16)
def _diagonal_waves(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Cosines, then sines, of every half-diagonal frequency but 0, then zeros: (height * width, columns)."""
    shorter = min(height, width)
    place = torch.arange(height)[:, None] + torch.arange(width)
    turns = place.reshape(-1, 1) * torch.arange(1, diagonal_length((height, width)))
    angle = (turns % shorter).double() * (2 * math.pi / shorter)  # whole turns taken off first: exact angles
    both = torch.cat([angle.cos(), angle.sin()], dim=1).to(device=device, dtype=dtype)
    return functional.pad(both, (0, -both.shape[1] % _COLUMNS))


@lru_cache(maxsize=16)
def _rings(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Weights that average over each ring: (height * width, rings)."""
    across = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    along = torch.fft.fftfreq(width, dtype=torch.float64)
    ring = ((across.square() + along.square()).sqrt() * min(height, width)).round().long().clamp_(min=1)
    ring[0, 0] = 0
    member = ring.reshape(-1, 1) == torch.arange(ring_count((height, width)))
    weights: Tensor = member / member.sum(0)
    return weights.to(device=device, dtype=dtype)
