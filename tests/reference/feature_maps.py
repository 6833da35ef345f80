"""Slow twins in float64 of what visionscope.numerics measures on feature maps, written from the definitions."""

import cmath
import math
import statistics

import numpy as np


def official_delta_log_amplitude(maps):
    """The notebook's steps (PAPER: log, roll, mean, diagonal) on (b, c, h, h) maps."""
    x = np.asarray(maps, dtype=np.float64)
    side = x.shape[-1]
    amplitude = np.log(np.abs(np.fft.fft2(x)) + 1e-6)
    rolled = np.roll(amplitude, (side // 2, side // 2), axis=(-2, -1)).mean(axis=(0, 1))
    diagonal = np.diag(rolled)[side // 2 :]
    return diagonal - diagonal[0]


def diagonal_log_amplitude(image):
    """One image (c, h, w): every Fourier sum term by term, at 2k / min(h, w) pi rad/pixel along both axes."""
    channels, height, width = np.shape(image)
    count = math.ceil(min(height, width) / 2)
    profile = []
    for k in range(count):
        step = cmath.exp(-2j * math.pi * k / min(height, width))
        logs = []
        for c in range(channels):
            total = sum(float(image[c][y][x]) * step ** (y + x) for y in range(height) for x in range(width))
            logs.append(math.log(abs(total) + 1e-6))
        profile.append(math.fsum(logs) / channels)
    return profile


def radial_log_amplitude(image):
    """One image (c, h, w): each coefficient of the DFT is put into the ring nearest to its radius."""
    x = np.asarray(image, dtype=np.float64)
    _, height, width = x.shape
    rings = [[] for _ in range(min(height, width) // 2 + 1)]
    logs = np.log(np.abs(np.fft.fft2(x)) + 1e-6)
    for row in range(height):
        for column in range(width):
            across = min(row, height - row) / height
            along = min(column, width - column) / width
            ring = round(math.hypot(across, along) * min(height, width))
            if ring == 0 and (row, column) != (0, 0):
                ring = 1
            if ring < len(rings):
                rings[ring].extend(logs[:, row, column])
    return [math.fsum(ring) / len(ring) for ring in rings]


def spatial_variance(image):
    """One image (c, h, w), in exact fractions."""
    variances = [statistics.variance([float(value) for row in channel for value in row]) for channel in image]
    return math.fsum(variances) / len(variances)


def unbiased_hsic(k, ell):
    """Song et al. 2012, equation 5, from the traces."""
    n = len(k)
    k, ell = k - np.diag(np.diag(k)), ell - np.diag(np.diag(ell))
    ones = np.ones(n)
    trace = np.trace(k @ ell)
    sums = (ones @ k @ ones) * (ones @ ell @ ones) / ((n - 1) * (n - 2))
    mixed = 2 / (n - 2) * (ones @ k @ ell @ ones)
    return (trace + sums - mixed) / (n * (n - 3))


def minibatch_cka(x, y, group):
    """Features (images, p) and (images, q) of whole groups: sums over groups, then the ratio."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    cross = self_x = self_y = 0.0
    for start in range(0, len(x) - group + 1, group):
        a, b = x[start : start + group], y[start : start + group]
        cross += unbiased_hsic(a @ a.T, b @ b.T)
        self_x += unbiased_hsic(a @ a.T, a @ a.T)
        self_y += unbiased_hsic(b @ b.T, b @ b.T)
    return cross / math.sqrt(self_x * self_y)


def jackknife_error(x, y, group):
    """Standard error of `minibatch_cka` from leaving out one group at a time."""
    count = len(x) // group
    x, y = np.asarray(x)[: count * group], np.asarray(y)[: count * group]
    values = []
    for left_out in range(count):
        keep = np.arange(count * group) // group != left_out
        values.append(minibatch_cka(x[keep], y[keep], group))
    return math.sqrt((count - 1) / count * sum((value - statistics.fmean(values)) ** 2 for value in values))


def biased_linear_cka(x, y):
    """Kornblith et al. 2019, equation 5: from the features' cross-covariance, not from Gram matrices."""
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
