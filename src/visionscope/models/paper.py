"""The networks of Park & Kim 2022 in their CIFAR form, registered with timm: timm's classes, small stems and patches.

All take 32 px images and have 100 classes by default; `size` and `num_classes` change that. The arguments are those of
timm's classes, so `vit_ti_cifar?depth=6` and `preresnet_50_cifar?layers=(3,4,6,4)`, the baseline of AlterNet, work.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from timm.layers.create_conv2d import create_conv2d
from timm.layers.norm_act import BatchNormAct2d
from timm.models import ResNet, ResNetV2, build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, Bottleneck
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import nn

from visionscope.models.pooling import (
    PooledMixer,
    PooledPit,
    PooledSwin,
    vision_transformer_arguments,
)

__all__ = ["SmallImageResNet", "SmallImageResNetV2"]

CIFAR_100 = {
    "url": "",
    "num_classes": 100,
    "input_size": (3, 32, 32),
    "pool_size": (4, 4),
    "crop_pct": 1.0,
    "interpolation": "bicubic",
    "mean": (0.5071, 0.4867, 0.4408),
    "std": (0.2675, 0.2565, 0.2761),
}
_RESNET = {**CIFAR_100, "first_conv": "conv1", "classifier": "fc"}
_PRERESNET = {**CIFAR_100, "first_conv": "stem.conv", "classifier": "head.fc"}
_TRANSFORMER = {**CIFAR_100, "pool_size": None, "fixed_input_size": True, "classifier": "head"}

default_cfgs = generate_default_cfgs(
    {
        "resnet_18_cifar": _RESNET,
        "resnet_50_cifar": _RESNET,
        "resnext_50_cifar": _RESNET,
        "preresnet_18_cifar": _PRERESNET,
        "preresnet_50_cifar": _PRERESNET,
        "vit_ti_cifar": {**_TRANSFORMER, "first_conv": "patch_embed.proj"},
        "pit_ti_cifar": {**_TRANSFORMER, "first_conv": "patch_embed.conv"},
        "swin_ti_cifar": {**_TRANSFORMER, "first_conv": "patch_embed.proj", "classifier": "head.fc"},
        "mixer_ti_cifar": {**_TRANSFORMER, "first_conv": "stem.proj"},
    }
)


def _stem(in_chans: int) -> nn.Conv2d:
    convolution = nn.Conv2d(in_chans, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


def _reductions_of_a_stem_without_stride(feature_info: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**info, "reduction": max(1, info["reduction"] // 4)} for info in feature_info]


class SmallImageResNet(ResNet):
    """timm's ResNet with the stem for small images: one 3x3 convolution of stride 1 and no max pooling.

    At 32 px the four stages have grids of 32, 16, 8 and 4. Unlike timm's default, the last normalisation of a block
    starts with weight 1, as in the official code, rather than 0.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        layers: blocks per stage.
        zero_init_last: whether every block starts as the identity.
        in_chans: channels of the images.
        kwargs: as for timm's `ResNet`.
    """

    def __init__(
        self, block: Any, layers: tuple[int, ...], *, zero_init_last: bool = False, in_chans: int = 3, **kwargs: Any
    ) -> None:
        super().__init__(block, layers, zero_init_last=zero_init_last, in_chans=in_chans, **kwargs)
        self.add_module("conv1", _stem(in_chans))
        self.add_module("maxpool", nn.Identity())
        self.feature_info = _reductions_of_a_stem_without_stride(self.feature_info)


class SmallImageResNetV2(ResNetV2):
    """timm's pre-activation ResNet with batch normalisation and the stem for small images, one 3x3 convolution.

    The normalisation and ReLU that a stem of another ResNet ends with are those of the first block.

    Args:
        layers: blocks per stage; (3, 4, 6, 4) is the baseline that AlterNet is built from (PAPER.md 1.15).
        in_chans: channels of the images.
        kwargs: as for timm's `ResNetV2`.
    """

    def __init__(self, layers: tuple[int, ...], *, in_chans: int = 3, **kwargs: Any) -> None:
        arguments = {"conv_layer": create_conv2d, "norm_layer": BatchNormAct2d, **kwargs}
        super().__init__(list(layers), in_chans=in_chans, **arguments)
        self.stem = nn.Sequential(OrderedDict(conv=_stem(in_chans)))
        self.feature_info = _reductions_of_a_stem_without_stride(self.feature_info)


def _resnet(name: str, pretrained: bool, **arguments: Any) -> nn.Module:
    model: nn.Module = build_model_with_cfg(SmallImageResNet, name, pretrained, **arguments)
    return model


def _preresnet(name: str, pretrained: bool, **arguments: Any) -> nn.Module:
    features = {"flatten_sequential": True}
    model: nn.Module = build_model_with_cfg(SmallImageResNetV2, name, pretrained, feature_cfg=features, **arguments)
    return model


@register_model
def resnet_18_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-18 with a 3x3 stem; 11.22 M parameters."""
    arguments: dict[str, Any] = {"block": BasicBlock, "layers": (2, 2, 2, 2), **kwargs}
    return _resnet("resnet_18_cifar", pretrained, **arguments)


