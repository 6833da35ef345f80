"""Slow twins of the p over flips of sign and of Holm's rule, in exact fractions and by definition."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import product


def sign_flip_by_hand(values: Sequence[Fraction]) -> Fraction:
    """Share of all choices of signs whose sum is at least as far from zero, counted one by one."""
    observed = abs(sum(values, Fraction(0)))
    sums = [
        abs(sum((sign * value for sign, value in zip(signs, values, strict=True)), Fraction(0)))
        for signs in product((1, -1), repeat=len(values))
    ]
    return Fraction(sum(one >= observed for one in sums), len(sums))


def holm_rejects(chances: Sequence[float], level: float) -> list[bool]:
    """Holm's step-down test by its words: compare the smallest p with level / m, the next with level / (m - 1), ..."""
    rejected = [False] * len(chances)
    for step, index in enumerate(sorted(range(len(chances)), key=lambda place: chances[place])):
        if not chances[index] < level / (len(chances) - step):
            break
        rejected[index] = True
    return rejected
