"""What each mixer costs, counted by hand: multiply-accumulates of one map of `dim` channels and height x width.

A mixer of which a setting changes a fact or a cost stands here once with each, as in `name(setting=value)`, and is then
held to all that a mixer is held to.
"""

import math
from collections.abc import Callable


def halved(dim: int, height: int, width: int, *, times: int = 2) -> float:
    """Each time 4 taps across in every row, then 4 down; the next map has a quarter of the positions."""
    once = dim * (width / 2) * (height * 4 + height / 2 * 4)
    return sum(once / 4**level for level in range(times))


def pyramid(dim: int, height: int, width: int) -> float:
    """Halved twice, and both raised to the whole map from 4 neighbours."""
    return halved(dim, height, width) + 2 * dim * height * width * 4


def _real_fourier(dim: int, height: int, width: int) -> float:
    """5/4 n log2 n a channel, half of what complex points cost."""
    return 1.25 * dim * height * width * math.log2(height * width)


def _spectral_network(dim: int, height: int, width: int) -> float:
    """Two layers at each frequency of the half spectrum; a complex product is four real ones, in four blocks."""
    return height * (width // 2 + 1) * 2 * 4 * dim * (dim / 4)


def _attention(dim: int, queries: int, keys: int) -> float:
    """Scores and weighted values, over all heads together."""
    return 2 * dim * queries * keys


MACS: dict[str, Callable[[int, int, int], float]] = {
    # There and back.
    "aff": lambda dim, height, width: 2 * _real_fourier(dim, height, width) + _spectral_network(dim, height, width),
    "afno": lambda dim, height, width: 2 * _real_fourier(dim, height, width) + _spectral_network(dim, height, width),
    # Distances over the channels; the weighted sum, across and then down; the sum of weights likewise; and the sums by
    # which the two kernels are divided in each pass.
    "bilateral": lambda dim, height, width: height * width * (dim * 25 + dim * (25 + 5) + 25 + 5) + 5 + 5,
    "blur_pool": lambda dim, height, width: dim * height * width * 9,
    # The sequence of positions by channels is one real map.
    "fnet": lambda dim, height, width: _real_fourier(1, dim, height * width),
    # Query, context and four gates; kernels of 3, 5 and 7; the mean; one linear map.
    "focal": lambda dim, height, width: height * width * (dim * (2 * dim + 4) + dim * (9 + 25 + 49) + dim + dim * dim),
    # 7 taps across and 7 down; the kernel is divided by its sum in each pass.
    "gaussian": lambda dim, height, width: dim * height * width * 14 + 7,
    # Logits of three scales; sigma = 1 has 7 taps a side, sigma = 2 has 13.
    "gaussian_scale_space": lambda dim, height, width: dim * height * width * (3 + 2 * 7 + 2 * 13),
    # Of the half spectrum's gains, real and imaginary, each is bilinear: of 4.
    "gfnet": lambda dim, height, width: 2 * _real_fourier(dim, height, width) + 4 * 2 * dim * height * (width // 2 + 1),
    "global_attention": lambda dim, height, width: (
        3 * dim * dim * height * width + _attention(dim, height * width, height * width)
    ),
    # Four means over 5 x 5: of x, its square, a and b, each across and then down.
    "guided": lambda dim, height, width: dim * height * width * 4 * (5 + 5),
    # Ten by ten keys for each position, and nineteen relative rows and columns.
    "halo": lambda dim, height, width: (
        3 * dim * dim * height * width + _attention(dim, height * width, 100) + 2 * 19 * dim * height * width
    ),
    # Half of the channels in windows of four; half to a quarter of the positions; the means themselves.
    "hilo": lambda dim, height, width: (
        height
        * width
        * (3 * dim * dim / 2 + _attention(dim // 2, 1, 4) + dim + dim * dim / 2 + 2 * dim * (dim / 2) / 4)
        + _attention(dim // 2, height * width, height * width // 4)
    ),
    "identity": lambda dim, height, width: 0,
    # Four kernels of 49 from a quarter of the channels, and their sums.
    "involution": lambda dim, height, width: height * width * (dim * dim / 4 + dim / 4 * 4 * 49 + dim * 49),
    # With 4 clusters: their first means and norms; distances, centres and means of these.
    "kmeans": lambda dim, height, width: dim * height * width + 4 * dim + 3 * 4 * dim * height * width,
    # Keys of 16; queries for four heads; values of a quarter of the channels; then keys by values, queries by that,
    # kernels of 81 for each key and value, and queries by these.
    "lambda": lambda dim, height, width: (
        height * width * (dim * (4 * 16 + 16 + dim / 4) + (1 + 4 + 81 + 4) * 16 * dim / 4)
    ),
    "large_kernel": lambda dim, height, width: dim * height * width * 49,
    "learned_blur": lambda dim, height, width: dim * height * width * 25,
    "neighbourhood": lambda dim, height, width: (  # dense: a mask saves nothing
        3 * dim * dim * height * width + _attention(dim, height * width, height * width)
    ),
    # Three linear maps to half of the channels, one back.
    "nonlocal": lambda dim, height, width: (
        4 * dim * dim / 2 * height * width + _attention(dim // 2, height * width, height * width)
    ),
    # Norms; for all pairs the product over one more channel, and the weighted sum.
    "nonlocal_means": lambda dim, height, width: dim * height * width + (height * width) ** 2 * (2 * dim + 1),
    # Queries of all positions; means, keys and values of a quarter.
    "pooled_attention": lambda dim, height, width: (
        height * width * (dim * dim + dim + 2 * dim * dim / 4) + _attention(dim, height * width, height * width // 4)
    ),
    "pooling": lambda dim, height, width: dim * height * width * 9,
    # In windows of 4 x 4 every position is a sum over 16.
    "random": lambda dim, height, width: dim * height * width * 16,
    "scale_decomposition": pyramid,
    "scale_decomposition(gates=channel)": lambda dim, height, width: (
        pyramid(dim, height, width) + dim * height * width + dim * dim / 4 + dim / 4 * 3 * dim
    ),
    "scale_decomposition(gates=position)": lambda dim, height, width: (
        pyramid(dim, height, width) + 3 * dim * height * width
    ),
    # To twice the channels, 7 x 7 on these, and back.
    "sep_conv": lambda dim, height, width: height * width * (2 * dim * dim + 2 * dim * 49 + 2 * dim * dim),
    # A kernel of 9 at a half and a quarter of the edges; from 4 neighbours raised to all and to a half.
    "unet": lambda dim, height, width: (
        halved(dim, height, width) + dim * height * width * (9 * (1 / 4 + 1 / 16) + 4 * (1 + 1 / 4))
    ),
}
