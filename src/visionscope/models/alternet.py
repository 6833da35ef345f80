"""AlterNet: a pre-activation ResNet with attention blocks at the ends of its stages (PAPER.md 1.15), for timm.

A network is data: one `Stage` per resolution, which lists its blocks. `alternate` writes such a list by the paper's
rule from two numbers, and `AlterNet` assembles what the stages say from timm's parts and `MsaBlock`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.layers.classifier import ClassifierHead
from timm.layers.create_norm_act import get_norm_act_layer
from timm.layers.drop import calculate_drop_path_rates
from timm.models import ResNetV2, build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from visionscope.errors import ConfigError
from visionscope.models.official import translate
from visionscope.models.paper import CIFAR_100
from visionscope.models.shipped import weights_file
from visionscope.models.stages import MIX, AlterNetStage, Stage, alternate, build_stem
from visionscope.models.windows import draw_convolutions

__all__ = ["AlterNet", "Stage", "alternate"]

_CFG = {"url": "", "first_conv": "stem.conv", "classifier": "head.fc", "interpolation": "bicubic"}
_IMAGENET = {
    **_CFG,
    "num_classes": 1000,
    "input_size": (3, 224, 224),
    "pool_size": (7, 7),
    "crop_pct": 0.875,
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
_CIFAR = {**_CFG, **CIFAR_100}
_NANO = {
    **_CIFAR,
    "file": str(weights_file("alternet_nano")),
    "num_classes": 10,
    "first_conv": "stem.conv1",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
}

default_cfgs = generate_default_cfgs(
    {
        **{f"alternet_{depth}": _IMAGENET for depth in (18, 34, 50, 101, 152)},
        **{f"alternet_{depth}_cifar": _CIFAR for depth in (18, 34, 50)},
        "alternet_nano": _NANO,
        **{name: {**_NANO, "file": None} for name in ("alternet_pico", "preresnet_pico")},
    }
)


class AlterNet(ResNetV2):
    """Stem, stages, normalisation with activation, and a linear classifier on the mean over the positions.

    The modules have the names of those in timm's pre-activation ResNet, so its methods (head, groups of parameters,
    gradient checkpointing) are inherited; its constructor, which knows one kind of block, is not called.

    Args:
        stages: what to build, from the highest resolution to the lowest.
        in_chans: channels of the images.
        num_classes: size of the head; 0 leaves it out.
        global_pool: as timm's `ClassifierHead` knows it.
        stem: "plain" is one 3x3 convolution, as for CIFAR; "pooled" a 7x7 convolution and a max pooling, each of stride
            2, as for ImageNet; "deep" three 3x3 convolutions, the first of stride 2. None ends with a normalisation,
            since the first block starts with one.
        stem_chs: channels of the stem.
        bottleneck: bottleneck blocks, or basic ones (two 3x3 convolutions).
        per_head_bias: a table of relative positions per head rather than one for all, which is the official code's.
        drop_rate: dropout before the classifier.
        attn_drop_rate: dropout of attention weights.
        drop_path_rate: of the last block; that of the first is 0 and the others lie on the line between.
        norm_layer: normalisation.
        act_layer: activation in convolution blocks and before the classifier.
        msa_act_layer: activation in attention blocks; the official ones differ.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        stem: str = "pooled",
        stem_chs: int = 64,
        bottleneck: bool = True,
        per_head_bias: bool = False,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        norm_layer: Any = nn.BatchNorm2d,
        act_layer: Any = nn.ReLU,
        msa_act_layer: Any = nn.GELU,
    ) -> None:
        nn.Module.__init__(self)
        self.num_classes, self.in_chans, self.drop_rate = num_classes, in_chans, drop_rate
        norm_act = get_norm_act_layer(norm_layer, act_layer=act_layer)
        self.stem = build_stem(stem, in_chans, stem_chs, norm_act)
        reduction = 1 if stem == "plain" else 2
        # The stem's map is that before its pooling, as in timm's pre-activation ResNet.
        stem_map = "conv3" if stem == "deep" else "conv"
        self.stem_feat_idx = list(dict(self.stem.named_children())).index(stem_map)
        self.feature_info = [{"num_chs": stem_chs, "reduction": reduction, "module": f"stem.{stem_map}"}]
        reduction *= 2 if stem == "pooled" else 1

        depths = [len(stage.blocks) for stage in stages]
        rates: list[Any] = calculate_drop_path_rates(drop_path_rate, depths, stagewise=True)
        self.stages = nn.Sequential()
        channels = stem_chs
        for index, (stage, drop_paths) in enumerate(zip(stages, rates, strict=True)):
            built = AlterNetStage(
                channels,
                stage,
                bottleneck=bottleneck,
                drop_paths=drop_paths,
                norm_layer=norm_layer,
                act_layer=act_layer,
                msa_act_layer=msa_act_layer,
                per_head_bias=per_head_bias,
                attn_drop=attn_drop_rate,
            )
            self.stages.append(built)
            channels, reduction = stage.channels, reduction * stage.stride
            self.feature_info.append({"num_chs": channels, "reduction": reduction, "module": f"stages.{index}"})
        self.num_features = channels
        self.norm = norm_act(channels)
        self.head = ClassifierHead(channels, num_classes, pool_type=global_pool, drop_rate=drop_rate)
        self.head_hidden_size = self.head.num_features
        draw_convolutions(self)

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that regularisation leaves alone: the tables of relative positions."""
        return {name for name, _ in self.named_parameters() if "relative_position_bias_table" in name}

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The features together with the maps of stem (index 0) and stages (from 1).

        Args:
            x: images (b, c, h, w).
            indices: which maps; an int means the last so many, None all.
            norm: whether the last stage's map is normalised.
            stop_early: don't compute beyond the last map that is asked for.
            output_fmt: "NCHW", the only one.
            intermediates_only: return the maps alone.

        Raises:
            ConfigError: for another output_fmt.
        """
        if output_fmt != "NCHW":
            raise ConfigError(f"output_fmt must be NCHW; got {output_fmt!r}")
        wanted, last = feature_take_indices(len(self.stages) + 1, indices)
        maps = []
        for index, layer in enumerate(self.stem):
            x = layer(x)
            if index == self.stem_feat_idx and 0 in wanted:
                maps.append(x)
        for index, stage in enumerate(self.stages if not stop_early else self.stages[:last], start=1):
            x = stage(x)
            if index in wanted:
                maps.append(self.norm(x) if norm and index == len(self.stages) else x)
        if intermediates_only:
            return maps
        return (x if stop_early and last < len(self.stages) else self.norm(x)), maps

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drops what the chosen maps don't need; returns their indices.

        Args:
            indices: as for `forward_intermediates`.
            prune_norm: drop the last normalisation.
            prune_head: drop the head.
        """
        wanted, last = feature_take_indices(len(self.stages) + 1, indices)
        self.stages = self.stages[:last]
        if prune_norm:
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0, "")
        return list(wanted)


def checkpoint_filter_fn(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A checkpoint of the official code (xxxnell/how-do-vits-work) under the names used here; others stay as they are.

    Args:
        state: tensors by the names of the file.
        model: for timm's signature.
    """
    return translate(state)


