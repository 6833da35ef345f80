"""Kernels and gates that each position makes for itself, and the convolution that they are compared with."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch.nn.functional as F
from timm.models.focalnet import FocalModulation
from timm.models.metaformer import SepConv
from torch import Tensor, nn

from visionscope.core.rules import rule
from visionscope.models.mixers.mixer import LowPass, Mixer, register

_GROUPS = 4
_ODD = tuple(range(3, 64, 2))


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class SeparableConvolution(Mixer):
    """timm's inverted separable convolution, the mixer of ConvFormer (Yu et al. 2022, arXiv:2210.13452).

        y = W_2 (k * a(W_1 x))

    with twice as many channels inside, a depthwise kernel k and a(u) = s relu(u)^2 + b with learned numbers s and b.
    Beyond the edge are zeros. What makes it depend on the data is a alone.

    Attributes:
        kernel_size: edge of the kernel, odd.
    """

    name: ClassVar[str] = "sep_conv"
    does: ClassVar[str] = "1x1, squared ReLU, depthwise 7x7, 1x1"
    source: ClassVar[str] = "Sandler et al. 2018, arXiv:1801.04381; Yu et al. 2022, arXiv:2210.13452"
    library: ClassVar[str] = "timm.models.metaformer.SepConv"
    low_pass: ClassVar[LowPass] = "can be"
    data_specific: ClassVar[bool] = True
    kernel_size: int = rule(7, choices=_ODD, words="an odd number from 3 to 63")

    def reach(self) -> int | None:
        """Half a kernel."""
        return self.kernel_size // 2

    def build(self, dim: int) -> nn.Module:
        """The layer of timm."""
        layer: nn.Module = SepConv(dim, kernel_size=self.kernel_size, padding=self.kernel_size // 2)
        return layer


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Focal(Mixer):
    """timm's focal modulation: each position's query times a gated sum of contexts (Yang et al. 2022).

        y = q(x) . W sum_l g_l(x) z_l,  z_l = gelu(k_l * z_l-1),  z_0 = z(x),  z_L+1 = gelu(mean of z_L)

    q, z and the gates g are linear, k_l depthwise kernels that grow by 2 per level (arXiv:2203.11926, eq. 3 to 6).
    The published last linear map is left out: the 1x1 convolution of the slot is in its place. On noise its response is
    nearly flat: the query, which differs from position to position, undoes what the kernels blur, but for its bias.

    Attributes:
        window: edge of the first kernel, odd.
        levels: L, contexts beside the mean of the map.
    """

    name: ClassVar[str] = "focal"
    does: ClassVar[str] = "a query times a gated sum of contexts of 3x3 kernels and wider"
    source: ClassVar[str] = "Yang et al. 2022, arXiv:2203.11926"
    library: ClassVar[str] = "timm.models.focalnet.FocalModulation"
    low_pass: ClassVar[LowPass] = "can be"
    data_specific: ClassVar[bool] = True
    window: int = rule(3, choices=_ODD, words="an odd number from 3 to 63")
    levels: int = rule(3, least=1, most=8)

    def reach(self) -> int | None:
        """The whole map, by its mean."""
        return None

    def build(self, dim: int) -> nn.Module:
        """timm's, without its last linear map."""
        layer: nn.Module = FocalModulation(dim, focal_window=self.window, focal_level=self.levels)
        layer.proj = nn.Identity()
        return layer


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Involution(Mixer):
    """Each position makes the kernel that is applied around it (Li et al. 2021, arXiv:2103.06255, eq. 4 and 6).

        y_ci = sum_d K_i,g(c),d x_c,i+d,  K_i = W_1 relu(W_0 x_i)

    with one kernel for each of four groups g of channels, W_0 to a quarter of the channels, and zeros beyond the edge.
    Published with groups of 16 channels, which would let widths be multiples of 16 alone, and with a batch
    normalisation behind W_0, which is left out: the slot has one before the mixer.

    Attributes:
        kernel_size: edge of the kernels, odd.
    """

    name: ClassVar[str] = "involution"
    does: ClassVar[str] = "depthwise 7x7 kernels that each position makes"
    source: ClassVar[str] = "Li et al. 2021, arXiv:2103.06255"
    low_pass: ClassVar[LowPass] = "can be"
    data_specific: ClassVar[bool] = True
    step: ClassVar[int] = _GROUPS
    kernel_size: int = rule(7, choices=_ODD, words="an odd number from 3 to 63")

    def reach(self) -> int | None:
        """Half a kernel."""
        return self.kernel_size // 2

    def build(self, dim: int) -> nn.Module:
        """With torch's initial weights."""
        return _Involution(dim, self.kernel_size)


class _Involution(nn.Module):
    def __init__(self, dim: int, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.reduce = nn.Conv2d(dim, dim // 4, 1)
        self.span = nn.Conv2d(dim // 4, _GROUPS * kernel_size**2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, dim, h, w) to the same."""
        batch, dim, height, width = x.shape
        area, positions = self.kernel_size**2, height * width
        kernels = self.span(F.relu(self.reduce(x))).reshape(batch, _GROUPS, 1, area, positions)
        around = F.unfold(x, self.kernel_size, padding=self.kernel_size // 2)
        y: Tensor = (kernels * around.reshape(batch, _GROUPS, dim // _GROUPS, area, positions)).sum(3)
        return y.reshape(x.shape)
