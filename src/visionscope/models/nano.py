"""Two networks that a laptop trains in minutes, registered with timm: `resnet_nano` and `vit_nano`."""

from __future__ import annotations

from typing import Any

from timm.layers.patch_embed import PatchEmbed
from timm.models import ResNet, VisionTransformer, build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import nn

from visionscope.models.pooling import vision_transformer_arguments
from visionscope.models.shipped import weights_file

__all__ = ["ConvStem", "NanoResNet"]

_CFG: dict[str, Any] = {
    "num_classes": 10,
    "input_size": (3, 32, 32),
    "pool_size": (4, 4),
    "crop_pct": 1.0,
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
}

_RESNET = {**_CFG, "file": str(weights_file("resnet_nano")), "first_conv": "conv1.0", "classifier": "fc"}
_VIT = {**_CFG, "file": str(weights_file("vit_nano")), "first_conv": "patch_embed.proj.0", "classifier": "head"}

default_cfgs = generate_default_cfgs({"resnet_nano": _RESNET, "vit_nano": {**_VIT, "fixed_input_size": True}})


class ConvStem(PatchEmbed):
    """Patches of 4 px that overlap, out of three 3x3 convolutions and a linear layer (Xiao et al. 2021, section 4).

    The first and the last convolution halve the grid. With the usual single projection a transformer this small learns
    next to nothing in minutes: the mean colour of a patch outweighs everything else in it.
    """

    def __init__(self, *, in_chans: int, embed_dim: int, **kwargs: Any) -> None:
        super().__init__(in_chans=in_chans, embed_dim=embed_dim, **kwargs)
        half = embed_dim // 2
        layers: list[nn.Module] = []
        for before, after, stride in ((in_chans, half, 2), (half, half, 1), (half, embed_dim, 2)):
            convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        self.add_module("proj", nn.Sequential(*layers, nn.Conv2d(embed_dim, embed_dim, 1)))


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
    """A vision transformer of six blocks: convolutional stem, patches of 4 px, 96 channels, 3 heads; 0.5 M parameters.

    `classifier` is "gap" (default), "cls", "gmp" or "map". With a class token it learns more slowly, and from its first
    blocks alone.
    """
    arguments: dict[str, Any] = {
        "img_size": 32,
        "patch_size": 4,
        "embed_dim": 96,
        "depth": 6,
        "num_heads": 3,
        "mlp_ratio": 2.0,
        "embed_layer": ConvStem,
        "num_classes": 10,
    }
    model: nn.Module = build_model_with_cfg(
        VisionTransformer,
        "vit_nano",
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": 3, "feature_cls": "getter"},
        **vision_transformer_arguments("vit_nano", {**arguments, **kwargs}, default="gap"),
    )
    return model
