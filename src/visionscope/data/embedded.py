"""Shapes and textures drawn from a seed: data that everybody has, with the same bytes on every machine.

Each image shows one of ten shapes, filled with a texture, on a background with clutter. In the splits train, val and
test each shape has its own texture; in `conflict` it wears the texture of another class, which tells whether a
network goes by shape or by texture (Geirhos et al. 2019, "ImageNet-trained CNNs are biased towards texture").
"""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visionscope.data.shapes import SHAPES, Array, Words, clip, outside, pattern
from visionscope.data.splits import EMBEDDED as SPLITS
from visionscope.data.splits import check_embedded
from visionscope.errors import ConfigError

CLASSES = len(SHAPES)

_SIZES = (8, 1024)
_CHUNK_PIXELS = 32 * 32 * 32
_CACHE_BYTES = 128 * 2**20
_PARAMETER_WORDS = 96
_LUMINANCES = np.array(
    [(40, 122, 206), (40, 206, 122), (122, 40, 206), (122, 206, 40), (206, 40, 122), (206, 122, 40)], dtype=np.int64
)
# tan(22.5 degrees): the rational parametrisation of the circle covers 45 degrees to each side within it.
_TAN_EIGHTH = 0.41421356237309503
_QUARTER_TURNS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)], dtype=np.float64)


