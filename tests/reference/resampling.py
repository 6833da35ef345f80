"""Halving and raising of maps as matrices along each edge, and what is made of them; float64, entry by entry."""

import itertools

import numpy as np


def halving(length):
    """(ceil(length / 2), length): a triangle as wide as both halves, cut at the edge and normalised."""
    shorter = (length + 1) // 2
    factor = length / shorter
    matrix = np.zeros((shorter, length))
    for row in range(shorter):
        for column in range(length):
            distance = abs((column + 0.5) - (row + 0.5) * factor) / factor
            matrix[row, column] = max(0.0, 1 - distance)
        matrix[row] /= matrix[row].sum()
    return matrix


def raising(length, shorter):
    """(length, shorter): a line between the two nearest, the edge's value beyond the last."""
    matrix = np.zeros((length, shorter))
    for row in range(length):
        place = min(max((row + 0.5) * shorter / length - 0.5, 0.0), shorter - 1.0)
        left = int(place)
        matrix[row, left] += 1 - (place - left)
        if left + 1 < shorter:
            matrix[row, left + 1] += place - left
    return matrix


def halved(x):
    """A map (c, h, w) at half its height and width."""
    return np.einsum("ah,chw,bw->cab", halving(x.shape[1]), x, halving(x.shape[2]))


def raised(x, height, width):
    """A map (c, a, b) at a height and width."""
    return np.einsum("ha,cab,wb->chw", raising(height, x.shape[1]), x, raising(width, x.shape[2]))


def bands(x, scales):
    """L_s x = U_s D_s x - U_{s+1} D_{s+1} x for each scale, of a map (c, h, w); the last keeps what is coarser."""
    levels, coarse = [x], x
    for _ in range(scales - 1):
        coarse = halved(coarse)
        levels.append(raised(coarse, *x.shape[1:]))
    levels.append(np.zeros_like(x))
    return [finer - coarser for finer, coarser in itertools.pairwise(levels)]


def gated(x, logits):
    """sum_s 2 sigmoid(logits_s) L_s x; logits (scales, 1 or c, 1 or h, 1 or w)."""
    return sum(2 / (1 + np.exp(-gate)) * band for gate, band in zip(logits, bands(x, len(logits)), strict=True))


def depthwise(x, kernels, bias):
    """Cross-correlation with one 3 x 3 kernel per channel, zeros beyond the edge."""
    y = np.zeros_like(x)
    channels, height, width = x.shape
    for channel in range(channels):
        for row in range(height):
            for column in range(width):
                y[channel, row, column] = bias[channel] + sum(
                    kernels[channel, 0, 1 + down, 1 + across] * x[channel, row + down, column + across]
                    for down in (-1, 0, 1)
                    for across in (-1, 0, 1)
                    if 0 <= row + down < height and 0 <= column + across < width
                )
    return y


def unet(x, kernels, biases):
    """x + U(M(k * D x)) with as many kernels as resolutions, from the highest."""
    if not kernels:
        return x
    below = unet(depthwise(halved(x), kernels[0], biases[0]), kernels[1:], biases[1:])
    return x + raised(below, *x.shape[1:])
