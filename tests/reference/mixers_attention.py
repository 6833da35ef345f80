"""Mixers of the attention family, position by position in float64 as their papers' formulas are written."""

import math

import numpy as np


def softmax(scores):
    weights = np.exp(np.asarray(scores) - np.max(scores))
    return weights / weights.sum()


def heads_of(weight, x, heads):
    """Queries, keys or values: (heads, d, h, w) of a map (c, h, w)."""
    _, height, width = x.shape
    y = np.zeros((len(weight), height, width))
    for row in range(height):
        for column in range(width):
            y[:, row, column] = weight @ x[:, row, column]
    return y.reshape(heads, -1, height, width)


def attend(q, k, v, seen):
    """y_ni = sum_j softmax_j(q_ni . k_nj / sqrt(d)) v_nj over the places `seen(row, column)`; (heads d, h, w)."""
    heads, d, height, width = q.shape
    y = np.zeros((heads, v.shape[1], height, width))
    for head in range(heads):
        for row in range(height):
            for column in range(width):
                places = seen(row, column)
                scores = [q[head, :, row, column] @ k[head, :, r, c] / math.sqrt(d) for r, c in places]
                for weight, (r, c) in zip(softmax(scores), places, strict=True):
                    y[head, :, row, column] += weight * v[head, :, r, c]
    return y.reshape(-1, height, width)


def everywhere(x):
    places = [(r, c) for r in range(x.shape[-2]) for c in range(x.shape[-1])]
    return lambda row, column: places


def around(x, radius):
    """Places of a map at most `radius` rows and columns away."""

    def seen(row, column):
        return [
            (r, c)
            for r in range(max(0, row - radius), min(x.shape[-2], row + radius + 1))
            for c in range(max(0, column - radius), min(x.shape[-1], column + radius + 1))
        ]

    return seen


def inside(size):
    """Places of the size x size window that a place lies in."""

    def seen(row, column):
        top, left = row // size * size, column // size * size
        return [(r, c) for r in range(top, top + size) for c in range(left, left + size)]

    return seen