@register_model
def resnet_50_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-50 with a 3x3 stem, the paper's R; 23.71 M parameters."""
    arguments: dict[str, Any] = {"block": Bottleneck, "layers": (3, 4, 6, 3), **kwargs}
    return _resnet("resnet_50_cifar", pretrained, **arguments)


@register_model
def resnext_50_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNeXt-50 32x4d with a 3x3 stem, the paper's RX; 23.18 M parameters."""
    arguments: dict[str, Any] = {"block": Bottleneck, "layers": (3, 4, 6, 3), "cardinality": 32, "base_width": 4}
    return _resnet("resnext_50_cifar", pretrained, **{**arguments, **kwargs})


@register_model
def preresnet_18_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Pre-activation ResNet-18 with a 3x3 stem; 11.22 M parameters."""
    arguments: dict[str, Any] = {
        "layers": (2, 2, 2, 2),
        "channels": (64, 128, 256, 512),
        "basic": True,
        "bottle_ratio": 1.0,
    }
    return _preresnet("preresnet_18_cifar", pretrained, **{**arguments, **kwargs})


@register_model
def preresnet_50_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Pre-activation ResNet-50 with a 3x3 stem; 23.70 M parameters, 28.16 M with `layers=(3,4,6,4)`."""
    return _preresnet("preresnet_50_cifar", pretrained, **{"layers": (3, 4, 6, 3), **kwargs})


@register_model
def vit_ti_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ViT-Ti with patches of 2 px: 256 tokens and a class token, 192 channels, 12 blocks; 5.40 M parameters.

    `classifier` is "cls" (default), "gap", "gmp" or "map"; all but the first leave the class token out.
    """
    sizes = {"patch_size": 2, "embed_dim": 192, "depth": 12, "num_heads": 3, "qkv_bias": False}
    model: nn.Module = build_model_with_cfg(
        VisionTransformer,
        "vit_ti_cifar",
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": 3, "feature_cls": "getter"},
        **vision_transformer_arguments("vit_ti_cifar", {**sizes, **kwargs}, default="cls"),
    )
    return model


@register_model
def pit_ti_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """PiT-Ti with overlapping patches of 2 px at stride 1: grids of 31, 16 and 8; 4.60 M parameters.

    The official code's has no biases on queries, keys and values, and a position embedding for the class token; timm's,
    of which the released weights are, has the first and lacks the second. `classifier` as in `vit_ti_cifar`.
    """
    sizes = {"patch_size": 2, "stride": 1, "base_dims": (32, 32, 32), "depth": (2, 6, 4), "heads": (2, 4, 8)}
    model: nn.Module = build_model_with_cfg(
        PooledPit,
        "pit_ti_cifar",
        pretrained,
        feature_cfg={"feature_cls": "hook", "out_indices": (0, 1, 2)},
        **{**sizes, "mlp_ratio": 4, **kwargs},
    )
    return model


@register_model
def swin_ti_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Swin-Ti with patches of 1 px and windows of 4x4: grids of 32, 16, 8 and 4; 27.5 M parameters.

    timm's own stochastic depth of 0.1 is off unless `drop_path_rate` asks for it, as in every other network here.
    `classifier` is "gap" (default), "gmp" or "map".
    """
    sizes = {"patch_size": 1, "window_size": 4, "embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)}
    model: nn.Module = build_model_with_cfg(
        PooledSwin,
        "swin_ti_cifar",
        pretrained,
        feature_cfg={"flatten_sequential": True, "out_indices": (0, 1, 2, 3)},
        **{**sizes, "qkv_bias": False, "drop_path_rate": 0.0, **kwargs},
    )
    return model


@register_model
def mixer_ti_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MLP-Mixer-Ti with patches of 2 px, 256 channels and 8 blocks; 4.77 M parameters and 1.209 GMAC.

    The paper doesn't say its configuration; this is the official code's `mixer.tiny`, whose parameters and operations
    are those of PAPER.md 1.0.2. `classifier` is "gap" (default), "gmp" or "map".
    """
    sizes = {"patch_size": 2, "embed_dim": 256, "num_blocks": 8, "mlp_ratio": (0.5, 4.0)}
    model: nn.Module = build_model_with_cfg(
        PooledMixer,
        "mixer_ti_cifar",
        pretrained,
        feature_cfg={"out_indices": 3, "feature_cls": "getter"},
        **{**sizes, **kwargs},
    )
    return model
