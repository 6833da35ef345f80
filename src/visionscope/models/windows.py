"""Multi-head self-attention inside local windows, and the block of a CNN that is made of it (PAPER.md 1.15)."""

from __future__ import annotations

import functools
import numbers
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.create_norm_act import get_norm_act_layer
from timm.layers.drop import DropPath
from timm.models.resnetv2 import DownsampleConv
from torch import Tensor, nn

from visionscope.errors import ConfigError
from visionscope.models.mixers.slot import MixerSlot, mixer_width

__all__ = ["LocalAttention", "MsaBlock", "draw_convolutions"]

# Not timm's create_conv2d, which pads 1x1 convolutions of stride 3 and more.
_CONVOLUTION = functools.partial(nn.Conv2d, bias=False)


def check_positive(name: str, value: Any) -> None:
    """Refuses what is no positive integer.

    Args:
        name: of the parameter.
        value: what was given for it.

    Raises:
        ConfigError: for any other value.
    """
    if not isinstance(value, numbers.Integral) or value < 1:
        raise ConfigError(f"{name} must be a positive integer; got {value!r}. The smallest is 1")


class LocalAttention(nn.Module):
    """Attention of the positions of a map to those of their own window, with a bias for their relative position.

    The map is cut into windows of p x p without overlap or shift. In each, for head n and positions i, j:

        y_ni = sum_j softmax_j(q_ni . k_nj / sqrt(head_dim) + B[row_j - row_i, column_j - column_i]) v_nj

    and the heads' outputs, side by side, go through one linear map. Queries, keys and values are linear without bias.

    Three things are wider than in the official code, and equal it where that runs: a map that is no multiple of the
    window is padded at the right and at the bottom, and nobody looks at the padding; a window larger than the map is
    cut to the map, so that the bias of each offset stays what it was; the table may be one per head, as in Swin.

    Args:
        dim: channels of the input.
        dim_out: channels of the output; None keeps `dim`.
        num_heads: attention heads.
        head_dim: channels of a head.
        window_size: edge p of a window, in positions.
        per_head_bias: a table of relative positions per head; the official code's is shared by all.
        attn_drop: probability with which an attention weight is dropped in training.
        proj_drop: probability with which an output is dropped in training.

    Raises:
        ConfigError: when a count is not a positive integer.
    """

    relative_position_index: Tensor

    def __init__(
        self,
        dim: int,
        dim_out: int | None = None,
        *,
        num_heads: int,
        head_dim: int = 64,
        window_size: int = 7,
        per_head_bias: bool = False,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in (("num_heads", num_heads), ("head_dim", head_dim), ("window_size", window_size)):
            check_positive(name, value)
        self.num_heads, self.head_dim, self.window_size = num_heads, head_dim, window_size
        inner = num_heads * head_dim
        self.qkv = nn.Linear(dim, 3 * inner, bias=False)
        self.attn_drop = attn_drop
        self.proj = nn.Linear(inner, dim_out or dim)
        self.proj_drop = nn.Dropout(proj_drop)
        # Standard normal as in the official code. Name and shape as in timm's Swin, whose rules for it then hold here.
        tables = num_heads if per_head_bias else 1
        self.relative_position_bias_table = nn.Parameter(torch.randn((2 * window_size - 1) ** 2, tables))
        self.register_buffer("relative_position_index", _relative_position_index(window_size), persistent=False)

    def position_bias(self, height: int, width: int) -> Tensor:
        """The bias on the logits in a window: (1, heads or 1, height * width, height * width), queries first.

        Args:
            height: rows of the window, at most `window_size`.
            width: its columns.
        """
        index = self.relative_position_index[:height, :width, :height, :width].reshape(-1)
        area = height * width
        return self.relative_position_bias_table[index].reshape(area, area, -1).permute(2, 0, 1).unsqueeze(0)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, dim, h, w) to (b, dim_out, h, w)."""
        batch, _, height, width = x.shape
        rows, columns = min(self.window_size, height), min(self.window_size, width)
        bottom, right = -height % rows, -width % columns
        x = x.permute(0, 2, 3, 1)  # of a map in channels_last memory this is a view, and so is the last line
        if bottom or right:
            x = F.pad(x, (0, 0, 0, right, 0, bottom))
        down, across = (height + bottom) // rows, (width + right) // columns
        x = x.reshape(batch, down, rows, across, columns, -1).transpose(2, 3)
        x = x.reshape(batch * down * across, rows * columns, -1)
        # Not len(x), which exports and traces would write down as a constant.
        parts = self.qkv(x).reshape(x.shape[0], rows * columns, 3, self.num_heads, self.head_dim)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.position_bias(rows, columns)
        if bottom or right:
            hidden = _padding(height, width, rows, columns).to(bias.device)
            bias = bias.masked_fill(hidden, -torch.inf).repeat(batch, 1, 1, 1)
        dropout = self.attn_drop if self.training else 0.0
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype), dropout_p=dropout)
        x = self.proj_drop(self.proj(x.transpose(1, 2).flatten(2)))
        x = x.reshape(batch, down, across, rows, columns, -1).transpose(2, 3)
        x = x.reshape(batch, down * rows, across * columns, -1)
        return x[:, :height, :width].permute(0, 3, 1, 2)


def _relative_position_index(window_size: int) -> Tensor:
    # (p, p, p, p): for a query's row and column and a key's, the place of their offset in the table.
    offset = torch.arange(window_size)[None, :] - torch.arange(window_size)[:, None] + window_size - 1
    return offset[:, None, :, None] * (2 * window_size - 1) + offset[None, :, None, :]


def _padding(height: int, width: int, rows: int, columns: int) -> Tensor:
    # (windows, 1, 1, rows * columns): which keys of each window lie outside the map.
    beyond_bottom = (torch.arange(height + -height % rows) >= height).reshape(-1, 1, rows, 1)
    beyond_right = (torch.arange(width + -width % columns) >= width).reshape(1, -1, 1, columns)
    return (beyond_bottom | beyond_right).reshape(-1, 1, 1, rows * columns)


class MsaBlock(nn.Module):
    """The attention block of AlterNet, in place of a block of a pre-activation ResNet; block B of the official code.

        a = act(norm1(x));  y = skip + drop_path(attn(norm2(conv(a))))

    with a 1x1 convolution to `mid_chs` and no feed-forward network: the convolution blocks next to it do its work. The
    skip is x itself, or a 1x1 convolution of a where channels or stride change.

    The official code fails for a stride other than 1, since only its skip is strided. Here the branch then takes the
    mean of each stride x stride square, so that every position reaches the attention; a strided 1x1 convolution there
    too would throw away three of four positions on both ways.

    Args:
        in_chs: channels of the input.
        out_chs: channels of the output.
        num_heads: as for `LocalAttention`, like head_dim, window_size, per_head_bias and attn_drop.
        head_dim: channels of a head.
        mid_chs: channels that the attention sees; None is a quarter of `out_chs`, as in a bottleneck. The basic form
            of the official alternet_18 and 34 has `out_chs`.
        stride: of the block.
        window_size: edge of a window.
        per_head_bias: a table of relative positions per head.
        attn_drop: probability with which an attention weight is dropped in training.
        drop_path: probability with which the branch is left out in training.
        norm_layer: normalisation of 2-D maps, as timm's `get_norm_act_layer` knows it.
        act_layer: activation after the first normalisation; the second has none.
        mixer: what stands in the place of attention, as `mixer_of` reads it, between 1x1 convolutions and as wide as
            makes the branch have as many parameters as with attention; empty for attention.
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
        per_head_bias: bool = False,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
        norm_layer: Any = nn.BatchNorm2d,
        act_layer: Any = nn.GELU,
        mixer: str = "",
    ) -> None:
        super().__init__()
        norm_act = get_norm_act_layer(norm_layer, act_layer=act_layer)
        mid_chs = mid_chs or max(1, out_chs // 4)
        if mixer:
            tables = num_heads if per_head_bias else 1
            attention = {"num_heads": num_heads, "head_dim": head_dim, "window_size": window_size, "tables": tables}
            mid_chs = mixer_width(mixer, in_chs, out_chs, mid_chs=mid_chs, **attention)
        changes = stride != 1 or in_chs != out_chs
        self.downsample = DownsampleConv(in_chs, out_chs, stride, conv_layer=_CONVOLUTION) if changes else None
        self.norm1 = norm_act(in_chs)
        # Kernel and stride are one number, and a last incomplete square counts: the size is that of a strided 1x1.
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.conv = _CONVOLUTION(in_chs, mid_chs, 1)
        self.norm2 = norm_act(mid_chs, apply_act=False)
        if mixer:
            self.mixer = MixerSlot(mixer, mid_chs, out_chs)
        else:
            self.attn = LocalAttention(
                mid_chs,
                out_chs,
                num_heads=num_heads,
                head_dim=head_dim,
                window_size=window_size,
                per_head_bias=per_head_bias,
                attn_drop=attn_drop,
            )
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, in_chs, h, w) to (b, out_chs, h / stride, w / stride), rounded up."""
        active = self.norm1(x)
        skip = x if self.downsample is None else self.downsample(active)
        mix = self.mixer if hasattr(self, "mixer") else self.attn
        branch = mix(self.norm2(self.conv(self.pool(active))))
        y: Tensor = self.drop_path(branch) + skip
        return y


def draw_convolutions(network: nn.Module) -> None:
    """Draws the weights of all convolutions anew: normal, with variance 2 / fan-out (He et al. 2015, arXiv:1502.01852).

    Mixers keep the weights that they start with: logits of a softmax, for one, must not be that large.

    Args:
        network: or a block of it; changed in place.
    """
    slots = (module for module in network.modules() if isinstance(module, MixerSlot))
    kept = {module for slot in slots for module in slot.mix.modules()}
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module not in kept:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
