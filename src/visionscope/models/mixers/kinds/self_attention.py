"""Multi-head self-attention over the whole map, pooled keys, neighbours, or windows beside pooled keys.

All leave the last linear map of published attention out: the 1x1 convolution of the slot is in its place.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionscope.core.rules import rule
from visionscope.models.convvit import neighbour_mask
from visionscope.models.mixers.mixer import LowPass, Mixer, register

_HEADS = 4
_ODD = tuple(range(3, 64, 2))


def _tokens(x: Tensor) -> Tensor:
    """(b, c, h, w) as (b, h w, c)."""
    return x.flatten(2).transpose(1, 2)


def _map(tokens: Tensor, like: Tensor) -> Tensor:
    """(b, h w, c) as (b, c, h, w), with the rows and columns of `like`."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *like.shape[2:])


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Attention of tokens (b, n, c) to tokens (b, m, c), whose channels are cut into heads."""
    q, k, v = (part.reshape(*part.shape[:2], heads, -1).transpose(1, 2) for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


class _Attention(nn.Module):
    def __init__(self, dim: int, *, reduction: int = 1, kernel_size: int = 0) -> None:
        super().__init__()
        self.reduction, self.kernel_size = reduction, kernel_size
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, dim, h, w) to the same."""
        pooled = x if self.reduction == 1 else F.avg_pool2d(x, self.reduction, ceil_mode=True)
        k, v = self.kv(_tokens(pooled)).chunk(2, dim=2)
        mask = None
        if self.kernel_size:
            mask = neighbour_mask((x.shape[2], x.shape[3]), self.kernel_size).to(x.device)
        y = _attend(self.q(_tokens(x)), k, v, _HEADS, mask)
        return _map(y, x)


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class GlobalAttention(Mixer):
    """Multi-head self-attention over the whole map, as in ViT (Dosovitskiy et al. 2021, arXiv:2010.11929, eq. 6).

        y_ni = sum_j softmax_j(q_ni . k_nj / sqrt(d)) v_nj

    over all positions j, for four heads n of d channels, side by side. Positions have no embedding and no bias, so that
    any size works. What it keeps of noise is the mean, and all other frequencies alike, since likeness says nothing
    about distance there; with large weights it looks at single positions, and hardly is a low-pass filter.
    """

    name: ClassVar[str] = "global_attention"
    does: ClassVar[str] = "softmax(q k^T / sqrt(d)) v over the whole map"
    source: ClassVar[str] = "Dosovitskiy et al. 2021, arXiv:2010.11929"
    low_pass: ClassVar[LowPass] = "can be"
    data_specific: ClassVar[bool] = True
    step: ClassVar[int] = _HEADS

    def reach(self) -> int | None:
        """The whole map."""
        return None

    def build(self, dim: int) -> nn.Module:
        """Torch's attention between linear maps without bias."""
        return _Attention(dim)


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class PooledAttention(Mixer):
    """Attention of every position to the means of squares of the map, as in PVT v2 (Wang et al. 2021).

        y_ni = sum_j softmax_j(q_ni . k_nj / sqrt(d)) v_nj,  (k, v) = W x~,  x~ = means of r x r positions

    for four heads n of d channels. A last incomplete square has the mean of what it has. Linear SRA of PVT v2
    (arXiv:2106.13797, section 3.1) pools to 7 x 7 whatever the map, which is more than small maps have, so r is fixed
    here as in PVT (arXiv:2102.12122, eq. 3); its normalisation of x~ is left out, since the slot has one before the
    mixer.

    Attributes:
        reduction: r, the edge of a square.
    """

    name: ClassVar[str] = "pooled_attention"
    does: ClassVar[str] = "attention to keys and values of 2x2 means"
    source: ClassVar[str] = "Wang et al. 2021, arXiv:2102.12122 and arXiv:2106.13797"
    low_pass: ClassVar[LowPass] = "always"
    data_specific: ClassVar[bool] = True
    step: ClassVar[int] = _HEADS
    reduction: int = rule(2, least=2, most=64)

    def reach(self) -> int | None:
        """The whole map."""
        return None

    def build(self, dim: int) -> nn.Module:
        """As for the whole map, with fewer keys."""
        return _Attention(dim, reduction=self.reduction)


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Neighbourhood(Mixer):
    """Attention of every position to the k x k around it, as in ConvViT and NAT.

        y_ni = sum_{j in N(i)} softmax_j(q_ni . k_nj / sqrt(d)) v_nj

    for four heads n of d channels. N(i) ends at the edge of the map (Park & Kim 2022, arXiv:2202.06709, Fig. 7); in NAT
    (Hassani et al. 2023, arXiv:2204.07143) it is moved inside instead, and positions have a bias. All scores are
    computed and a mask discards most, so that it costs what attention over the whole map does.

    Attributes:
        kernel_size: k, odd. 3 as in ConvViT; NAT's 7 would be nearly all of an 8x8 map.
    """

    name: ClassVar[str] = "neighbourhood"
    does: ClassVar[str] = "attention to the 3x3 positions around each"
    source: ClassVar[str] = "Yang et al. 2019, arXiv:1904.03107; Hassani et al. 2023, arXiv:2204.07143"
    low_pass: ClassVar[LowPass] = "always"
    data_specific: ClassVar[bool] = True
    step: ClassVar[int] = _HEADS
    kernel_size: int = rule(3, choices=_ODD, words="an odd number from 3 to 63")

    def reach(self) -> int | None:
        """Half a kernel."""
        return self.kernel_size // 2

    def build(self, dim: int) -> nn.Module:
        """As for the whole map, with a mask."""
        return _Attention(dim, kernel_size=self.kernel_size)


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class HiLo(Mixer):
    """Half of the heads attend inside small windows, half to the means of the windows (LITv2, Pan et al. 2022).

    Hi-Fi (high frequencies), for heads n: y_ni = sum_{j in window of i} softmax_j(q_ni . k_nj / sqrt(d)) v_nj.
    Lo-Fi (low frequencies), for the others: y_ni = sum_j softmax_j(q_ni . k~_nj / sqrt(d)) v~_nj with keys and values
    of the means over windows (arXiv:2205.13213, section 3.2). Two heads each: alpha = 0.5 there. Windows that a
    map does not fill are filled with the edge's values, and the result is cropped; means are of what there is.

    Attributes:
        window_size: edge of a window, in positions.
    """

    name: ClassVar[str] = "hilo"
    does: ClassVar[str] = "half of the heads in 2x2 windows, half to the windows' means"
    source: ClassVar[str] = "Pan et al. 2022, arXiv:2205.13213"
    low_pass: ClassVar[LowPass] = "always"
    data_specific: ClassVar[bool] = True
    step: ClassVar[int] = _HEADS
    window_size: int = rule(2, least=2, most=64)

    def reach(self) -> int | None:
        """The whole map, by the means."""
        return None

    def build(self, dim: int) -> nn.Module:
        """Both halves, without bias as published."""
        return _HiLo(dim, self.window_size)


