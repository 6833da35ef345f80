"""Two networks that a laptop trains in a minute, registered with timm: `resnet_nano` and `vit_nano`."""

from __future__ import annotations

from typing import Any

from timm.models import ResNet, VisionTransformer, build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import nn

__all__ = ["NanoResNet"]

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
        "vit_nano": {**_CFG, "first_conv": "patch_embed.proj", "classifier": "head", "fixed_input_size": True},
    }
)


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
    """A vision transformer of six blocks: patches of 4 px, 96 channels, 3 heads, a class token; 0.7 M parameters."""
    arguments: dict[str, Any] = {
        "img_size": 32,
        "patch_size": 4,
        "embed_dim": 96,
        "depth": 6,
        "num_heads": 3,
        "num_classes": 10,
    }
    model: nn.Module = build_model_with_cfg(
        VisionTransformer,
        "vit_nano",
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": 3, "feature_cls": "getter"},
        **{**arguments, **kwargs},
    )
    return model
