"""The attention block for networks that activate after the sum, such as ResNet, ResNeXt and RegNet (PAPER.md 1.15)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm.layers.create_act import get_act_layer
from timm.layers.create_norm_act import get_norm_act_layer
from timm.layers.drop import DropPath
from torch import Tensor, nn

from visionscope.models.mixers.slot import MixerSlot, mixer_width
from visionscope.models.windows import LocalAttention

__all__ = ["PostActMsaBlock"]


class PostActMsaBlock(nn.Module):
    """An attention block in place of a post-activation block of a ResNet, after block A of the official code.

        y = final_act(skip + drop_path(norm2(attn(act(norm1(conv(x)))))))

    with a 1x1 convolution to `mid_chs`. The skip is x itself, or a normalised 1x1 convolution of x where channels or
    stride change. The official block has no activation after the sum, which the next block of such a network counts
    on, and its skip ignores the stride; here both ways take it, the branch as the mean of each stride x stride square.

    Args:
        in_chs: channels of the input.
        out_chs: channels of the output.
        num_heads: as for `LocalAttention`, like head_dim and window_size.
        head_dim: channels of a head.
        mid_chs: channels that the attention sees; None is a quarter of `out_chs`.
        stride: of the block.
        window_size: edge of a window.
        drop_path: probability with which the branch is left out in training.
        norm_layer: normalisation of 2-D maps, as timm's `get_norm_act_layer` knows it.
        act_layer: activation inside the branch, as timm's `get_act_layer` knows it.
        final_act_layer: activation after the sum.
        final_act_kwargs: its arguments, such as the slope of a leaky ReLU.
        mixer: what stands in the place of attention; as for `MsaBlock`.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        *,
        num_heads: int,
        head_dim: int = 64,
        mid_chs: int | None = None,
        stride: int = 1,
        window_size: int = 7,
        drop_path: float = 0.0,
        norm_layer: Any = nn.BatchNorm2d,
        act_layer: Any = nn.GELU,
        final_act_layer: Any = nn.ReLU,
        final_act_kwargs: Mapping[str, Any] | None = None,
        mixer: str = "",
    ) -> None:
        super().__init__()
        norm_act: Any = get_norm_act_layer(norm_layer, act_layer=act_layer)
        mid_chs = mid_chs or max(1, out_chs // 4)
        attention: dict[str, Any] = {"num_heads": num_heads, "head_dim": head_dim, "window_size": window_size}
        if mixer:
            mid_chs = mixer_width(mixer, in_chs, out_chs, mid_chs=mid_chs, tables=1, **attention)
        # Kernel and stride are one number, and a last incomplete square counts: the size is that of a strided 1x1.
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.conv = nn.Conv2d(in_chs, mid_chs, 1, bias=False)
        self.norm1 = norm_act(mid_chs)
        if mixer:
            self.mixer = MixerSlot(mixer, mid_chs, out_chs)
        else:
            self.attn = LocalAttention(mid_chs, out_chs, **attention)
        self.norm2 = norm_act(out_chs, apply_act=False)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.downsample = None
        if stride != 1 or in_chs != out_chs:
            projection = nn.Conv2d(in_chs, out_chs, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, norm_act(out_chs, apply_act=False))
        self.final_act: Any = get_act_layer(final_act_layer)(**(final_act_kwargs or {}))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, in_chs, h, w) to (b, out_chs, h / stride, w / stride), rounded up."""
        skip = x if self.downsample is None else self.downsample(x)
        mix = self.mixer if hasattr(self, "mixer") else self.attn
        branch = self.norm2(mix(self.norm1(self.conv(self.pool(x)))))
        y: Tensor = self.final_act(self.drop_path(branch) + skip)
        return y
