"""Where attention goes in a convolutional network: the paper's rules (PAPER.md 1.15)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from visionscope.core.rules import MOST_PIXELS, check_rules, rule
from visionscope.errors import ConfigError

_FIRST_HEADS = 3  # and twice as many in each stage that follows: 3, 6, 12, 24 in four
_WIDTH = 0.75  # heads x channels per head, as a share of the last stage's channels in AlterNet-50
_HEAD_DIMS = (16, 64)
_PER_STAGE = "whole numbers, one per stage, such as 0,1,1,1"
_WINDOWS = (4, 12)  # the paper's are 4 on CIFAR and 7 on ImageNet


@dataclasses.dataclass(frozen=True, kw_only=True)
class Placement:
    """How many attention blocks each stage gets, and of what size.

    Inside a stage of n blocks, m of them attention, the order is conv x (n - 2m), then (conv, msa) x m: attention at
    the ends of stages, a convolution block before each. Later stages have more heads and more hidden channels
    (heads x channels per head).

    Attributes:
        msa: m of each stage, from the highest resolution to the lowest.
        extend: blocks that are added at the end of each stage before the order is made; None adds none. The paper adds
            one to the last stage of a ResNet-50.
        window_size: edge of the attention's windows in positions; None takes the last stage's grid, at least 4 and at
            most 12, which gives the paper's 4 for 32 px CIFAR networks and 7 for ImageNet's of 224 px.
        num_heads: of each stage; None is 3, 6, 12, 24 and so on.
        head_dim: channels per head; None makes the last stage's hidden channels 3/4 of its channels, as in the paper's
            AlterNet-50 (64 there), in steps of 8 from 16 to 64.
    """

    msa: tuple[int, ...] = rule(least=0, most=1000, count=(1, 100), words=_PER_STAGE)
    extend: tuple[int, ...] | None = rule(None, least=0, most=1000, count=(1, 100), words=_PER_STAGE)
    window_size: int | None = rule(None, least=1, most=MOST_PIXELS)
    num_heads: tuple[int, ...] | None = rule(None, least=1, most=100_000, count=(1, 100), words=_PER_STAGE)
    head_dim: int | None = rule(None, least=1, most=100_000)

    def __post_init__(self) -> None:
        """Checks what can be checked without a network."""
        check_rules(self)
        for name, numbers in (("extend", self.added()), ("num_heads", self.heads())):
            if len(numbers) != len(self.msa):
                raise ConfigError(
                    f"{name}: must have as many numbers as msa, one per stage; got {_list(numbers)} for msa "
                    f"{_list(self.msa)}. That many would be {len(self.msa)}"
                )
        heads = self.heads()
        if any(later <= earlier for earlier, later in itertools.pairwise(heads)):
            defaults = dataclasses.replace(self, num_heads=None).heads()
            raise ConfigError(
                f"num_heads: must grow from stage to stage, from 1 or more (later stages need more heads); got "
                f"{_list(heads)}. The paper's rule gives {_list(defaults)}"
            )

    def heads(self) -> tuple[int, ...]:
        """Heads of each stage."""
        if self.num_heads is not None:
            return self.num_heads
        return tuple(_FIRST_HEADS * 2**stage for stage in range(len(self.msa)))

    def added(self) -> tuple[int, ...]:
        """Blocks added to each stage."""
        return (0,) * len(self.msa) if self.extend is None else self.extend

    def orders(self, blocks: Sequence[int]) -> tuple[tuple[str, ...], ...]:
        """The order of each stage's blocks, "conv" or "msa" each, the added ones included.

        Args:
            blocks: how many blocks each stage of the network has.

        Raises:
            ConfigError: when the numbers of stages differ, or a stage has too few blocks.
        """
        from visionscope.models.stages import alternate  # brings torch along, which rules do without

        if len(blocks) != len(self.msa):
            raise ConfigError(
                f"msa must have one number per stage; got {len(self.msa)} ({_list(self.msa)}) for {len(blocks)} stages "
                f"of {_list(blocks)} blocks. A valid choice is {_list(self._nearest(blocks))}"
            )
        orders = []
        for stage, (given, added, msa) in enumerate(zip(blocks, self.added(), self.msa, strict=True), start=1):
            total = given + added
            if 2 * msa > total:
                raise ConfigError(
                    f"msa of stage {stage} must be at most half of its blocks, since a convolution block goes before "
                    f"each attention block (2m <= n); got m = {msa} with n = {total}. The largest is {total // 2}"
                )
            orders.append(alternate(total, msa))
        return tuple(orders)

    def head_dim_for(self, channels: int) -> int:
        """Channels per head.

        Args:
            channels: of the last stage.
        """
        if self.head_dim is not None:
            return self.head_dim
        smallest, largest = _HEAD_DIMS
        return min(largest, max(smallest, 8 * round(_WIDTH * channels / self.heads()[-1] / 8)))

    def window_size_for(self, grid: tuple[int, int]) -> int:
        """Edge of the windows.

        Args:
            grid: of the last stage.
        """
        if self.window_size is not None:
            return self.window_size
        smallest, largest = _WINDOWS
        return min(largest, max(smallest, *grid))

    def _nearest(self, blocks: Sequence[int]) -> tuple[int, ...]:
        """Numbers for as many stages, counted from the last, where attention matters most."""
        padded = (0,) * len(blocks) + self.msa
        return tuple(min(msa, count // 2) for msa, count in zip(padded[-len(blocks) :], blocks, strict=True))


def _list(values: Sequence[int]) -> str:
    return ",".join(map(str, values))