class _HiLo(nn.Module):
    def __init__(self, dim: int, window_size: int) -> None:
        super().__init__()
        self.window_size = window_size
        half = dim // 2
        self.high_qkv = nn.Linear(dim, 3 * half, bias=False)
        self.low_q = nn.Linear(dim, half, bias=False)
        self.low_kv = nn.Linear(dim, 2 * half, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, dim, h, w) to the same, high frequencies in the first half of the channels."""
        return torch.cat([self._high(x), self._low(x)], dim=1)

    def _high(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        size = self.window_size
        x = F.pad(x, (0, -width % size, 0, -height % size), mode="replicate")
        down, across = x.shape[2] // size, x.shape[3] // size
        x = x.reshape(batch, channels, down, size, across, size).permute(0, 2, 4, 3, 5, 1)
        q, k, v = self.high_qkv(x.reshape(batch * down * across, size * size, channels)).chunk(3, dim=2)
        y = _attend(q, k, v, _HEADS // 2).reshape(batch, down, across, size, size, -1)
        y = y.permute(0, 5, 1, 3, 2, 4).reshape(batch, -1, down * size, across * size)
        return y[:, :, :height, :width]

    def _low(self, x: Tensor) -> Tensor:
        means = F.avg_pool2d(x, self.window_size, ceil_mode=True)
        k, v = self.low_kv(_tokens(means)).chunk(2, dim=2)
        y = _attend(self.low_q(_tokens(x)), k, v, _HEADS // 2)
        return _map(y, x)
