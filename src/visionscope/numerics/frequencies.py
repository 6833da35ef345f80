"""Frequencies of the plane: two name one real vector, one of them stands for both."""


def canonical(size: tuple[int, int], frequency: tuple[int, int]) -> tuple[int, int]:
    """Which of (i, j) and (-i, -j) names their common real vector: the first in the order of a centred map.

    Frequencies count from -floor(n / 2); those that differ by n are one.

    Args:
        size: height and width in pixels.
        frequency: periods per height and per width.
    """
    row, column = frequency
    return min(_wrapped(size, (row, column)), _wrapped(size, (-row, -column)))


def _wrapped(size: tuple[int, int], frequency: tuple[int, int]) -> tuple[int, int]:
    row, column = ((k + n // 2) % n - n // 2 for k, n in zip(frequency, size, strict=True))
    return row, column
