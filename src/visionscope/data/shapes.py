"""The ten shapes and ten textures of the embedded data, as formulas over arrays of coordinates.

Only + - x / sqrt, absolute value, floor, minimum, maximum and integer arithmetic are used: IEEE 754 rounds each of
them correctly, so every machine draws the same bytes. No sine, exponential, power, sum over an axis or matrix product
may come in here.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Words = NDArray[np.uint64]

SHAPES = ("disc", "ring", "square", "triangle", "star", "cross", "crescent", "heart", "arrow", "hourglass")
TEXTURES = ("pinwheel", "stripes", "target", "checks", "gradient", "dots", "mesh", "mosaic", "plain", "zigzag")

# Unit vectors to the corners of a regular pentagon: sines and cosines of multiples of 72 degrees.
_PENTAGON = (
    (0.0, 1.0),
    (0.9510565162951535, 0.30901699437494745),
    (0.5877852522924731, -0.8090169943749475),
    (-0.5877852522924731, -0.8090169943749475),
    (-0.9510565162951535, 0.30901699437494745),
)
_HALF_SQRT_3 = 0.8660254037844386
_HALF_SQRT_2 = 0.7071067811865476


def outside(shape: int, x: Array, y: Array) -> Array:
    """How far points lie outside a shape, negative inside; the shape fits the unit circle.

    Args:
        shape: index in `SHAPES`.
        x: abscissae in the shape's own frame.
        y: ordinates, upward, of the same shape.

    Returns:
        A signed distance, exact near straight edges and circles; of the shape of `x`.
    """
    return _OUTSIDE[shape](x, y)


def pattern(texture: int, u: Array, v: Array, key: Words) -> Array:
    """The share of a texture's second colour.

    Args:
        texture: index in `TEXTURES`.
        u: abscissae in the texture's own frame, in periods, from the object's centre on.
        v: ordinates in periods, of the same shape.
        key: a random word per image, broadcast to the shape of `u`, for the mosaic.

    Returns:
        Values from 0 to 1, of the shape of `u`.
    """
    return _PATTERN[texture](u, v, key)


def clip(values: Array) -> Array:
    """Values limited to 0 and 1."""
    limited: Array = np.minimum(np.maximum(values, 0.0), 1.0)
    return limited


def _length(x: Array, y: Array) -> Array:
    length: Array = np.sqrt(x * x + y * y)
    return length


def _disc(x: Array, y: Array) -> Array:
    return _length(x, y) - 0.85


def _ring(x: Array, y: Array) -> Array:
    return np.abs(_length(x, y) - 0.66) - 0.23


def _square(x: Array, y: Array) -> Array:
    return np.maximum(np.abs(x), np.abs(y)) - 0.7


def _triangle(x: Array, y: Array) -> Array:
    return np.maximum(_HALF_SQRT_3 * np.abs(x) + 0.5 * y, -y) - 0.5


def _star(x: Array, y: Array) -> Array:
    # A pentagram is where at most one of its five lines is crossed: the second largest distance decides.
    first = np.full_like(x, -np.inf)
    second = first
    for across, up in _PENTAGON:
        distance = across * x + up * y
        second = np.maximum(second, np.minimum(first, distance))
        first = np.maximum(first, distance)
    return second - 0.34


def _cross(x: Array, y: Array) -> Array:
    x, y = np.abs(x), np.abs(y)
    return np.maximum(np.maximum(x, y) - 0.92, np.minimum(x, y) - 0.29)


def _crescent(x: Array, y: Array) -> Array:
    return np.maximum(_length(x, y) - 0.9, 0.72 - _length(x - 0.45, y))


def _heart(x: Array, y: Array) -> Array:
    s, t = (x + y) * _HALF_SQRT_2, (y - x) * _HALF_SQRT_2
    discs = np.minimum(_length(s - 0.5, t), _length(s, t - 0.5)) - 0.5
    return np.minimum(np.maximum(np.abs(s), np.abs(t)) - 0.5, discs)


def _arrow(x: Array, y: Array) -> Array:
    x = np.abs(x)
    head = np.maximum((0.9 * x + 0.78 * (y - 1.0)) / 1.19, 0.1 - y)
    shaft = np.maximum(x - 0.26, np.abs(y + 0.4) - 0.55)
    return np.minimum(head, shaft)


def _hourglass(x: Array, y: Array) -> Array:
    y = np.abs(y)
    return np.maximum((np.abs(x) - 0.85 * y - 0.04) / 1.3125, y - 0.82)


def _wave(values: Array) -> Array:
    """A triangle wave of period 1 between 0 and 1."""
    return np.abs(2.0 * (values - np.floor(values)) - 1.0)


def _harden(values: Array) -> Array:
    """A steeper wave, as a printed stripe has."""
    return clip(3.0 * values - 1.0)


def _pinwheel(u: Array, v: Array, key: Words) -> Array:
    squared = u * u + v * v + 1e-3
    return clip(12.0 * u * v * (u * u - v * v) / (squared * squared) + 0.5)


def _stripes(u: Array, v: Array, key: Words) -> Array:
    return _harden(_wave(u))


def _target(u: Array, v: Array, key: Words) -> Array:
    return _harden(_wave(_length(u, v)))


def _checks(u: Array, v: Array, key: Words) -> Array:
    # One check is half a period wide, so the period is stretched for squares as large as the stripes are wide.
    return clip(32.0 * (_wave(0.7 * u) - 0.5) * (_wave(0.7 * v) - 0.5) + 0.5)


def _gradient(u: Array, v: Array, key: Words) -> Array:
    return clip(0.5 + 0.28 * u)


def _dots(u: Array, v: Array, key: Words) -> Array:
    return clip(6.0 * (0.3 - _length(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)) + 0.5)


def _mesh(u: Array, v: Array, key: Words) -> Array:
    return clip(5.0 * (np.maximum(_wave(0.8 * u), _wave(0.8 * v)) - 0.75) + 0.5)


def _mosaic(u: Array, v: Array, key: Words) -> Array:
    """Cells of random shares, by a hash of the cell's place and the image's word."""
    column = np.floor(1.6 * u).astype(np.int64).astype(np.uint64)
    row = np.floor(1.6 * v).astype(np.int64).astype(np.uint64)
    mixed = key + column * np.uint64(0x9E3779B97F4A7C15) + row * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    cells: Array = (mixed >> np.uint64(56)).astype(np.float64) / 255.0
    return cells


def _plain(u: Array, v: Array, key: Words) -> Array:
    return np.zeros_like(u)


def _zigzag(u: Array, v: Array, key: Words) -> Array:
    return _harden(_wave(v + 1.1 * _wave(0.45 * u)))


_OUTSIDE: tuple[Callable[[Array, Array], Array], ...] = (
    _disc, _ring, _square, _triangle, _star, _cross, _crescent, _heart, _arrow, _hourglass,
)  # fmt: skip
_PATTERN: tuple[Callable[[Array, Array, Words], Array], ...] = (
    _pinwheel, _stripes, _target, _checks, _gradient, _dots, _mesh, _mosaic, _plain, _zigzag,
)  # fmt: skip
