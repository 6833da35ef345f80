"""Attention among neighbours, token by token in float64: loops over the places that the definition names."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def attend(queries: Array, keys: Array, values: Array, kernel_size: int, *, zero_padded_borders: bool) -> Array:
    """y_i = sum_j softmax_j(q_i . k_j / sqrt(d)) v_j over the k x k places j around i.

    Args:
        queries: (heads, height, width, d), as are keys and values.
        keys: what lies outside the map is left out, or zero.
        values: likewise.
        kernel_size: odd.
        zero_padded_borders: whether places outside are zero.
    """
    heads, height, width, d = queries.shape
    radius = kernel_size // 2
    result = np.zeros_like(values)
    for head in range(heads):
        for row in range(height):
            for column in range(width):
                weights, answers = [], []
                for r in range(row - radius, row + radius + 1):
                    for c in range(column - radius, column + radius + 1):
                        inside = 0 <= r < height and 0 <= c < width
                        if not inside and not zero_padded_borders:
                            continue
                        key = keys[head, r, c] if inside else np.zeros(d)
                        score = sum(queries[head, row, column, i] * key[i] for i in range(d)) / math.sqrt(d)
                        weights.append(math.exp(score))
                        answers.append(values[head, r, c] if inside else np.zeros(d))
                total = sum(weights)
                for weight, answer in zip(weights, answers, strict=True):
                    result[head, row, column] += weight / total * answer
    return result