def _per_stage(name: str, value: Any, count: int) -> tuple[Any, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,) * count
    if len(values) != count:
        raise ConfigError(f"{name} must be one number, or {count} of them, one per stage; got {len(values)}: {value}")
    return values


def _alternet(
    name: str,
    pretrained: bool,
    *,
    blocks: Sequence[int] = (3, 4, 6, 4),
    msa: Sequence[int] = (0, 1, 3, 2),
    channels: Sequence[int] = (256, 512, 1024, 2048),
    num_heads: int | Sequence[int] = (3, 6, 12, 24),
    head_dim: int | Sequence[int] = 64,
    window_size: int | Sequence[int] = 7,
    mixer: str = "",
    stages: Sequence[Stage] | None = None,
    **arguments: Any,
) -> nn.Module:
    """An AlterNet by numbers per stage, with a mixer in the places of attention if one is named.

    `stages`, where given, says it all instead of the numbers.
    """
    if stages is None:
        count = len(blocks)
        slot = f"{MIX}{mixer}" if mixer else "msa"
        orders = (alternate(*pair) for pair in zip(blocks, _per_stage("msa", msa, count), strict=True))
        kinds = (tuple(slot if kind == "msa" else kind for kind in order) for order in orders)
        numbers = {"channels": channels, "num_heads": num_heads, "head_dim": head_dim, "window_size": window_size}
        columns = [_per_stage(key, value, count) for key, value in numbers.items()]
        stages = tuple(
            Stage(blocks=order, stride=1 if index == 0 else 2, **dict(zip(numbers, row, strict=True)))
            for index, (order, *row) in enumerate(zip(kinds, *columns, strict=True))
        )
    features = {"flatten_sequential": True, "out_indices": tuple(range(len(stages) + 1))}
    model: nn.Module = build_model_with_cfg(
        AlterNet,
        name,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg=features,
        stages=stages,
        **arguments,
    )
    return model


