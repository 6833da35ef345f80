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
        extent: of the root.
        shift: what a roll along the whole side added to the index, modulo `cycle`: index i lies where i + shift did.
        cycle: length of the side that was rolled; what lies beyond was padded afterwards. 0 where none was.
    """

    root: int
    role: str
    stride: int
    size: int
    extent: int
    shift: int = 0
    cycle: int = 0


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a tensor: the row-major product of its digits, or some of its values in another order.

    Attributes:
        digits: whose product the axis is.
        entries: for each entry of the axis its index in that product, -1 for a token without a place in the grid (class
            and register tokens); None where the axis is the product itself.
        transformed: whether the entries are frequencies, not places.
    """

    digits: tuple[Digit, ...]
    entries: tuple[int, ...] | None = None
    transformed: bool = False

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(digit.size for digit in self.digits) if self.entries is None else len(self.entries)

    @property
    def roles(self) -> frozenset[str]:
        """The roles of its digits."""
        return frozenset(digit.role for digit in self.digits)

    @property
    def is_plain(self) -> bool:
        """Whether it is the product of its digits, which views may split and merge."""
        return self.entries is None and not self.transformed

    @property
    def placeless(self) -> tuple[int, ...]:
        """Which entries have no place in the grid."""
        return tuple(index for index, entry in enumerate(self.entries or ()) if entry < 0)

    @property
    def order(self) -> tuple[int, ...] | None:
        """Which entry holds each value of the product; None where one is missing or there twice."""
        size = math.prod(digit.size for digit in self.digits)
        if self.entries is None:
            return tuple(range(size))
        places = {entry: index for index, entry in enumerate(self.entries) if entry >= 0}
        if len(places) != size or len(self.entries) - len(self.placeless) != size:
            return None
        return tuple(places[value] for value in range(size))


Axes = tuple[Axis, ...]


def fresh(role: str, size: int) -> Axis:
    """An axis over a new extent."""
    # A side of one position is a side still; any other axis of size 1 holds nothing to follow.
    return Axis((Digit(next(_roots), role, 1, size, size),) if size > 1 or role in "hw" else ())


def image_axes(shape: Sequence[int]) -> Axes:
    """The axes of a batch of images (batch, channel, height, width)."""
    return tuple(fresh(role, size) for role, size in zip("bchw", shape, strict=True))


def reshaped(axes: Axes, shape: Sequence[int]) -> Axes | None:
    """The axes after a row-major view to another shape; None where an axis would be cut unevenly.

    Args:
        axes: of the tensor that is viewed.
        shape: of the result.
    """
    if not all(axis.is_plain for axis in axes):
        return _reshaped_beside(axes, shape)
    # All digits in row-major order are dealt out to the new axes; one in which an axis ends is cut there.
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


def _reshaped_beside(axes: Axes, shape: Sequence[int]) -> Axes | None:
    """The same where an axis that is no plain product stays whole."""
    place = next(index for index, axis in enumerate(axes) if not axis.is_plain)
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
    """An axis whose extent changed (by a stride, padding or cropping) but not its role.

    `?` where roles are mixed, where an inner part of a side changed, and for the batch: other images than those given.
    """
    if axis.size == size:
        return axis
    roles = axis.roles
    outer = len(axis.digits) == 1 and axis.digits[0].stride * axis.digits[0].size == axis.digits[0].extent
    kept = len(roles) == 1 and axis.is_plain and (roles == {"c"} or (outer and roles <= {"h", "w"}))
    if not kept:
        return fresh("?", size)
    new = fresh(next(iter(roles)), size)
    old = axis.digits[0]
    shift, cycle = old.shift // old.stride, old.cycle // old.stride
    if cycle and size >= cycle:  # padded, or cropped to what was rolled
        return Axis(tuple(dataclasses.replace(digit, shift=shift, cycle=cycle) for digit in new.digits))
    return new


def is_whole_side(axis: Axis) -> bool:
    """Whether it is the whole height or width of a map, in order; of a merged map all places that are left."""
    plain = len(axis.digits) == 1 and axis.is_plain and axis.roles <= {"h", "w"}
    return plain and axis.digits[0].stride * axis.digits[0].size == axis.digits[0].extent


def rolled_side(axis: Axis, shift: int) -> Axis:
    """A whole side after `torch.roll` by some entries: entry i is what entry i - shift was.

    Args:
        axis: that satisfies `is_whole_side`.
        shift: as `torch.roll` takes it.
    """
    (digit,) = axis.digits
    if digit.cycle not in {0, digit.extent}:
        return axis  # rolled, padded and rolled again: a map still, but its places are those of the last roll
    back = (digit.shift - shift * digit.stride) % digit.extent
    return Axis((dataclasses.replace(digit, shift=back, cycle=digit.extent if back else 0),))


