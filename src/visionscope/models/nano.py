"""Two networks that a laptop trains in a minute, registered with timm: `resnet_nano` and `vit_nano`."""

from __future__ import annotations

from typing import Any

from timm.layers.patch_embed import PatchEmbed
from timm.models import ResNet, VisionTransformer, build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import nn

from visionscope.models.pooling import vision_transformer_arguments

__all__ = ["ConvStem", "NanoResNet"]

_CFG = {
    "url": "",
    "num_classes": 10,
    "input_size": (3, 32, 32),
    "pool_size": (4, 4),
    "crop_pct": 1.0,
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
}

default_cfgs = generate_default_cfgs(
    {
        "resnet_nano": {**_CFG, "first_conv": "conv1.0", "classifier": "fc"},
        "vit_nano": {**_CFG, "first_conv": "patch_embed.proj.0", "classifier": "head", "fixed_input_size": True},
    }
)


class ConvStem(PatchEmbed):
    """Patches of 4 px out of two 3x3 convolutions of stride 2 and a linear layer (Xiao et al. 2021, section 4).

    With the usual single projection a transformer this small learns next to nothing in minutes: the mean colour of a
    patch outweighs everything else in it.
    """

    def __init__(self, *, in_chans: int, embed_dim: int, **kwargs: Any) -> None:
        super().__init__(in_chans=in_chans, embed_dim=embed_dim, **kwargs)
        first, second = embed_dim // 4, embed_dim // 2
        layers = nn.Sequential(
            nn.Conv2d(in_chans, first, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(second),
            nn.ReLU(),
            nn.Conv2d(second, embed_dim, 1),
        )
        self.add_module("proj", layers)


class NanoResNet(ResNet):
    """timm's ResNet for small images: three stages, and a stem of three 3x3 convolutions that halves the grid once.

    At 32 px the grids are 16x16, 8x8 and 4x4. timm's stem would quarter the grid and its fourth stage would end at 1x1.
    """

    def __init__(self, block: Any, layers: tuple[int, ...], **kwargs: Any) -> None:
        super().__init__(block, layers, **kwargs)
        self.add_module("maxpool", nn.Identity())
        self.add_module("layer4", nn.Sequential())
        self.feature_info: list[dict[str, Any]] = [
            {**info, "reduction": 2 ** max(1, index)} for index, info in enumerate(self.feature_info)
        ]


@register_model
def resnet_nano(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A residual network of six basic blocks in three stages of 32, 64 and 128 channels; 0.7 M parameters."""
    arguments: dict[str, Any] = {
        "block": BasicBlock,
        "layers": (2, 2, 2),
        "channels": (32, 64, 128),
        "stem_type": "deep",
        "stem_width": 16,
        "num_classes": 10,
    }
    model: nn.Module = build_model_with_cfg(
        NanoResNet, "resnet_nano", pretrained, feature_cfg={"out_indices": (0, 1, 2, 3)}, **{**arguments, **kwargs}
    )
    return model


@register_model
def vit_nano(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A vision transformer of six blocks: convolutional stem, patches of 4 px, 96 channels, 3 heads, a class token.

    `classifier` is "cls" (default), "gap", "gmp" or "map"; all but the first leave the class token out.
    """
    arguments: dict[str, Any] = {
        "img_size": 32,
        "patch_size": 4,
        "embed_dim": 96,
        "depth": 6,
        "num_heads": 3,
        "embed_layer": ConvStem,
        "num_classes": 10,
    }
    model: nn.Module = build_model_with_cfg(
        VisionTransformer,
        "vit_nano",
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": 3, "feature_cls": "getter"},
        **vision_transformer_arguments("vit_nano", {**arguments, **kwargs}, default="cls"),
    )
    return model
