"""Means over what is near or alike, position by position in float64."""

import math

import numpy as np
import scipy.ndimage


def gaussian(x, sigma):
    """A Gaussian blur of each channel of (c, h, w) that ends at 3 sigma, the edge's values beyond the edge."""
    if sigma == 0:
        return x
    return np.stack(
        [scipy.ndimage.gaussian_filter(one, sigma, mode="nearest", radius=math.ceil(3 * sigma)) for one in x]
    )


def binomial(x, size):
    """Row `size - 1` of Pascal's triangle as a blur in both directions, the edge's values beyond the edge."""
    weights = np.array([math.comb(size - 1, place) for place in range(size)]) / 2 ** (size - 1)
    kernel = weights[:, None] * weights[None, :]
    return np.stack([scipy.ndimage.correlate(one, kernel, mode="nearest") for one in x])


def scale_space(x, weight, bias):
    """sum_s softmax_s(weight x_i + bias) (G_s * x)_i with sigma 0, 1, 2, 4, ..."""
    _, height, width = x.shape
    blurred = [gaussian(x, 0 if scale == 0 else 2.0 ** (scale - 1)) for scale in range(len(bias))]
    y = np.zeros_like(x)
    for row in range(height):
        for column in range(width):
            shares = np.exp(weight @ x[:, row, column] + bias)
            for share, scale in zip(shares / shares.sum(), blurred, strict=True):
                y[:, row, column] += share * scale[:, row, column]
    return y


def over_window(x, window_size):
    """Mean over a window, of the positions on the map."""
    _, height, width = x.shape
    half = window_size // 2
    y = np.zeros_like(x)
    for row in range(height):
        for column in range(width):
            rows = slice(max(0, row - half), row + half + 1)
            y[:, row, column] = x[:, rows, max(0, column - half) : column + half + 1].mean((1, 2))
    return y


def nonlocal_means(x, h):
    """Every position by its likeness to every other; distances are means over the channels."""
    channels, height, width = x.shape
    places = [x[:, row, column] for row in range(height) for column in range(width)]
    mixed = []
    for here in places:
        weights = [math.exp(-((here - there) ** 2).sum() / channels / h**2) for there in places]
        mixed.append(sum(weight * there for weight, there in zip(weights, places, strict=True)) / sum(weights))
    return np.array(mixed).T.reshape(channels, height, width)


def k_means(x, grid, h):
    """A soft step from the means over a regular grid of cells."""
    channels, height, width = x.shape
    edges = [
        [(cell * length // grid, -(-(cell + 1) * length // grid)) for cell in range(grid)] for length in (height, width)
    ]
    start = [x[:, top:bottom, left:right].mean((1, 2)) for top, bottom in edges[0] for left, right in edges[1]]
    places = [x[:, row, column] for row in range(height) for column in range(width)]
    belongs = np.array(
        [[math.exp(-((one - centre) ** 2).sum() / channels / h**2) for centre in start] for one in places]
    )
    belongs /= belongs.sum(1, keepdims=True)
    centres = [
        sum(belongs[index, cluster] * one for index, one in enumerate(places)) / belongs[:, cluster].sum()
        for cluster in range(len(start))
    ]
    mixed = [sum(share * centre for share, centre in zip(row, centres, strict=True)) for row in belongs]
    return np.array(mixed).T.reshape(channels, height, width)


def bilateral(x, kernel_size, sigma_space, sigma_value):
    """Every position by nearness and likeness within a window, the edge's values beyond the edge."""
    channels, height, width = x.shape
    half = kernel_size // 2
    y = np.zeros_like(x)
    for row in range(height):
        for column in range(width):
            total = 0.0
            for down in range(-half, half + 1):
                for across in range(-half, half + 1):
                    there = x[:, min(max(row + down, 0), height - 1), min(max(column + across, 0), width - 1)]
                    likeness = ((x[:, row, column] - there) ** 2).sum() / channels / (2 * sigma_value**2)
                    weight = math.exp(-(down**2 + across**2) / (2 * sigma_space**2) - likeness)
                    y[:, row, column] += weight * there
                    total += weight
            y[:, row, column] /= total
    return y


def guided(x, kernel_size, eps):
    """Every channel by itself: a x + b with the means of the windows' a and b, the edge's values beyond the edge."""

    def mean(one):
        return scipy.ndimage.uniform_filter(one, kernel_size, mode="nearest")

    y = []
    for one in x:
        variance = mean(one**2) - mean(one) ** 2
        slope = variance / (variance + eps)
        y.append(mean(slope) * one + mean((1 - slope) * mean(one)))
    return np.stack(y)
