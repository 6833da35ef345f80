"""Noise of chosen spatial frequencies: exact rings of the discrete Fourier transform, and its single real vectors."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Mask = NDArray[np.bool_]


def ring_edges(centre: float, width: float) -> tuple[Fraction, Fraction]:
    """The ends of a ring, centre - width / 2 and centre + width / 2, as exact fractions.

    The floats are read as the decimals that they print as: 0.2 - 0.05 and 0.1 + 0.05 are then both 3/20, so that
    neighbouring rings neither leave a gap nor share a frequency.

    Args:
        centre: in pi rad/pixel.
        width: in pi rad/pixel.
    """
    middle, half = Fraction(str(centre)), Fraction(str(width)) / 2
    return middle - half, middle + half


def ring_mask(size: tuple[int, int], low: Fraction, high: Fraction) -> Mask:
    """Which coefficients of the discrete Fourier transform lie in a square ring.

    A coefficient (k, l) of height x width pixels is at max(2 min(k, height - k) / height, 2 min(l, width - l) / width)
    pi rad/pixel, the larger frequency of the two axes; the ring holds those in [low, high), and 1 itself, the Nyquist
    frequency of both axes' even lengths, where high is at least 1. As (k, l) and (-k, -l) are at the same frequency
    the mask is Hermitian at any size, odd and non-square ones too, and what it leaves of a real image is real: the
    authors' ring loses 3.5 % of the energy by taking the real part (Park & Kim 2022, Fig. 2b; FreqAttack).

    Args:
        size: height and width in pixels.
        low: lower end in pi rad/pixel, inside.
        high: upper end in pi rad/pixel, outside unless it is 1 or more.

    Returns:
        (height, width) in the order of `torch.fft.fft2`.
    """
    inside, outside = (np.logical_and.outer(*(_below(length, edge) for length in size)) for edge in (high, low))
    return inside & ~outside


def unit_noise(kind: str, seed: int, positions: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """White noise of variance 1, each image's from (seed, position) alone, the same in any batch and on any machine.

    A Philox generator with the key (seed, position) gives 64-bit words; `sign` takes their bits as +1 and -1, which is
    how sign(randn) of the authors' example is distributed, `gaussian` makes normal numbers of them.

    Args:
        kind: sign or gaussian.
        seed: 0 to 2^64 - 1.
        positions: of the images.
        shape: of one image.

    Returns:
        (positions, *shape), float32, on the CPU.
    """
    count = math.prod(shape)
    drawn = _generators(seed, positions)
    if kind == "gaussian":
        values = np.stack([np.random.Generator(bits).standard_normal(count, dtype=np.float32) for bits in drawn])
        return torch.from_numpy(values).reshape(-1, *shape)
    # Little-endian, so that the bits come in one order on every machine.
    words = np.stack([bits.random_raw(-(-count // 64)) for bits in drawn]).astype("<u8")
    flags = np.unpackbits(words.view(np.uint8), axis=1, count=count)
    return torch.from_numpy(flags).to(torch.float32).mul_(2).sub_(1).reshape(-1, *shape)


def uniform_noise(seed: int, positions: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Numbers between -1 and 1, each image's from (seed, position) alone, like `unit_noise`.

    Args:
        seed: 0 to 2^64 - 1.
        positions: of the images.
        shape: of one image.

    Returns:
        (positions, *shape), float32, on the CPU.
    """
    count = math.prod(shape)
    drawn = [np.random.Generator(bits).random(count, dtype=np.float32) for bits in _generators(seed, positions)]
    return torch.from_numpy(np.stack(drawn)).mul_(2).sub_(1).reshape(-1, *shape)


def in_ring(spectrum: Tensor, weights: Tensor, size: tuple[int, int]) -> Tensor:
    """What a mask leaves of real images: F^-1(F(images) * weights).

    Args:
        spectrum: (..., height, width // 2 + 1), `torch.fft.rfft2` of the images.
        weights: (height, width // 2 + 1), the left columns of a symmetric mask, possibly times a number.
        size: height and width of the images, which the spectrum does not tell.

    Returns:
        (..., height, width), real.
    """
    images: Tensor = torch.fft.irfft2(spectrum * weights, s=size)
    return images


def fourier_vector(size: tuple[int, int], frequency: tuple[int, int]) -> Tensor:
    """A real vector of the Fourier basis of norm 1, with the phase of Yin et al.'s code (NeurIPS 2019).

    `U[y, x] = (cos a - sin a) / sqrt(height width)` with `a = 2 pi (i y / height + j x / width)`: only the coefficients
    (i, j) and (-i, -j) are not zero. Those two make one vector; `canonical` tells which of them names it. The paper
    fixes no phase; its code takes this one (1 + i at the first of the two), for which the norm is 1 also where (i, j)
    is its own partner.

    Args:
        size: height and width in pixels.
        frequency: periods per height and per width, i and j; negative ones too.

    Returns:
        (height, width), float64.
    """
    (height, width), (row, column) = size, frequency
    down = torch.arange(height)[:, None] * row % height
    across = torch.arange(width) * column % width
    angle = 2 * math.pi * (down.double() / height + across.double() / width)
    vector: Tensor = (angle.cos() - angle.sin()) / math.sqrt(height * width)
    return vector


def _generators(seed: int, positions: Sequence[int]) -> list[np.random.Philox]:
    """One per image, whose key is (seed, position): no two keys share a stream."""
    return [np.random.Philox(key=np.array([seed, position], dtype=np.uint64)) for position in positions]


def _below(length: int, edge: Fraction) -> Mask:
    """Which of an axis's frequencies lie below the edge; all where it is 1 or more."""
    return np.array([edge >= 1 or Fraction(2 * min(k, length - k), length) < edge for k in range(length)])
