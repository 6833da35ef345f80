"""Mixers in the Fourier domain in float64, by transforms that are sums written out."""

import cmath
import math

import numpy as np


def transform(x, sign):
    """F or, with sign +1, F^-1 of (h, w) complex numbers, with norms kept."""
    height, width = x.shape
    rows = np.array([[cmath.exp(sign * 2j * math.pi * a * b / height) for b in range(height)] for a in range(height)])
    columns = np.array([[cmath.exp(sign * 2j * math.pi * a * b / width) for b in range(width)] for a in range(width)])
    return rows @ x @ columns / math.sqrt(height * width)


def signed(index, length):
    """The frequency of a place in a transform, in cycles per position, from -1/2 to below 1/2."""
    return (index if index < (length + 1) // 2 else index - length) / length


def fnet(x):
    """Re(F_positions F_channels x) of (c, h, w), positions in a row."""
    return transform(x.reshape(len(x), -1).astype(complex), -1).real.reshape(x.shape)


def real_map(half, width):
    """Re F^-1 of the spectrum whose columns 0 to w // 2 are `half`, and the others their mirror images."""
    height = len(half)
    whole = np.zeros((height, width), complex)
    for row in range(height):
        for column in range(width):
            if column <= width // 2:
                whole[row, column] = half[row, column]
            else:
                whole[row, column] = np.conj(half[-row % height, width - column])
    return transform(whole, +1).real


def gain(stored, row, column):
    """The gain at frequencies row and column (0 to 1/2), linear between those stored: rows -1/2 to 1/2."""
    down, across = (row + 0.5) * (stored.shape[0] - 1), column * 2 * (stored.shape[1] - 1)
    top, left = min(int(down), stored.shape[0] - 2), min(int(across), stored.shape[1] - 2)
    y, x = down - top, across - left
    return (
        (1 - y) * (1 - x) * stored[top, left]
        + (1 - y) * x * stored[top, left + 1]
        + y * (1 - x) * stored[top + 1, left]
        + y * x * stored[top + 1, left + 1]
    )


def gfnet(x, stored):
    """F^-1(K . F x) for (c, h, w) and complex K (c, grid + 1, grid / 2 + 1)."""
    _, height, width = x.shape
    y = np.zeros_like(x)
    for channel in range(len(x)):
        half = transform(x[channel].astype(complex), -1)[:, : width // 2 + 1]
        for row in range(height):
            for column in range(width // 2 + 1):
                half[row, column] *= gain(stored[channel], signed(row, height), column / width)
        y[channel] = real_map(half, width)
    return y


def network(u, weights, biases):
    """W_2 relu(W_1 u + b_1) + b_2 of the channels of one frequency, complex, in four blocks."""
    for layer in range(2):
        out = np.zeros_like(u)
        size = len(u) // 4
        for block in range(4):
            part = slice(block * size, (block + 1) * size)
            out[part] = weights[layer, block] @ u[part] + biases[layer, part]
        u = np.maximum(out.real, 0) + 1j * np.maximum(out.imag, 0) if layer == 0 else out
    return u


def by_frequency(x, change):
    """F^-1 of what `change` makes of each frequency's channels in the half spectrum."""
    width = x.shape[2]
    spectra = np.stack([transform(channel.astype(complex), -1)[:, : width // 2 + 1] for channel in x])
    for row in range(spectra.shape[1]):
        for column in range(spectra.shape[2]):
            spectra[:, row, column] = change(spectra[:, row, column])
    return np.stack([real_map(half, width) for half in spectra])


def afno(x, weights, biases, threshold):
    def change(u):
        v = network(u, weights, biases)
        real, imaginary = (np.sign(part) * np.maximum(np.abs(part) - threshold, 0) for part in (v.real, v.imag))
        return real + 1j * imaginary

    return by_frequency(x, change)


def aff(x, weights, biases):
    return by_frequency(x, lambda u: network(u, weights, biases) * u)
