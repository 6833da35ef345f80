"""The slot of a mixer: between two 1x1 convolutions, as wide as gives it the parameters of attention in its place."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from visionscope.errors import ConfigError
from visionscope.models.mixers.mixer import Mixer, mixer_of

__all__ = ["MixerSlot", "mixer_width"]

_WIDEST = 4
"""How many times as wide as the attention's heads together a slot is at most."""


class MixerSlot(nn.Module):
    """A mixer and the 1x1 convolution behind it: what stands where `LocalAttention` stands in a block.

    The 1x1 convolution before it is the block's own, which makes the `width` channels.

    Args:
        mixer: as `mixer_of` reads it.
        width: channels that are mixed.
        out_chs: channels of the output.

    Raises:
        ConfigError: for a mixer that there is not, or a width that it does not take.
    """

    def __init__(self, mixer: str, width: int, out_chs: int) -> None:
        super().__init__()
        kind = mixer_of(mixer)
        if width % kind.step:
            down = max(kind.step, width // kind.step * kind.step)
            raise ConfigError(f"mixer {kind.name}: width must be a multiple of {kind.step}; got {width}. Take {down}")
        self.mix = kind.build(width)
        self.proj = nn.Conv2d(width, out_chs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, width, h, w) to (b, out_chs, h, w)."""
        y: Tensor = self.proj(self.mix(x))
        return y


@functools.cache
def mixer_width(
    mixer: str, in_chs: int, out_chs: int, *, mid_chs: int, num_heads: int, head_dim: int, window_size: int, tables: int
) -> int:
    """The width at which a mixer's branch has most nearly as many parameters as attention in its place.

    Attention's branch has `in_chs mid_chs + 2 mid_chs + 3 n mid_chs + n out_chs + out_chs + tables (2 p - 1)^2`
    parameters, with n = `num_heads head_dim` and windows of p x p; that of a mixer
    `in_chs w + 2 w + P(w) + w out_chs + out_chs`, where P(w) are the mixer's own. Of two widths that are equally near
    the smaller is taken.

    Args:
        mixer: as `mixer_of` reads it.
        in_chs: channels before the block.
        out_chs: channels behind it.
        mid_chs: channels that attention would see.
        num_heads: its heads.
        head_dim: their channels.
        window_size: edge of its windows.
        tables: of relative positions.
    """
    inner = num_heads * head_dim
    target = mid_chs * (in_chs + 2 + 3 * inner) + (inner + 1) * out_chs + tables * (2 * window_size - 1) ** 2
    kind = mixer_of(mixer)

    def parameters(steps: int) -> int:
        width = steps * kind.step
        return width * (in_chs + 2 + out_chs) + out_chs + _own(kind, width)

    low, high = 1, max(2, _WIDEST * inner // kind.step)
    while high - low > 1:  # P(w) never falls with w
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(middle) <= target else (low, middle)
    return kind.step * min((low, high), key=lambda steps: abs(parameters(steps) - target))


@functools.cache
def _own(kind: Mixer, width: int) -> int:
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return sum(parameter.numel() for parameter in kind.build(width).parameters())
