"""What timm keeps beside plain attention: non-local, lambda and halo layers."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch.nn.functional as F
from timm.layers.halo_attn import HaloAttn
from timm.layers.lambda_layer import LambdaLayer
from timm.layers.non_local_attn import NonLocalAttn
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn

from visionscope.core.rules import rule
from visionscope.models.mixers.mixer import LowPass, Mixer, register

_HEADS = 4
_ODD = tuple(range(3, 64, 2))


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class NonLocal(Mixer):
    """timm's non-local block, embedded Gaussian (Wang et al. 2018, arXiv:1711.07971, eq. 3 and 6).

        y_i = x_i + W_z sum_j softmax_j(t(x_i) . p(x_j) / sqrt(dim)) g(x_j)

    over the whole map, with one head of half of the channels as published, and the skip that it has inside. timm's
    scale is that of `dim`, where the paper has none, and its batch normalisation behind W_z is left out: with it, the
    branch would start at 0 inside a branch. By its skip it passes every frequency, and by the sum the mean once more.
    """

    name: ClassVar[str] = "nonlocal"
    does: ClassVar[str] = "x + W softmax(t(x) p(x)^T / sqrt(dim)) g(x) over the whole map"
    source: ClassVar[str] = "Wang et al. 2018, arXiv:1711.07971"
    library: ClassVar[str] = "timm.layers.NonLocalAttn"
    low_pass: ClassVar[LowPass] = "can be"
    data_specific: ClassVar[bool] = True

    def reach(self) -> int | None:
        """The whole map."""
        return None

    def build(self, dim: int) -> nn.Module:
        """timm's, without its normalisation."""
        layer = NonLocalAttn(dim, rd_channels=max(1, dim // 2))  # type: ignore[no-untyped-call]
        layer.norm = nn.Identity()  # type: ignore[assignment]
        return layer


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Lambda(Mixer):
    """timm's lambda layer: each query goes through a linear map that the context makes (Bello 2021).

        y_ni = (lambda_c + lambda_i)^T q_ni,  lambda_c = sum_j softmax_j(k_j) v_j^T,  lambda_i = sum_j E_j-i v_j^T

    for four heads n that share keys and values, keys of 16 channels, and a learned E for positions up to half a kernel
    away, zeros beyond the edge (arXiv:2102.08602, eq. 1 and 2). Queries are normalised per position where the paper
    normalises them over the batch; values are not, since the slot normalises before the mixer. On noise its response is
    nearly flat: queries, which differ from position to position, undo what a sum with E blurs, but for their bias.

    Attributes:
        kernel_size: positions with an E of their own, from edge to edge; odd.
    """

    name: ClassVar[str] = "lambda"
    does: ClassVar[str] = "queries through a linear map made of keys, values and relative places"
    source: ClassVar[str] = "Bello 2021, arXiv:2102.08602"
    library: ClassVar[str] = "timm.layers.LambdaLayer"
    low_pass: ClassVar[LowPass] = "can be"
    data_specific: ClassVar[bool] = True
    step: ClassVar[int] = _HEADS
    kernel_size: int = rule(9, choices=_ODD, words="an odd number from 3 to 63")

    def reach(self) -> int | None:
        """The whole map, by the keys."""
        return None

    def build(self, dim: int) -> nn.Module:
        """timm's, with other normalisations."""
        layer = LambdaLayer(dim, num_heads=_HEADS, r=self.kernel_size)
        layer.norm_q = LayerNorm2d(_HEADS * layer.dim_qk)  # type: ignore[assignment]
        layer.norm_v = nn.Identity()  # type: ignore[assignment]
        return layer


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Halo(Mixer):
    """timm's halo attention: blocks of positions attend to themselves and what is near (Vaswani et al. 2021).

        y_ni = sum_j softmax_j(q_ni . k_nj / sqrt(d) + q_ni . (r_row(j - i) + r_column(j - i))) v_nj

    over the j in the block of i or at most a halo away from it, for four heads n (arXiv:2103.12731, section 2.2).
    Beyond the map keys and values are zeros, which take weight and give nothing. A map that is no multiple of the block
    is filled with the edge's values at the right and at the bottom, which are seen, and the result is cropped.

    Attributes:
        block_size: edge of a block; 8 in the paper, which small maps are not larger than.
        halo_size: positions around it.
    """

    name: ClassVar[str] = "halo"
    does: ClassVar[str] = "attention of 4x4 blocks to themselves and 3 positions around"
    source: ClassVar[str] = "Vaswani et al. 2021, arXiv:2103.12731"
    library: ClassVar[str] = "timm.layers.HaloAttn"
    low_pass: ClassVar[LowPass] = "always"
    data_specific: ClassVar[bool] = True
    step: ClassVar[int] = _HEADS
    block_size: int = rule(4, least=1, most=64)
    halo_size: int = rule(3, least=1, most=64)

    def reach(self) -> int | None:
        """From one edge of a block to the other edge of its halo."""
        return self.block_size - 1 + self.halo_size

    def build(self, dim: int) -> nn.Module:
        """timm's, for every size."""
        return _Halo(dim, self.block_size, self.halo_size)


class _Halo(nn.Module):
    def __init__(self, dim: int, block_size: int, halo_size: int) -> None:
        super().__init__()
        self.block_size = block_size
        self.layer = HaloAttn(dim, num_heads=_HEADS, block_size=block_size, halo_size=halo_size)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, dim, h, w) to the same."""
        height, width = x.shape[2:]
        size = self.block_size
        y: Tensor = self.layer(F.pad(x, (0, -width % size, 0, -height % size), mode="replicate"))
        return y[:, :, :height, :width]
