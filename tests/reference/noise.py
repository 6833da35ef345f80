"""Rings and Fourier vectors the slow way: explicit DFT matrices and cosines in float64, for tests."""

import numpy as np

SCALE = 10_000  # edges are given in ten-thousandths of pi rad/pixel, so that all comparisons are of integers


def dft(length):
    """The matrix of exp(-2 pi i k n / length)."""
    places = np.arange(length)
    return np.exp(-2j * np.pi * np.outer(places, places) / length)


def frequency(place, length):
    """|k| of a coefficient, counted towards zero from both sides."""
    return min(place, length - place)


def inside(size, low, high):
    """Which coefficients lie in the ring [low, high), in ten-thousandths, one by one; 1 itself where high is 1."""
    found = np.zeros(size, dtype=bool)
    for row in range(size[0]):
        for column in range(size[1]):
            # 2 k / n against low / SCALE, without dividing
            pairs = [(2 * frequency(row, size[0]), size[0]), (2 * frequency(column, size[1]), size[1])]
            reaches_low = any(k * SCALE >= low * n for k, n in pairs)
            below_high = high >= SCALE or all(k * SCALE < high * n for k, n in pairs)
            found[row, column] = reaches_low and below_high
    return found


def filtered(image, mask):
    """F^-1(F(image) mask), complex, by matrix products."""
    down, across = dft(image.shape[-2]), dft(image.shape[-1])
    coefficients = down @ image @ across.T * mask
    return np.conj(down) @ coefficients @ np.conj(across).T / mask.size


def vector(size, row, column):
    """The real Fourier vector as a cosine of phase pi / 4, or a checkerboard where (i, j) is its own partner."""
    height, width = size
    found = np.zeros(size)
    own_partner = 2 * row % height == 0 and 2 * column % width == 0
    for y in range(height):
        for x in range(width):
            angle = 2 * np.pi * (row * y / height + column * x / width)
            value = np.cos(angle) if own_partner else np.sqrt(2) * np.cos(angle + np.pi / 4)
            found[y, x] = value / np.sqrt(height * width)
    return found