def layout(axes: Axes) -> tuple[object, ...]:
    """What must agree for two tensors of one shape to have the same place of the image in the same entry."""
    return tuple(
        (tuple((digit.role, digit.stride, digit.size) for digit in axis.digits if digit.role in "hw"), axis.entries)
        for axis in axes
    )


def is_placed(axis: Axis) -> bool:
    """Whether its entries are places of the image or tokens beside them."""
    return bool(axis.roles & {"h", "w"})


def rearranged(axis: Axis, index: Sequence[int]) -> Axis:
    """The axis whose entry i is entry index[i] of the given one: a permutation, a selection, a repetition.

    Args:
        axis: with places of the image.
        index: into its entries, none negative.
    """
    entries = range(axis.size) if axis.entries is None else axis.entries
    return _ordered(axis, tuple(entries[place] for place in index))


def _ordered(axis: Axis, entries: tuple[int, ...]) -> Axis:
    if entries and max(entries) < 0:
        return fresh("?", len(entries))
    whole = entries == tuple(range(math.prod(digit.size for digit in axis.digits)))
    return dataclasses.replace(axis, entries=None if whole else entries)


def concatenated(parts: Sequence[Axis]) -> Axis:
    """The axis along which tensors were joined: pieces of one grid come together, other tokens stand beside them."""
    grids = [axis for axis in parts if is_placed(axis)]
    size = sum(axis.size for axis in parts)
    same = len({(axis.digits, axis.transformed) for axis in grids}) == 1
    if same and ({"h", "w"} <= grids[0].roles or any(axis.entries is not None for axis in grids)):
        entries: list[int] = []
        for axis in parts:
            here = range(axis.size) if axis.entries is None else axis.entries
            entries += here if is_placed(axis) else [-1] * axis.size
        return _ordered(grids[0], tuple(entries))
    roles = frozenset().union(*(axis.roles for axis in parts))
    return fresh(next(iter(roles)) if roles == {"c"} else "?", size)


def cut(axis: Axis, start: int, stop: int, step: int) -> Axis:
    """The axis after the slice start:stop:step (indices already resolved against its size)."""
    index = range(start, stop, step)
    if (start, len(index)) == (0, axis.size) and step == 1:
        return axis
    if not is_placed(axis) or (len(axis.roles) == 1 and axis.entries is None):
        return resized(axis, len(index))  # a crop, or every second row, is a smaller grid
    return rearranged(axis, index)


def is_map(axes: Axes | None) -> bool:
    """Whether batch, height and width are all known, each once and whole, with nothing unknown beside them."""
    if axes is None:
        return False
    digits = [digit for axis in axes for digit in axis.digits]
    roles = {digit.role for digit in digits}
    known = {"b", "h", "w"} <= roles and "?" not in roles and len(set(digits)) == len(digits)
    # Pieces of a side whose extents changed apart from each other are no side any more.
    known = known and all(len({digit.root for digit in digits if digit.role == role}) < 2 for role in "hw")
    return known and all(axis.is_plain or (axis.order is not None and not axis.transformed) for axis in axes)


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """How to turn a tensor into (batch, channel, height, width).

    Attributes:
        pattern: the tensor's axes, as the left side of an einops pattern.
        target: the right side.
        sizes: of the named parts of height, width and channels; the batch is what remains.
        selected: by axis, which entries lie in the grid, in its order; axes of which all do, in order, are not there.
        placeless: how many entries do not (class, distillation and register tokens).
        grid: height and width.
        channels: number of channels.
    """

    pattern: str
    target: str
    sizes: tuple[tuple[str, int], ...]
    selected: tuple[tuple[int, tuple[int, ...]], ...]
    placeless: int
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
    selected = tuple((index, axis.order or ()) for index, axis in enumerate(axes) if axis.entries is not None)
    sizes.pop("b0", None)  # the first part of a split batch is what remains at any batch size
    return Arrangement(
        pattern=pattern,
        target=" ".join(target),
        sizes=tuple(sorted(sizes.items())),
        selected=selected,
        placeless=sum(len(axis.placeless) for axis in axes),
        grid=(extent["h"], extent["w"]),
        channels=extent["c"],
    )


def _group(names: Sequence[str]) -> str:
    if not names:
        return "1"
    return names[0] if len(names) == 1 else f"({' '.join(names)})"
