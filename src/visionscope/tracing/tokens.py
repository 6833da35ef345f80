"""Where the tokens of an attention lie on the image, read off the symbolic axes that tracing followed to them."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from visionscope.tracing.axes import Axis, Digit


@dataclasses.dataclass(frozen=True, eq=False)
class Tokens:
    """Where the queries or the keys of one attention lie.

    Attributes:
        order: which token of the attention stands where: first those that lie nowhere, then the others.
        prefix: class, distillation and register tokens, which lie nowhere.
        positions: (windows, tokens, 2), row and column of each other token; one window where all tokens see each other.
        inside: (windows, tokens), False for padding beyond the map's edge.
        grid: rows and columns of the map, without padding; (0, 0) where no token's place is known.
        step: pixels of the input from one row to the next, and from one column to the next.
        side: (windows, tokens), equal for tokens of a window that lie on the same side of the image's edge, where a
            shifted window wraps around it; 0 everywhere else.
    """

    order: tuple[int, ...]
    prefix: int
    positions: Tensor
    inside: Tensor
    grid: tuple[int, int]
    step: tuple[float, float]
    side: Tensor

    @property
    def count(self) -> int:
        """Tokens of one window, the prefix included."""
        return self.prefix + self.positions.shape[1]

    @property
    def are_placed(self) -> bool:
        """Whether it is known where they lie."""
        return self.grid != (0, 0)

    @property
    def pixels(self) -> Tensor:
        """(windows, tokens, 2), the centre of each token in pixels of the input, from its upper left corner."""
        return (self.positions + 0.5) * torch.tensor(self.step, dtype=torch.float64)


class UnreadableError(Exception):
    """Attention that can't be read; the message says why."""


class UnplacedError(Exception):
    """Tokens that can't be followed back to the image; the message says why."""


def unplaced(count: int, windows: int) -> Tokens:
    """Tokens of which it is not known where they lie, such as those that a network merged or chose.

    Args:
        count: of one window.
        windows: how many there are.
    """
    positions = torch.zeros((windows, count, 2), dtype=torch.int64)
    inside = torch.ones((windows, count), dtype=torch.bool)
    return Tokens(
        tuple(range(count)), 0, positions, inside, (0, 0), (0.0, 0.0), torch.zeros_like(inside, dtype=torch.int64)
    )


def tokens_of(axis: Axis, leading: Sequence[Axis], grid: tuple[int, int], image: tuple[int, int]) -> Tokens:
    """Places the tokens of one axis.

    A window's place is in the axes in front, a token's place inside its window in its own axis; their sum is the
    token's place on the map. Where the map was rolled (shifted windows), the roll is taken back. A map that is larger
    than the point's by less than a window was padded, as all known models do it: at the right and at the bottom.

    Args:
        axis: of the tokens.
        leading: the axes in front, which say in which window; others among them do no harm.
        grid: of the point, in positions; (0, 0) where it has none.
        image: height and width of the input in pixels.

    Raises:
        UnreadableError: for channels that attend to each other, and a class token that attends alone.
        UnplacedError: for tokens whose way from the image was lost.
    """
    if "c" in axis.roles:
        raise UnreadableError("its tokens come from channels, not from places")
    if axis.roles - {"h", "w"}:
        raise UnplacedError("its tokens could not be followed back to the image")
    if not axis.digits and grid not in {(1, 1), (0, 0)}:
        raise UnreadableError("a single token, such as the class token, has no place")
    if grid == (0, 0) or axis.transformed:
        raise UnplacedError("its tokens could not be followed back to the image")
    windows = [digit for one in leading for digit in one.digits if digit.role in "hw"]
    entries = tuple(range(axis.size)) if axis.entries is None else axis.entries
    own_place = torch.tensor([entry for entry in entries if entry >= 0])
    places, inside, sides, extents, steps = [], [], [], [], []
    for role, across, pixels in zip("hw", grid, image, strict=True):
        own = [digit for digit in axis.digits if digit.role == role]
        outer = [digit for digit in windows if digit.role == role]
        if len({digit.root for digit in (*own, *outer)}) > 1:
            raise UnplacedError("its tokens could not be followed back to the image")
        # Patch merging puts the last digits of a place into the channels: what is left counts in larger steps.
        unit = min((digit.stride for digit in (*own, *outer)), default=1)
        extent = max((digit.stride * digit.size for digit in (*own, *outer)), default=unit) // unit
        window = max((digit.stride * digit.size for digit in own), default=unit) // unit
        padded = bool(outer) and across < extent < across + max(window, 2)
        extent = across if padded else extent
        raw = _indices(windows, role)[:, None] + _indices(axis.digits, role)[own_place][None]
        raw, wrapped = _rolled_back(raw, (*own, *outer))
        place = raw // unit
        places.append(place)
        sides.append(wrapped)
        inside.append(place < extent)
        extents.append(extent)
        steps.append(pixels / extent)
    beside = axis.placeless
    return Tokens(
        order=(*beside, *(index for index, entry in enumerate(entries) if entry >= 0)),
        prefix=len(beside),
        positions=torch.stack(places, -1),
        inside=inside[0] & inside[1],
        grid=(extents[0], extents[1]),
        step=(steps[0], steps[1]),
        side=2 * sides[0] + sides[1],
    )


def _rolled_back(index: Tensor, digits: Sequence[Digit]) -> tuple[Tensor, Tensor]:
    """Indices along a side before it was rolled, and 1 where the roll had carried one around the edge."""
    shift, cycle = max(((digit.shift, digit.cycle) for digit in digits), default=(0, 0))
    rolled = (index < cycle).long()
    wrapped = rolled * (index + shift >= cycle)
    return index + rolled * shift - wrapped * cycle, wrapped


def _indices(digits: Sequence[Digit], role: str) -> Tensor:
    """For each entry of the row-major product of some digits, its index along one side of the map."""
    total = torch.zeros(1, dtype=torch.int64)
    for digit in digits:
        own = torch.arange(digit.size) * (digit.stride if digit.role == role else 0)
        total = (total[:, None] + own[None]).flatten()
    return total
