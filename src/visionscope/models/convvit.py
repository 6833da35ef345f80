"""ConvViT: a vision transformer whose tokens look at their neighbours alone (Park & Kim 2022, Fig. 7), for timm."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.attention import Attention
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from visionscope.errors import ConfigError
from visionscope.models.paper import CIFAR_100
from visionscope.models.pooling import vision_transformer_arguments

__all__ = ["ConvVisionTransformer", "NeighbourAttention"]

default_cfgs = generate_default_cfgs(
    {
        "convvit_ti_cifar": {
            **CIFAR_100,
            "pool_size": None,
            "fixed_input_size": True,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        }
    }
)


def _check_kernel(kernel_size: int | str) -> None:
    if kernel_size == "global" or (isinstance(kernel_size, int) and kernel_size >= 1 and kernel_size % 2):
        return
    even = isinstance(kernel_size, int) and kernel_size >= 2
    near = f"{kernel_size - 1}, {kernel_size + 1}" if even else "3, 5"  # type: ignore[operator]
    raise ConfigError(
        f"kernel_size must be an odd number, so that a token is in the middle of its neighbours, or global; "
        f"got {kernel_size!r}. Near it: {near}, global"
    )


def neighbour_mask(grid: tuple[int, int], kernel_size: int, *, prefix_tokens: int = 0) -> Tensor:
    """Which token sees which: (n, n) booleans, n = prefix_tokens + height * width, tokens row by row.

    A token sees those at most (kernel_size - 1) / 2 rows and as many columns away. A prefix token (class token) sees
    all and is seen by none but its like, since every token would see every other through it in the next block.

    Args:
        grid: height and width in tokens.
        kernel_size: odd edge of the neighbourhood.
        prefix_tokens: how many come first.
    """
    radius = kernel_size // 2
    near = [(torch.arange(n)[:, None] - torch.arange(n)).abs() <= radius for n in grid]
    plane = (near[0][:, None, :, None] & near[1][None, :, None, :]).flatten(2).flatten(0, 1)
    mask = F.pad(plane, (prefix_tokens, 0, prefix_tokens, 0))
    mask[:prefix_tokens] = True
    return mask


class NeighbourAttention(Attention):
    """timm's multi-head self-attention over the k x k tokens around each token.

    With N(i) the neighbours of i on the grid, y_i = sum_{j in N(i)} softmax_j(q_i . k_j / sqrt(head_dim)) v_j. By
    default N(i) ends at the border of the grid. With `zero_padded_borders` it does not, and the keys and values of what
    lies outside are zeros, as in the official code: each such place takes exp(0) of the softmax's weight and gives
    nothing for it, so that tokens at the border are damped. One more key of zeros, biased by the logarithm of the
    number of places outside, is exactly that.

    All scores are computed and the mask discards most of them: at 8x8 and 16x16 tokens that takes a half to a fifth of
    the time of gathering each token's neighbours.

    It looks at all tokens until `set_neighbourhood` says otherwise, since timm builds it without knowing the grid.
    """

    attention_bias: Tensor | None

    def __init__(self, dim: int, **kwargs: Any) -> None:
        super().__init__(dim, **kwargs)
        self.zero_padded_borders = False
        self.register_buffer("attention_bias", None, persistent=False)

    def set_neighbourhood(
        self, grid: tuple[int, int], kernel_size: int | str, *, zero_padded_borders: bool, prefix_tokens: int
    ) -> None:
        """Says which tokens a token sees.

        Args:
            grid: height and width in tokens.
            kernel_size: odd edge of the neighbourhood, or "global".
            zero_padded_borders: the official code's borders; without meaning with "global".
            prefix_tokens: tokens before the grid's.

        Raises:
            ConfigError: for an even kernel.
        """
        _check_kernel(kernel_size)
        if isinstance(kernel_size, str):
            self.zero_padded_borders, self.attention_bias = False, None
            return
        mask = neighbour_mask(grid, kernel_size, prefix_tokens=prefix_tokens)
        bias = torch.zeros(mask.shape, dtype=torch.float64).masked_fill(~mask, -torch.inf)
        if zero_padded_borders:
            outside = kernel_size**2 - mask.sum(1, keepdim=True)
            outside[:prefix_tokens] = 0
            bias = torch.cat([bias, outside.to(bias.dtype).log()], dim=1)
        self.zero_padded_borders = zero_padded_borders
        self.attention_bias = bias.to(self.qkv.weight)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """Maps tokens (b, n, dim) to (b, n, dim).

        Args:
            x: the tokens.
            attn_mask: for timm's signature; the neighbourhood is the mask.
            is_causal: for timm's signature.
        """
        if not self.zero_padded_borders:
            y: Tensor = super().forward(x, attn_mask=self.attention_bias)
            return y
        batch, tokens, _ = x.shape
        heads = (batch, tokens, 3, self.num_heads, self.head_dim)
        q, k, v = self.qkv(x).reshape(heads).permute(2, 0, 3, 1, 4).unbind(0)
        k, v = F.pad(self.k_norm(k), (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
        dropout = self.attn_drop.p if self.training else 0.0
        y = F.scaled_dot_product_attention(self.q_norm(q), k, v, attn_mask=self.attention_bias, dropout_p=dropout)
        y = self.norm(y.transpose(1, 2).reshape(batch, tokens, self.attn_dim))
        projected: Tensor = self.proj_drop(self.proj(y))
        return projected


class ConvVisionTransformer(VisionTransformer):
    """timm's VisionTransformer with attention within k x k neighbours.

    Args:
        img_size: height and width in pixels; an int is both.
        patch_size: edge of a patch in pixels.
        kernel_size: odd edge of the neighbourhood in tokens, or "global".
        zero_padded_borders: see `NeighbourAttention`.
        class_token: whether there is a class token; it sees all tokens, and none sees it.
        kwargs: as for timm's class.

    Raises:
        ConfigError: for an even kernel, or for `patch_drop_rate` or `dynamic_img_size` beside a kernel.
    """

    def __init__(
        self,
        *,
        img_size: int | tuple[int, int] = 32,
        patch_size: int = 4,
        kernel_size: int | str = 3,
        zero_padded_borders: bool = False,
        class_token: bool = False,
        **kwargs: Any,
    ) -> None:
        _check_kernel(kernel_size)
        for name, off in (("patch_drop_rate", 0), ("dynamic_img_size", False)):
            if kwargs.get(name) and kernel_size != "global":
                raise ConfigError(
                    f"{name} must be {off} with kernel_size={kernel_size}, since the neighbours are those on one "
                    f"whole grid; got {kwargs[name]}. It goes with kernel_size=global alone"
                )
        arguments = {"img_size": img_size, "patch_size": patch_size, "class_token": class_token, **kwargs}
        super().__init__(attn_layer=NeighbourAttention, **arguments)
        self.kernel_size, self.zero_padded_borders = kernel_size, zero_padded_borders
        self._set_neighbourhoods()

    def _set_neighbourhoods(self) -> None:
        for attention in (module for module in self.modules() if isinstance(module, NeighbourAttention)):
            attention.set_neighbourhood(
                self.patch_embed.grid_size,
                self.kernel_size,
                zero_padded_borders=self.zero_padded_borders,
                prefix_tokens=self.num_prefix_tokens,
            )

    def set_input_size(
        self, img_size: tuple[int, int] | None = None, patch_size: tuple[int, int] | None = None
    ) -> None:
        """Changes the size of image or patch, with the position embedding and the neighbourhoods.

        Args:
            img_size: height and width in pixels; None leaves it.
            patch_size: height and width in pixels; None leaves it.
        """
        super().set_input_size(img_size=img_size, patch_size=patch_size)
        self._set_neighbourhoods()


@register_model
def convvit_ti_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ViT-Ti whose tokens see their 3x3 neighbours, patches of 4 px: 8x8 tokens, 192 channels; 5.37 M parameters.

    `kernel_size` is odd or "global", `classifier` "gap" (default), "cls", "gmp" or "map".
    """
    sizes = {"patch_size": 4, "embed_dim": 192, "depth": 12, "num_heads": 3, "qkv_bias": False}
    model: nn.Module = build_model_with_cfg(
        ConvVisionTransformer,
        "convvit_ti_cifar",
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": 3, "feature_cls": "getter"},
        **vision_transformer_arguments("convvit_ti_cifar", {**sizes, **kwargs}, default="gap"),
    )
    return model