def means(x, size):
    """Means of size x size squares; a last incomplete one is the mean of what it has."""
    rows, columns = -(-x.shape[1] // size), -(-x.shape[2] // size)
    y = np.zeros((len(x), rows, columns))
    for row in range(rows):
        for column in range(columns):
            square = x[:, row * size : (row + 1) * size, column * size : (column + 1) * size]
            y[:, row, column] = square.mean((1, 2))
    return y


def filled(x, size):
    """The map, with its last row and column again until it is a multiple of `size`."""
    return np.pad(x, ((0, 0), (0, -x.shape[1] % size), (0, -x.shape[2] % size)), mode="edge")


def hilo(x, high_qkv, low_q, low_kv, size):
    """Two heads in windows, two to the means of the windows."""
    whole = filled(x, size)
    q, k, v = (heads_of(weight, whole, 2) for weight in np.split(high_qkv, 3))
    high = attend(q, k, v, inside(size))[:, : x.shape[1], : x.shape[2]]
    pooled = means(x, size)
    k, v = (heads_of(weight, pooled, 2) for weight in np.split(low_kv, 2))
    return np.concatenate([high, attend(heads_of(low_q, x, 2), k, v, everywhere(pooled))])


def involution(x, reduce, reduce_bias, span, span_bias, size):
    """y_ci = sum_d K_i,g(c),d x_c,i+d with K_i = W_1 relu(W_0 x_i + b_0) + b_1 for four groups g; zeros outside."""
    channels, height, width = x.shape
    y = np.zeros_like(x)
    radius = size // 2
    for row in range(height):
        for column in range(width):
            hidden = np.maximum(reduce @ x[:, row, column] + reduce_bias, 0)
            kernels = (span @ hidden + span_bias).reshape(4, size, size)
            for channel in range(channels):
                kernel = kernels[channel // (channels // 4)]
                for i in range(size):
                    for j in range(size):
                        r, c = row + i - radius, column + j - radius
                        if 0 <= r < height and 0 <= c < width:
                            y[channel, row, column] += kernel[i, j] * x[channel, r, c]
    return y


def non_local(x, theta, phi, g, z):
    """x_i + W_z sum_j softmax_j(theta(x_i) . phi(x_j) / sqrt(c)) g(x_j); each map is a matrix and a bias."""
    channels = len(x)
    tokens = x.reshape(channels, -1).T
    q, k, v = (tokens @ weight.T + bias for weight, bias in (theta, phi, g))
    y = np.zeros_like(tokens)
    for i in range(len(tokens)):
        weights = softmax([q[i] @ k[j] / math.sqrt(channels) for j in range(len(tokens))])
        y[i] = tokens[i] + z[0] @ sum(w * v[j] for j, w in enumerate(weights)) + z[1]
    return y.T.reshape(x.shape)


def lambda_layer(x, qkv, norm, embeddings, bias, eps):
    """y_ni = (lambda_c + lambda_i)^T q_ni: four heads, keys of 16, zeros outside; queries normalised per position.

    Args:
        x: (c, h, w).
        qkv: (4 * 16 + 16 + c / 4, c).
        norm: factor and summand of each normalised query.
        embeddings: E, (16, k, k).
        bias: (16,) on lambda_i, the convolution's.
        eps: in the normalisation.
    """
    channels, height, width = x.shape
    radius = embeddings.shape[-1] // 2
    parts = np.einsum("oc,chw->ohw", qkv, x)
    q, k, v = parts[:64], parts[64:80], parts[80:]
    q = (q - q.mean(0)) / np.sqrt(q.var(0) + eps) * norm[0][:, None, None] + norm[1][:, None, None]
    k = np.stack([softmax(key.ravel()).reshape(height, width) for key in k])
    content = sum(np.outer(k[:, r, c], v[:, r, c]) for r in range(height) for c in range(width))
    y = np.zeros((4, channels // 4, height, width))
    for row in range(height):
        for column in range(width):
            place = np.tile(bias[:, None], len(v))
            for r, c in around(x, radius)(row, column):
                place = place + np.outer(embeddings[:, r - row + radius, c - column + radius], v[:, r, c])
            for head in range(4):
                y[head, :, row, column] = (content + place).T @ q[head * 16 : (head + 1) * 16, row, column]
    return y.reshape(x.shape)


def halo(x, q, kv, rows, columns, block, halo):
    """Blocks attend to themselves and `halo` places around, whose keys and values outside the map are zeros.

    Args:
        x: (c, h, w), h and w multiples of `block`.
        q: (4 d, c).
        kv: (4 (d + e), c), each head's keys before its values.
        rows: (2 win - 1, d) for each row of the window minus that of the query in its block, from -(win - 1).
        columns: likewise.
        block: edge.
        halo: beyond it.
    """
    _, height, width = x.shape
    window = block + 2 * halo
    queries = heads_of(q, x, 4)
    both = heads_of(kv, x, 4)
    d = queries.shape[1]
    y = np.zeros((4, both.shape[1] - d, height, width))
    for head in range(4):
        for row in range(height):
            for column in range(width):
                top, left = row // block * block - halo, column // block * block - halo
                query = queries[head, :, row, column]
                scores, values = [], []
                for i in range(window):
                    for j in range(window):
                        r, c = top + i, left + j
                        inside_map = 0 <= r < height and 0 <= c < width
                        there = both[head, :, r, c] if inside_map else np.zeros(both.shape[1])
                        down, across = i - row % block + window - 1, j - column % block + window - 1
                        place = query @ (rows[down] + columns[across])
                        scores.append(query @ there[:d] / math.sqrt(d) + place)
                        values.append(there[d:])
                y[head, :, row, column] = softmax(scores) @ np.array(values)
    return y.reshape(-1, height, width)
