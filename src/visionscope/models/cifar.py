"""The residual networks for CIFAR of He et al. 2016 (section 4.2), registered with timm."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from visionscope.errors import ConfigError

__all__ = ["CifarResNet"]

_DEPTHS = {20: 3, 32: 5, 44: 7, 56: 9, 110: 18}  # weighted layers -> blocks per stage

default_cfgs = generate_default_cfgs(
    {
        f"resnet_{layers}_cifar": {
            "url": "",
            "num_classes": 10,
            "input_size": (3, 32, 32),
            "pool_size": (8, 8),
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "first_conv": "conv1",
            "classifier": "linear",
        }
        for layers in _DEPTHS
    }
)


class ZeroPadShortcut(nn.Module):
    """Option A of He et al.: takes every second row and column and fills the new channels with zeros.

    The zeros are split evenly around the old channels, as in the published checkpoints.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.padding = (channels_out - channels_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, c_in, h, w) to (b, c_out, h / stride, w / stride)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))


class CifarBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation, the sum with the shortcut, then ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        same = stride == 1 and channels_in == channels_out
        self.shortcut = nn.Identity() if same else ZeroPadShortcut(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, c_in, h, w) to (b, c_out, h / stride, w / stride)."""
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(branch + self.shortcut(x))


class CifarResNet(nn.Module):
    """A 3x3 stem and three stages of 16, 32 and 64 channels at full, half and quarter resolution.

    Args:
        depth: blocks per stage; 3 makes ResNet-20.
        num_classes: size of the head; 0 leaves it out.
        in_chans: channels of the images.
    """

    def __init__(self, depth: int = 3, num_classes: int = 10, in_chans: int = 3) -> None:
        super().__init__()
        self.num_classes, self.num_features, self.head_hidden_size = num_classes, 64, 64
        self.conv1 = nn.Conv2d(in_chans, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, 1, depth)
        self.layer2 = _stage(16, 32, 2, depth)
        self.layer3 = _stage(32, 64, 2, depth)
        self.linear = nn.Linear(64, num_classes) if num_classes else nn.Identity()
        self.feature_info = [
            {"num_chs": 16 * 2**index, "reduction": 2**index, "module": f"layer{index + 1}"} for index in range(3)
        ]
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def get_classifier(self) -> nn.Module:
        """The head."""
        return self.linear

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Puts a new head in place.

        Args:
            num_classes: its size; 0 leaves it out.
            global_pool: for timm's signature; this family always averages.
        """
        self.num_classes = num_classes
        self.linear = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """Maps images (b, c, h, w) to features (b, 64, h / 4, w / 4)."""
        features: Tensor = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Maps features to logits (b, num_classes), or to their means (b, 64)."""
        pooled = torch.mean(x, dim=(2, 3))
        return pooled if pre_logits else self.linear(pooled)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images (b, c, h, w) to logits (b, num_classes)."""
        return self.forward_head(self.forward_features(x))


def _stage(channels_in: int, channels_out: int, stride: int, depth: int) -> nn.Sequential:
    first = CifarBlock(channels_in, channels_out, stride)
    return nn.Sequential(first, *(CifarBlock(channels_out, channels_out, 1) for _ in range(depth - 1)))


def _resnet(layers: int, pretrained: bool, arguments: dict[str, Any]) -> nn.Module:
    """The network of a name, which fixes its depth.

    Raises:
        ConfigError: for another depth.
    """
    name, depth = f"resnet_{layers}_cifar", _DEPTHS[layers]
    if arguments.get("depth", depth) != depth:
        named = {blocks: f"resnet_{other}_cifar" for other, blocks in _DEPTHS.items()}
        listed = ", ".join(f"{other} has {blocks}" for blocks, other in named.items())
        asked = arguments["depth"]
        instead = f"take {named[asked]}" if asked in named else f"the names there are: {listed}"
        raise ConfigError(
            f"{name}: its name fixes depth, {depth} blocks per stage; got {asked!r}, {instead}. "
            "It takes num_classes and in_chans"
        )
    model: nn.Module = build_model_with_cfg(
        CifarResNet,
        name,
        pretrained,
        feature_cfg={"out_indices": (0, 1, 2)},
        **{"depth": depth, **arguments},
    )
    return model


@register_model
def resnet_20_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-20: nine basic blocks, 0.27 M parameters; reads the public `resnet20-12fca82f.th` checkpoint."""
    return _resnet(20, pretrained, kwargs)


@register_model
def resnet_32_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-32: fifteen basic blocks, 0.46 M parameters; reads the public checkpoints of that name."""
    return _resnet(32, pretrained, kwargs)


@register_model
def resnet_44_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-44: 21 basic blocks, 0.66 M parameters; reads the public checkpoints of that name."""
    return _resnet(44, pretrained, kwargs)


@register_model
def resnet_56_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-56: 27 basic blocks, 0.85 M parameters; reads the public checkpoints of that name."""
    return _resnet(56, pretrained, kwargs)


@register_model
def resnet_110_cifar(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """ResNet-110: 54 basic blocks, 1.73 M parameters; reads the public checkpoints of that name."""
    return _resnet(110, pretrained, kwargs)