# Basic blocks, of the channels of a bottleneck's middle.
_BASIC = {"channels": (64, 128, 256, 512), "bottleneck": False}
_18: dict[str, Any] = {"blocks": (2, 2, 2, 2), "msa": (0, 1, 1, 1), **_BASIC}
_SMALL_IMAGES: dict[str, Any] = {"stem": "plain", "window_size": 4}


@register_model
def alternet_18(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Basic blocks 2-2-2-2, attention 0-1-1-1, for ImageNet; the official `dnn_18`."""
    return _alternet("alternet_18", pretrained, **{**_18, **kwargs})


@register_model
def alternet_34(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Basic blocks 3-4-6-4, attention 0-1-3-2, for ImageNet."""
    return _alternet("alternet_34", pretrained, **{**_BASIC, **kwargs})


@register_model
def alternet_50(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The paper's ImageNet form (Fig. D.5): 3-4-6-4, attention 0-1-3-2, window 7; 35.9 M parameters."""
    return _alternet("alternet_50", pretrained, **kwargs)


@register_model
def alternet_101(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Bottleneck blocks 3-4-23-4, attention 0-1-3-2, for ImageNet; 54.9 M parameters."""
    return _alternet("alternet_101", pretrained, **{"blocks": (3, 4, 23, 4), **kwargs})


@register_model
def alternet_152(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Bottleneck blocks 3-8-36-4, attention 0-1-3-2, for ImageNet."""
    return _alternet("alternet_152", pretrained, **{"blocks": (3, 8, 36, 4), **kwargs})


@register_model
def alternet_18_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """`alternet_18` for small images: a 3x3 stem, window 4; 9.50 M parameters."""
    return _alternet("alternet_18_cifar", pretrained, **{**_18, **_SMALL_IMAGES, **kwargs})


@register_model
def alternet_34_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """`alternet_34` for small images: a 3x3 stem, window 4; 22.36 M parameters."""
    return _alternet("alternet_34_cifar", pretrained, **{**_BASIC, **_SMALL_IMAGES, **kwargs})


@register_model
def alternet_50_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The paper's CIFAR form (Fig. 11): 3-4-6-4, attention 0-1-1-2, window 4, a 3x3 stem; 33.01 M parameters.

    With `msa=(0,0,0,0)` it is the network that the paper starts from.
    """
    return _alternet("alternet_50_cifar", pretrained, **{"msa": (0, 1, 1, 2), **_SMALL_IMAGES, **kwargs})


@register_model
def alternet_nano(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """For laptops: basic blocks 2-3-3 of 32, 64 and 128 channels, the last of stages 2 and 3 attention in 4x4 windows.

    The stem is `resnet_nano`'s; 0.77 M parameters.
    """
    arguments: dict[str, Any] = {
        "blocks": (2, 3, 3),
        "msa": (0, 1, 1),
        "channels": (32, 64, 128),
        "num_heads": (1, 2, 4),
        "head_dim": 16,
        "window_size": 4,
        "stem": "deep",
        "stem_chs": 32,
        "bottleneck": False,
    }
    return _alternet("alternet_nano", pretrained, **{**arguments, **kwargs})


_PICO: dict[str, Any] = {
    "blocks": (2, 3, 3),
    "channels": (48, 96, 192),
    "num_heads": (3, 6, 12),
    "head_dim": 12,
    "window_size": 4,
    "stem": "deep",
    "stem_chs": 16,
}


@register_model
def alternet_pico(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """For studies that train many: bottlenecks 2-3-3 of 48, 96 and 192 channels, attention 0-1-1; 0.20 M parameters.

    Channels, heads and their channels are in the proportions of `alternet_50_cifar`.
    """
    return _alternet("alternet_pico", pretrained, **{**_PICO, "msa": (0, 1, 1), **kwargs})


@register_model
def preresnet_pico(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The pre-activation ResNet that `alternet_pico` is built from, without attention; 0.18 M parameters.

    `channels` widens it: `preresnet_pico?channels=(50,104,208)`.
    """
    return _alternet("preresnet_pico", pretrained, **{**_PICO, "msa": (0, 0, 0), **kwargs})
