"""What each mixer costs, counted by hand: multiply-accumulates of one map of `dim` channels and height x width.

A mixer of which a setting changes a fact or a cost stands here once with each, as in `name(setting=value)`, and is then
held to all that a mixer is held to.
"""

from collections.abc import Callable

MACS: dict[str, Callable[[int, int, int], float]] = {
    "identity": lambda dim, height, width: 0,
    "large_kernel": lambda dim, height, width: dim * height * width * 49,
    "learned_blur": lambda dim, height, width: dim * height * width * 25,
    # In windows of 4 x 4 every position is a sum over 16.
    "random": lambda dim, height, width: dim * height * width * 16,
}
