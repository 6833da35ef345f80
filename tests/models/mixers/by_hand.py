"""What each mixer costs, counted by hand: multiply-accumulates of one map of `dim` channels and height x width.

A mixer of which a setting changes a fact or a cost stands here once with each, as in `name(setting=value)`, and is then
held to all that a mixer is held to.
"""

from collections.abc import Callable


def halved(dim: int, height: int, width: int, *, times: int = 2) -> float:
    """Each time 4 taps across in every row, then 4 down; the next map has a quarter of the positions."""
    once = dim * (width / 2) * (height * 4 + height / 2 * 4)
    return sum(once / 4**level for level in range(times))


def pyramid(dim: int, height: int, width: int) -> float:
    """Halved twice, and both raised to the whole map from 4 neighbours."""
    return halved(dim, height, width) + 2 * dim * height * width * 4


MACS: dict[str, Callable[[int, int, int], float]] = {
    # Distances over the channels; the weighted sum, across and then down; the sum of weights likewise; and the sums by
    # which the two kernels are divided in each pass.
    "bilateral": lambda dim, height, width: height * width * (dim * 25 + dim * (25 + 5) + 25 + 5) + 5 + 5,
    "blur_pool": lambda dim, height, width: dim * height * width * 9,
    # 7 taps across and 7 down; the kernel is divided by its sum in each pass.
    "gaussian": lambda dim, height, width: dim * height * width * 14 + 7,
    # Logits of three scales; sigma = 1 has 7 taps a side, sigma = 2 has 13.
    "gaussian_scale_space": lambda dim, height, width: dim * height * width * (3 + 2 * 7 + 2 * 13),
    # Four means over 5 x 5: of x, its square, a and b, each across and then down.
    "guided": lambda dim, height, width: dim * height * width * 4 * (5 + 5),
    "identity": lambda dim, height, width: 0,
    # With 4 clusters: their first means and norms; distances, centres and means of these.
    "kmeans": lambda dim, height, width: dim * height * width + 4 * dim + 3 * 4 * dim * height * width,
    "large_kernel": lambda dim, height, width: dim * height * width * 49,
    "learned_blur": lambda dim, height, width: dim * height * width * 25,
    # Norms; for all pairs the product over one more channel, and the weighted sum.
    "nonlocal_means": lambda dim, height, width: dim * height * width + (height * width) ** 2 * (2 * dim + 1),
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
    # A kernel of 9 at a half and a quarter of the edges; from 4 neighbours raised to all and to a half.
    "unet": lambda dim, height, width: (
        halved(dim, height, width) + dim * height * width * (9 * (1 / 4 + 1 / 16) + 4 * (1 + 1 / 4))
    ),
}
