"""Where batch, channels, height and width went: symbolic axes that follow a tensor through views and permutations.

An axis is a row-major product of digits. A digit is a range of the mixed-radix expansion of a root (the whole batch,
channel, height or width extent), so that splitting an axis into windows and merging it back gives the same axis again.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

_roots = itertools.count()


@dataclasses.dataclass(frozen=True)
class Digit:
    """The part `(index // stride) % size` of a root's index.

    Attributes:
        root: which extent.
        role: `b`, `c`, `h`, `w`, or `?` for an extent without a place in the image.
        stride: of this digit within the root.
        size: number of values.
    """

    root: int
    role: str
    stride: int
    size: int


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a tensor: tokens in front that have no place in the grid, then the product of the digits."""

    digits: tuple[Digit, ...]
    prefix: int = 0

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.prefix + math.prod(digit.size for digit in self.digits)

    @property
    def roles(self) -> frozenset[str]:
        """The roles of its digits."""
        return frozenset(digit.role for digit in self.digits)


Axes = tuple[Axis, ...]


def fresh(role: str, size: int) -> Axis:
    """An axis over a new extent."""
    return Axis((Digit(next(_roots), role, 1, size),) if size > 1 or role in "hw" else ())


def image_axes(shape: Sequence[int]) -> Axes:
    """The axes of a batch of images (batch, channel, height, width)."""
    return tuple(fresh(role, size) for role, size in zip("bchw", shape, strict=True))


def reshaped(axes: Axes, shape: Sequence[int]) -> Axes | None:
    """The axes after a row-major view to another shape; None where an axis would be cut unevenly.

    Args:
        axes: of the tensor that is viewed.
        shape: of the result.
    """
    if any(axis.prefix for axis in axes):
        return _reshaped_beside_prefix(axes, shape)
    rest = [digit for axis in axes for digit in axis.digits if digit.size > 1]
    result = []
    for size in shape:
        taken: list[Digit] = []
        needed = size
        while needed > 1:
            if not rest:
                return None
            digit = rest.pop(0)
            if digit.size > needed:
                if digit.size % needed:
                    return None
                inner = digit.size // needed
                rest.insert(0, dataclasses.replace(digit, size=inner))
                digit = dataclasses.replace(digit, stride=digit.stride * inner, size=needed)
            elif needed % digit.size:
                return None
            taken.append(digit)
            needed //= digit.size
        result.append(Axis(_joined(taken)))
    return None if rest else tuple(result)


def _reshaped_beside_prefix(axes: Axes, shape: Sequence[int]) -> Axes | None:
    place = next(index for index, axis in enumerate(axes) if axis.prefix)
    before = math.prod(axis.size for axis in axes[:place])
    size = axes[place].size
    for split, width in enumerate(shape):
        if width == size and math.prod(shape[:split]) == before:
            left = reshaped(axes[:place], shape[:split])
            right = reshaped(axes[place + 1 :], shape[split + 1 :])
            return None if left is None or right is None else (*left, axes[place], *right)
    return None


def _joined(digits: Sequence[Digit]) -> tuple[Digit, ...]:
    joined: list[Digit] = []
    for digit in digits:
        last = joined[-1] if joined else None
        if last and last.root == digit.root and last.stride == digit.stride * digit.size:
            joined[-1] = dataclasses.replace(digit, size=last.size * digit.size)
        else:
            joined.append(digit)
    return tuple(joined)


def resized(axis: Axis, size: int) -> Axis:
    """An axis whose extent changed (by a stride, padding or cropping) but not its role; `?` where roles are mixed."""
    if axis.size == size:
        return axis
    roles = axis.roles
    role = next(iter(roles)) if len(roles) == 1 and not axis.prefix else "?"
    return fresh(role, size)


def concatenated(parts: Sequence[Axis]) -> Axis:
    """The axis along which tensors were joined: tokens before the one part that has a grid become its prefix."""
    grids = [index for index, axis in enumerate(parts) if axis.roles & {"h", "w"}]
    size = sum(axis.size for axis in parts)
    if len(grids) == 1 and grids[0] == len(parts) - 1 and {"h", "w"} <= parts[-1].roles:
        return Axis(parts[-1].digits, size - parts[-1].size + parts[-1].prefix)
    roles = frozenset().union(*(axis.roles for axis in parts))
    return fresh(next(iter(roles)) if len(roles) == 1 else "?", size)


def cut(axis: Axis, start: int, stop: int, step: int) -> Axis:
    """The axis after the slice start:stop:step (indices already resolved against its size)."""
    length = len(range(start, stop, step))
    if (start, length) == (0, axis.size) and step == 1:
        return axis
    if axis.prefix and step == 1:
        if stop == axis.size and start <= axis.prefix:
            return Axis(axis.digits, axis.prefix - start)
        if stop <= axis.prefix:
            return fresh("?", length)
    return resized(axis, length)


def is_map(axes: Axes | None) -> bool:
    """Whether batch, height and width are all known, each once, with nothing unknown beside them."""
    if axes is None:
        return False
    digits = [digit for axis in axes for digit in axis.digits]
    roles = {digit.role for digit in digits}
    return {"b", "h", "w"} <= roles and "?" not in roles and len(set(digits)) == len(digits)


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """How to turn a tensor into (batch, channel, height, width).

    Attributes:
        pattern: the tensor's axes, as the left side of an einops pattern.
        target: the right side.
        sizes: of the named parts of height, width and channels; the batch is what remains.
        token_axis: the axis that carries prefix tokens, or None.
        prefix: how many.
        grid: height and width.
        channels: number of channels.
    """

    pattern: str
    target: str
    sizes: tuple[tuple[str, int], ...]
    token_axis: int | None
    prefix: int
    grid: tuple[int, int]
    channels: int


def arrangement(axes: Axes | None) -> Arrangement:
    """The arrangement of a tensor whose axes satisfy `is_map`.

    Args:
        axes: of the tensor.

    Raises:
        ValueError: for axes that do not.
    """
    if axes is None or not is_map(axes):
        raise ValueError(f"axes: batch, height and width must be known, got {axes}")
    names: dict[Digit, str] = {}
    sizes: dict[str, int] = {}
    target = []
    extent = {}
    for role in "bchw":
        digits = sorted(
            (digit for axis in axes for digit in axis.digits if digit.role == role),
            key=lambda digit: (digit.root, -digit.stride),
        )
        for index, digit in enumerate(digits):
            names[digit] = role if len(digits) == 1 else f"{role}{index}"
            if role != "b" or len(digits) > 1:
                sizes[names[digit]] = digit.size
        extent[role] = math.prod(digit.size for digit in digits)
        target.append(_group([names[digit] for digit in digits]))
    pattern = " ".join(_group([names[digit] for digit in axis.digits]) for axis in axes)
    token_axis = next((index for index, axis in enumerate(axes) if axis.prefix), None)
    sizes.pop("b0", None)  # the first part of a split batch is what remains at any batch size
    return Arrangement(
        pattern=pattern,
        target=" ".join(target),
        sizes=tuple(sorted(sizes.items())),
        token_axis=token_axis,
        prefix=0 if token_axis is None else axes[token_axis].prefix,
        grid=(extent["h"], extent["w"]),
        channels=extent["c"],
    )


def _group(names: Sequence[str]) -> str:
    if not names:
        return "1"
    return names[0] if len(names) == 1 else f"({' '.join(names)})"