def labels(split: str, indices: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Shape and texture of each image; every class is equally frequent, and so is every conflict.

    Args:
        split: `train`, `val`, `test` or `conflict`.
        indices: which images.

    Returns:
        The shapes' and the textures' class indices; equal but in the split `conflict`.
    """
    index = np.asarray(indices, dtype=np.int64)
    shape = index % CLASSES
    if split != "conflict":
        return shape, shape
    return shape, (shape + 1 + index // CLASSES % (CLASSES - 1)) % CLASSES


def draw(split: str, indices: Sequence[int], *, size: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    """Draws images; image i depends on seed, split and i alone, and another size shows the same picture.

    Args:
        split: `train`, `val`, `test` or `conflict`.
        indices: which images, in any order.
        size: pixels per side, 8 to 1024.
        seed: 0 or more.

    Returns:
        (image, row, column, channel) in RGB.

    Raises:
        DataError: for a split that doesn't exist.
        ConfigError: for a size or a seed outside its range.
        IndexError: for an index outside the split.
    """
    return draw_with_masks(split, indices, size=size, seed=seed)[0]


def draw_with_masks(
    split: str, indices: Sequence[int], *, size: int = 32, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draws images as `draw` does, and which of their pixels show the shape.

    A pixel belongs to the shape where the shape covers its centre and no bar in front does; all else is background.

    Args:
        split: `train`, `val`, `test` or `conflict`.
        indices: which images, in any order.
        size: pixels per side, 8 to 1024.
        seed: 0 or more.

    Returns:
        The images, (image, row, column, channel) in RGB; and (image, row, column), 0 for background and 1 + the shape's
        index in `SHAPES`.

    Raises:
        DataError: for a split that doesn't exist.
        ConfigError: for a size or a seed outside its range.
        IndexError: for an index outside the split.
    """
    _check(split, indices, size, seed)
    images = np.empty((len(indices), size, size, 3), dtype=np.uint8)
    masks = np.empty((len(indices), size, size), dtype=np.uint8)
    # Small chunks keep every array of coordinates inside the processor's cache.
    step = max(1, _CHUNK_PIXELS // size**2)
    for start in range(0, len(indices), step):
        chunk = list(indices[start : start + step])
        images[start : start + step], masks[start : start + step] = _draw_chunk(split, chunk, size, seed)
    return images, masks


class EmbeddedSource:
    """One split of the embedded data.

    The label is the shape; `texture` gives the class that the texture comes from.

    Args:
        spec: the data spec, for messages.
        split: `train`, `val` (or `validation`), `test` or `conflict`.
        size: pixels per side, 8 to 1024.
        seed: 0 or more.
        num_classes: classes that the model knows, or None; if it isn't 10, all labels are None.

    Raises:
        DataError: for a split that doesn't exist.
        ConfigError: for a size or a seed outside its range.
    """

    classes: tuple[str, ...] = SHAPES

    def __init__(self, spec: str, split: str, *, size: int = 32, seed: int = 0, num_classes: int | None = None) -> None:
        self.spec = spec
        self.split = check_embedded(split)
        self.size = size
        self.seed = seed
        self._mappable = num_classes in (None, len(self.classes))
        _check(self.split, (), size, seed)
        self._cache = _kept(self.split, size, seed)

    def __len__(self) -> int:
        return SPLITS[self.split]

    def name(self, index: int) -> str:
        """Split and number of the image."""
        return f"embedded {self.split} image {index}"

    def label(self, index: int) -> int | None:
        """The shape's class index."""
        return int(labels(self.split, [index])[0][0]) if self._mappable else None

    def texture(self, index: int) -> int:
        """The class index that the texture belongs to."""
        return int(labels(self.split, [index])[1][0])

    def arrays(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Many images at once, which is several times faster than one by one.

        Args:
            indices: which images.

        Returns:
            (image, row, column, channel) in RGB.
        """
        missing = [index for index in dict.fromkeys(indices) if index not in self._cache]
        if not missing and len(indices):
            return np.stack([self._cache[index] for index in indices])
        drawn = draw(self.split, missing, size=self.size, seed=self.seed)
        self._keep(missing, drawn)
        if len(missing) == len(indices):
            return drawn
        fresh = dict(zip(missing, drawn, strict=True))
        return np.stack([fresh[index] if index in fresh else self._cache[index] for index in indices])

    def _keep(self, indices: Sequence[int], images: NDArray[np.uint8]) -> None:
        room = max(0, _CACHE_BYTES // (3 * self.size**2) - len(self._cache))
        self._cache.update(zip(indices[:room], images[:room], strict=True))

    def content(self, index: int) -> bytes:
        """The pixels, row by row in RGB."""
        pixels: bytes = self.arrays([index])[0].tobytes()
        return pixels

    def image(self, index: int) -> Image.Image:
        """The image."""
        return Image.fromarray(self.arrays([index])[0])


@functools.lru_cache(maxsize=2)
def _kept(split: str, size: int, seed: int) -> dict[int, NDArray[np.uint8]]:
    """What was drawn of a split: every model of a run opens it anew."""
    return {}


class _Draws:
    """Random numbers for a chunk of images: each call takes the next 64-bit word of every image."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._next = 0

    def word(self) -> Words:
        self._next += 1
        return self._words[:, self._next - 1]

    def integer(self, count: int) -> NDArray[np.int64]:
        """Uniform in 0 to count - 1, but for a bias of count / 2^53."""
        return ((self.word() >> np.uint64(11)) % np.uint64(count)).astype(np.int64)

    def unit(self, low: float = 0.0, high: float = 1.0) -> Array:
        """Uniform between low and high."""
        fraction: Array = (self.word() >> np.uint64(11)).astype(np.float64) / 2.0**53
        return low + (high - low) * fraction

    def direction(self) -> tuple[Array, Array]:
        """A unit vector by ((1 - t^2), 2t) / (1 + t^2) within 45 degrees, then turned by quarters."""
        t = self.unit(-_TAN_EIGHTH, _TAN_EIGHTH)
        turn = _QUARTER_TURNS[self.integer(4)]
        across, up = (1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)
        return across * turn[:, 0] - up * turn[:, 1], across * turn[:, 1] + up * turn[:, 0]

    def colour(self, luminance: NDArray[np.int64]) -> Array:
        """(image, channel): a luminance with a tint."""
        tint = np.stack([self.integer(121) - 60 for _ in range(3)], axis=1)
        grey = luminance + self.integer(41) - 20
        tint = tint - (tint[:, 0] + tint[:, 1] + tint[:, 2])[:, None] // 3
        tinted: Array = np.clip(grey[:, None] + tint, 0, 255).astype(np.float64)
        return tinted


def _check(split: str, indices: Sequence[int], size: int, seed: int) -> None:
    check_embedded(split)
    if not _SIZES[0] <= size <= _SIZES[1]:
        raise ConfigError(f"size must be {_SIZES[0]} to {_SIZES[1]} pixels for embedded data, not {size}")
    if seed < 0:
        raise ConfigError(f"seed must be 0 or more, not {seed}")
    if len(indices) and not 0 <= min(indices) <= max(indices) < SPLITS[split]:
        raise IndexError(f"embedded {split} has images 0 to {SPLITS[split] - 1}, not {min(indices)} to {max(indices)}")


def _words(split: str, indices: Sequence[int], size: int, seed: int) -> Words:
    """(image, word): the parameters, which so don't depend on the size, then noise for 8 values a word."""
    count = _PARAMETER_WORDS + -(-3 * size * size // 8)
    number = list(SPLITS).index(split)
    # The seed comes last, for only there may numpy split a large integer into several words without a clash.
    streams = [np.random.PCG64(np.random.SeedSequence((number, int(index), seed))) for index in indices]
    return np.stack([stream.random_raw(count) for stream in streams])


def _draw_chunk(
    split: str, indices: Sequence[int], size: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    words = _words(split, indices, size, seed)
    draws = _Draws(words)
    shape, texture = labels(split, indices)
    column = (2.0 * np.arange(size) + 1.0 - size) / size
    x = np.broadcast_to(column[None, None, :], (1, size, size))
    y = np.broadcast_to(-column[None, :, None], (1, size, size))
    luminance = _LUMINANCES[draws.integer(len(_LUMINANCES))]

    canvas = _background(draws, luminance[:, 0], x, y)
    for _ in range(4):
        _paint_clutter(canvas, draws, x, y, shown=0.7, length=(0.12, 0.45), width=(0.05, 0.16))
    within = _paint_object(canvas, draws, shape, texture, luminance, x, y)
    before = _paint_clutter(canvas, draws, x, y, shown=0.5, length=(0.2, 0.5), width=(0.02, 0.05))
    # An edge through a pixel's centre covers half of it.
    masks = np.where((within >= 0.5) & (before < 0.5), shape[:, None, None] + 1, 0).astype(np.uint8)

    amplitude = draws.unit(4.0, 28.0)[:, None, None, None]
    count = 3 * size * size
    # Little-endian bytes by arithmetic, whatever the machine's own order.
    noise_words = words[:, _PARAMETER_WORDS:]
    noise = np.stack([(noise_words >> np.uint64(8 * place)) & np.uint64(255) for place in range(8)], axis=2)
    noise = noise.reshape(len(indices), -1)[:, :count].reshape(len(indices), 3, size, size)
    canvas += amplitude * (noise.astype(np.float64) / 255.0 - 0.5)
    pixels = np.floor(np.minimum(np.maximum(canvas, 0.0), 255.0) + 0.5).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)), masks


def _background(draws: _Draws, luminance: NDArray[np.int64], x: Array, y: Array) -> Array:
    """(image, channel, row, column): a gradient between two colours of about the same luminance."""
    first, second = draws.colour(luminance), draws.colour(luminance)
    across, up = (part[:, None, None] for part in draws.direction())
    share = clip(0.5 + 0.5 * (across * x + up * y))[:, None]
    return first[:, :, None, None] + (second - first)[:, :, None, None] * share


def _paint_clutter(
    canvas: Array,
    draws: _Draws,
    x: Array,
    y: Array,
    *,
    shown: float,
    length: tuple[float, float],
    width: tuple[float, float],
) -> Array:
    """A bar with round ends, of any colour, in a share `shown` of the images; returns how much of a pixel it covers."""
    present = draws.unit() < shown
    colour = draws.colour(20 + draws.integer(216))
    x = x - draws.unit(-1.0, 1.0)[:, None, None]
    y = y - draws.unit(-1.0, 1.0)[:, None, None]
    across, up = (part[:, None, None] for part in draws.direction())
    half = draws.unit(*length)[:, None, None]
    radius = draws.unit(*width)[:, None, None]
    along = np.maximum(np.abs(across * x + up * y) - half, 0.0)
    aside = across * y - up * x
    distance = np.sqrt(along * along + aside * aside) - radius
    cover: Array = _cover(distance, canvas.shape[-1]) * present[:, None, None]
    _blend(canvas, cover, colour[:, :, None, None])
    return cover


def _paint_object(
    canvas: Array,
    draws: _Draws,
    shape: NDArray[np.int64],
    texture: NDArray[np.int64],
    luminance: NDArray[np.int64],
    x: Array,
    y: Array,
) -> Array:
    """A shape with its texture; returns how much of a pixel it covers."""
    first, second = draws.colour(luminance[:, 1]), draws.colour(luminance[:, 2])
    radius = draws.unit(0.42, 0.74)[:, None, None]
    room = 1.0 - 0.9 * radius
    x = x - draws.unit(-1.0, 1.0)[:, None, None] * room
    y = y - draws.unit(-1.0, 1.0)[:, None, None] * room

    across, up = (part[:, None, None] for part in draws.direction())
    inner_x, inner_y = (across * x + up * y) / radius, (across * y - up * x) / radius
    distance = np.empty_like(inner_x)
    for number in range(CLASSES):
        chosen = np.nonzero(shape == number)[0]
        if len(chosen):
            distance[chosen] = outside(number, inner_x[chosen], inner_y[chosen])

    across, up = (part[:, None, None] for part in draws.direction())
    period = draws.unit(0.26, 0.42)[:, None, None]
    phase = draws.unit(-0.3, 0.3)[:, None, None]
    u, v = (across * x + up * y) / period + phase, (across * y - up * x) / period + phase
    key = draws.word()[:, None, None]
    share = np.empty_like(u)
    for number in range(CLASSES):
        chosen = np.nonzero(texture == number)[0]
        if len(chosen):
            share[chosen] = pattern(number, u[chosen], v[chosen], key[chosen])

    colour = first[:, :, None, None] + (second - first)[:, :, None, None] * share[:, None]
    cover = _cover(distance * radius, canvas.shape[-1])
    _blend(canvas, cover, colour)
    return cover


def _cover(distance: Array, size: int) -> Array:
    """The share of a pixel inside an edge at a signed distance, in units of which the image is 2 wide."""
    return clip(0.5 - distance * (0.5 * size))


def _blend(canvas: Array, cover: Array, colour: Array) -> None:
    canvas += cover[:, None] * (colour - canvas)
