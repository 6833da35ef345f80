"""Slow twins in float64 of what visionscope.numerics.tokens measures, written from the definitions token by token."""

import math
import statistics

import numpy as np


def tokens_of(image):
    """The tokens of one image (c, h, w), row by row from the top."""
    channels, height, width = np.shape(image)
    return [[float(image[c][y][x]) for c in range(channels)] for y in range(height) for x in range(width)]


def norms(image):
    """The norm of each token."""
    return [math.sqrt(math.fsum(value * value for value in token)) for token in tokens_of(image)]


def outlier_places(lengths, deviations):
    """Which of them lie above the median by that many median absolute deviations, and by more than 1e-5 of it."""
    middle = statistics.median(lengths)
    spread = statistics.median(abs(length - middle) for length in lengths)
    return [length > (middle + deviations * spread) * (1 + 1e-5) for length in lengths]


def likeness(image):
    """Mean cosine pair by pair, share of the mean token, effective rank from singular values."""
    tokens = tokens_of(image)
    lengths = norms(image)
    if not any(lengths):
        return [1.0, 1.0, 1.0]
    cosines = []
    for p, x in enumerate(tokens):
        for q, y in enumerate(tokens):
            if p != q:
                product = math.fsum(a * b for a, b in zip(x, y, strict=True))
                cosines.append(product / lengths[p] / lengths[q] if lengths[p] and lengths[q] else 0.0)
    energy = math.fsum(length * length for length in lengths)
    mean = [math.fsum(column) / len(tokens) for column in zip(*tokens, strict=True)]
    share = len(tokens) * math.fsum(value * value for value in mean) / energy
    singular = np.linalg.svd(np.array(tokens), compute_uv=False)
    shares = [value**2 / energy for value in singular if value > 0]
    return [statistics.fmean(cosines), share, math.exp(-math.fsum(s * math.log(s) for s in shares if s > 0))]
