"""Controls: what stands in the slot and learns nothing about where to look."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionscope.core.rules import rule, seed_rule
from visionscope.models.mixers.mixer import LowPass, Mixer, register


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Identity(Mixer):
    """Nothing: two 1x1 convolutions in a row (the identity baseline of Yu et al. 2022, arXiv:2210.13452)."""

    name: ClassVar[str] = "identity"
    does: ClassVar[str] = "y = x"
    source: ClassVar[str] = "a control; Yu et al. 2022, arXiv:2210.13452"
    low_pass: ClassVar[LowPass] = "never"
    data_specific: ClassVar[bool] = False

    def reach(self) -> int | None:
        """No other position."""
        return 0

    def build(self, dim: int) -> nn.Module:
        """Torch's."""
        return nn.Identity()


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class RandomMixing(Mixer):
    """A fixed random mean over a window: y_i = sum_j softmax_j(R_ij) x_j with normal R that is never trained.

    After the random mixing of Yu et al. 2022 (arXiv:2210.13452), which is over the whole map and needs to know its
    size. Here it is over windows like those of local attention, so that any size works; beyond the edge lie the edge's
    values.

    Attributes:
        window_size: edge of the windows, in positions.
        seed: of R.
    """

    name: ClassVar[str] = "random"
    does: ClassVar[str] = "y_i = sum_j softmax_j(R_ij) x_j in windows, R fixed"
    source: ClassVar[str] = "a control; Yu et al. 2022, arXiv:2210.13452"
    low_pass: ClassVar[LowPass] = "always"
    data_specific: ClassVar[bool] = False
    window_size: int = rule(4, least=1, most=64)
    seed: int = seed_rule(0)

    def reach(self) -> int | None:
        """From edge to edge of a window."""
        return self.window_size - 1

    def build(self, dim: int) -> nn.Module:
        """One matrix for all channels."""
        return _RandomMixing(self.window_size, self.seed)


class _RandomMixing(nn.Module):
    matrix: Tensor

    def __init__(self, window_size: int, seed: int) -> None:
        super().__init__()
        self.window_size = window_size
        generator = torch.Generator("cpu").manual_seed(seed)
        area = window_size**2
        drawn = torch.randn(area, area, generator=generator, device="cpu")
        # Persistent: weights of a network must hold all that it computes with.
        self.register_buffer("matrix", drawn.softmax(1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, c, h, w) to the same."""
        batch, channels, height, width = x.shape
        size = self.window_size
        bottom, right = -height % size, -width % size
        x = F.pad(x, (0, right, 0, bottom), mode="replicate")
        down, across = (height + bottom) // size, (width + right) // size
        x = x.reshape(batch, channels, down, size, across, size).transpose(3, 4)
        x = x.reshape(batch, channels, down, across, size * size) @ self.matrix.T
        x = x.reshape(batch, channels, down, across, size, size).transpose(3, 4)
        return x.reshape(batch, channels, down * size, across * size)[:, :, :height, :width]
