"""Small networks of every kind for studies that train many, registered with timm: 32 px, 0.1 to 0.3 M parameters.

`preresnet_pico` and `alternet_pico` stand in `visionscope.models.alternet`.
"""

from __future__ import annotations

from typing import Any

from timm.layers.patch_embed import PatchEmbed
from timm.models import VisionTransformer, build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock
from timm.models.vision_transformer import checkpoint_filter_fn
from torch import nn

from visionscope.models.convvit import ConvVisionTransformer
from visionscope.models.nano import NanoResNet
from visionscope.models.pooling import PooledMixer, PooledSwin, vision_transformer_arguments

__all__ = ["PicoMixer", "PicoStem"]

_CFG: dict[str, Any] = {
    "url": "",
    "num_classes": 10,
    "input_size": (3, 32, 32),
    "pool_size": (4, 4),
    "crop_pct": 1.0,
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
}
_TRANSFORMER = {**_CFG, "pool_size": None, "fixed_input_size": True, "first_conv": "patch_embed.proj.0"}

default_cfgs = generate_default_cfgs(
    {
        "resnet_pico": {**_CFG, "first_conv": "conv1.0", "classifier": "fc"},
        "vit_pico": {**_TRANSFORMER, "classifier": "head"},
        "convvit_pico": {**_TRANSFORMER, "classifier": "head"},
        "swin_pico": {**_TRANSFORMER, "classifier": "head.fc"},
        "mixer_pico": {**_TRANSFORMER, "first_conv": "stem.proj.0", "classifier": "head"},
    }
)


class PicoStem(PatchEmbed):
    """Patches of 2 or 4 px that overlap, out of 3x3 convolutions and a linear layer (Xiao et al. 2021, section 4).

    For 4 px, two convolutions that halve the grid; for 2 px, one that does and two that don't. The paper's ViT has one
    linear projection of patches that do not overlap; a transformer this small would learn little from them in minutes.

    Args:
        in_chans: channels of the images.
        embed_dim: channels of the tokens.
        patch_size: 2 or 4.
        kwargs: as for timm's `PatchEmbed`.
    """

    def __init__(self, *, in_chans: int, embed_dim: int, patch_size: int = 4, **kwargs: Any) -> None:
        super().__init__(in_chans=in_chans, embed_dim=embed_dim, patch_size=patch_size, **kwargs)
        widths, strides = ((embed_dim // 2, embed_dim), (2, 2)) if patch_size == 4 else ((embed_dim,) * 3, (2, 1, 1))
        layers: list[nn.Module] = []
        for before, after, stride in zip((in_chans, *widths), widths, strides, strict=False):
            convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        self.add_module("proj", nn.Sequential(*layers, nn.Conv2d(embed_dim, embed_dim, 1)))


class PicoMixer(PooledMixer):
    """timm's MLP-Mixer behind the stem that the transformers have.

    Args:
        img_size: edge of the images in pixels.
        patch_size: of the stem, 2 or 4.
        in_chans: channels of the images.
        kwargs: as for `PooledMixer`.
    """

    def __init__(self, *, img_size: int = 32, patch_size: int = 4, in_chans: int = 3, **kwargs: Any) -> None:
        sizes: dict[str, Any] = {"img_size": img_size, "patch_size": patch_size, "in_chans": in_chans}
        super().__init__(**sizes, **kwargs)
        self.stem = PicoStem(**sizes, embed_dim=self.embed_dim)


@register_model
def resnet_pico(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A residual network of nine basic blocks in three stages of 16, 32 and 64 channels; 0.27 M parameters."""
    arguments: dict[str, Any] = {
        "block": BasicBlock,
        "layers": (3, 3, 3),
        "channels": (16, 32, 64),
        "stem_type": "deep",
        "stem_width": 8,
        "num_classes": 10,
    }
    model: nn.Module = build_model_with_cfg(
        NanoResNet, "resnet_pico", pretrained, feature_cfg={"out_indices": (0, 1, 2, 3)}, **{**arguments, **kwargs}
    )
    return model


# What ViT, ConvViT and Mixer have in common.
_SIZES: dict[str, Any] = {"img_size": 32, "patch_size": 4, "embed_dim": 48, "num_classes": 10}
# timm's own weights, of a deviation of 0.02, are meant for hundreds of channels; with 48 the branches begin near 0.
_ATTENTION: dict[str, Any] = {**_SIZES, "embed_layer": PicoStem, "mlp_ratio": 2.0, "weight_init": "jax"}
_VIT: dict[str, Any] = {**_ATTENTION, "depth": 6, "num_heads": 3}


def _transformer(
    name: str, kind: type[VisionTransformer], pretrained: bool, arguments: dict[str, Any], *, default: str
) -> nn.Module:
    model: nn.Module = build_model_with_cfg(
        kind,
        name,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": 3, "feature_cls": "getter"},
        **vision_transformer_arguments(name, {**_VIT, **arguments}, default=default),
    )
    return model


@register_model
def vit_pico(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A vision transformer of six blocks: patches of 4 px from two convolutions, 48 channels, 3 heads of 16 channels.

    `classifier` is "cls" (default), "gap", "gmp" or "map". The channels of a head stay when `num_heads` and `embed_dim`
    change together: `vit_pico?num_heads=6&embed_dim=96`.
    """
    return _transformer("vit_pico", VisionTransformer, pretrained, kwargs, default="cls")


@register_model
def convvit_pico(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """`vit_pico` whose tokens see their 3x3 neighbours, with classifier "gap" by default.

    With `kernel_size="global"` it computes what `vit_pico?classifier=gap` does.
    """
    return _transformer("convvit_pico", ConvVisionTransformer, pretrained, kwargs, default="gap")


@register_model
def swin_pico(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """A Swin Transformer of three stages of two blocks: grids of 16, 8 and 4, windows of 4x4, heads of 24 channels.

    `classifier` is "gap" (default), "gmp" or "map".
    """
    arguments: dict[str, Any] = {
        **_ATTENTION,
        "patch_size": 2,
        "embed_dim": 24,
        "depths": (2, 2, 2),
        "num_heads": (1, 2, 4),
        "window_size": 4,
        "drop_path_rate": 0.0,
    }
    model: nn.Module = build_model_with_cfg(
        PooledSwin,
        "swin_pico",
        pretrained,
        feature_cfg={"flatten_sequential": True, "out_indices": (0, 1, 2)},
        **{**arguments, **kwargs},
    )
    return model


@register_model
def mixer_pico(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """An MLP-Mixer of six blocks with the stem, the tokens and the channel MLPs of `vit_pico`.

    `classifier` is "gap" (default), "gmp" or "map".
    """
    arguments: dict[str, Any] = {**_SIZES, "num_blocks": 6, "mlp_ratio": (0.5, 2.0)}
    model: nn.Module = build_model_with_cfg(
        PicoMixer,
        "mixer_pico",
        pretrained,
        feature_cfg={"out_indices": 3, "feature_cls": "getter"},
        **{**arguments, **kwargs},
    )
    return model
