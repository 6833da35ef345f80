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
        prefix: class, distillation and register tokens in front of the others, which lie nowhere.
        positions: (windows, tokens, 2), row and column of each other token; one window where all tokens see each other.
        inside: (windows, tokens), False for padding beyond the map's edge.
        grid: rows and columns of the map, without padding.
        step: pixels of the input from one row to the next, and from one column to the next.
    """

    prefix: int
    positions: Tensor
    inside: Tensor
    grid: tuple[int, int]
    step: tuple[float, float]

    @property
    def count(self) -> int:
        """Tokens of one window, the prefix included."""
        return self.prefix + self.positions.shape[1]

    @property
    def pixels(self) -> Tensor:
        """(windows, tokens, 2), the centre of each token in pixels of the input, from its upper left corner."""
        return (self.positions + 0.5) * torch.tensor(self.step, dtype=torch.float64)


class UnplacedError(Exception):
    """Tokens that can't be followed back to the image; the message says why."""


def tokens_of(axis: Axis, leading: Sequence[Axis], grid: tuple[int, int], image: tuple[int, int]) -> Tokens:
    """Places the tokens of one axis.

    A window's place is in the axes in front, a token's place inside its window in its own axis; their sum is the
    token's place on the map. A map that is larger than the point's by less than a window was padded, as all known
    models do it: at the right and at the bottom.

    Args:
        axis: of the tokens.
        leading: the axes in front, which say in which window; others among them do no harm.
        grid: of the point, in positions.
        image: height and width of the input in pixels.

    Raises:
        UnplacedError: for tokens whose way from the image was lost, and for channels that attend to each other.
    """
    if "c" in axis.roles:
        raise UnplacedError("its tokens come from channels, not from places")
    if axis.roles - {"h", "w"}:
        raise UnplacedError("its tokens could not be followed back to the image")
    if not axis.digits and grid != (1, 1):
        raise UnplacedError("a single token, such as the class token, has no place")
    windows = [digit for one in leading for digit in one.digits if digit.role in "hw"]
    places, inside, extents, steps = [], [], [], []
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
        place = (_indices(windows, role)[:, None] + _indices(axis.digits, role)[None]) // unit
        places.append(place)
        inside.append(place < extent)
        extents.append(extent)
        steps.append(pixels / extent)
    return Tokens(
        prefix=axis.prefix,
        positions=torch.stack(places, -1),
        inside=inside[0] & inside[1],
        grid=(extents[0], extents[1]),
        step=(steps[0], steps[1]),
    )


def _indices(digits: Sequence[Digit], role: str) -> Tensor:
    """For each entry of the row-major product of some digits, its index along one side of the map."""
    total = torch.zeros(1, dtype=torch.int64)
    for digit in digits:
        own = torch.arange(digit.size) * (digit.stride if digit.role == role else 0)
        total = (total[:, None] + own[None]).flatten()
    return total
