"""Attention inside windows, position by position in float64; slow and plain."""

import math

import numpy as np


def local_attention(x, qkv, table, proj, bias, *, num_heads, window_size):
    """One map (dim, h, w) through attention in windows of `window_size`; nothing is padded, windows end at the border.

    Args:
        x: the map.
        qkv: (3 * inner, dim), rows by (query | key | value, head, channel).
        table: ((2p - 1)^2, 1 or num_heads), rows by (row offset, column offset) of key minus query, from -(p - 1).
        proj: (dim_out, inner).
        bias: (dim_out,).
        num_heads: heads.
        window_size: p.
    """
    x, qkv, table, proj, bias = (np.asarray(value, dtype=np.float64) for value in (x, qkv, table, proj, bias))
    _, height, width = x.shape
    inner = len(qkv) // 3
    head_dim = inner // num_heads
    y = np.zeros((len(proj), height, width))
    for row in range(height):
        for column in range(width):
            top, left = row // window_size * window_size, column // window_size * window_size
            keys = [
                (r, c)
                for r in range(top, min(top + window_size, height))
                for c in range(left, min(left + window_size, width))
            ]
            mixed = np.zeros(inner)
            for head in range(num_heads):
                part = slice(head * head_dim, (head + 1) * head_dim)
                query = qkv[:inner][part] @ x[:, row, column]
                logits = []
                for r, c in keys:
                    place = (r - row + window_size - 1) * (2 * window_size - 1) + (c - column + window_size - 1)
                    key = qkv[inner : 2 * inner][part] @ x[:, r, c]
                    logits.append(query @ key / math.sqrt(head_dim) + table[place][head % table.shape[1]])
                weights = np.exp(np.array(logits) - max(logits))
                weights /= weights.sum()
                for weight, (r, c) in zip(weights, keys, strict=True):
                    mixed[part] += weight * (qkv[2 * inner :][part] @ x[:, r, c])
            y[:, row, column] = proj @ mixed + bias
    return y
