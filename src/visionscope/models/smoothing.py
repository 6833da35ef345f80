"""Spatial smoothing: fixed blurs at the ends of a network's stages (Park & Kim, ICML 2022, arXiv 2105.12639)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.regnet import RegStage
from torch import Tensor, nn

from visionscope.errors import ConfigError


class SpatialSmoothing(nn.Module):
    """y = Blur(ReLU(t * tanh(x / t))), Blur the mean over 2x2 pixels at stride 1.

    The blur multiplies a frequency (w1, w2), in radians per pixel, by `|cos(w1 / 2) cos(w2 / 2)|`. It has no parameters
    and no state: in the official code it is a `Parameter` that isn't trained, and comes into weight decay and l2 norms.

    By default the map keeps its size, the last row and column being repeated before the blur. The official code lets it
    grow by one in height and width, with zeros around that darken its border; `padding="official"` does that.

    Args:
        temperature: t; x is passed on almost as it is where it is well below, and cut at it.
        padding: "same" or "official".

    Raises:
        ConfigError: for a temperature that is not positive, or another padding.
    """

    def __init__(self, *, temperature: float = 10.0, padding: str = "same") -> None:
        super().__init__()
        if not temperature > 0:
            raise ConfigError(f"temperature must be positive; got {temperature}. The paper's is 10")
        if padding not in ("same", "official"):
            raise ConfigError(f"padding must be same or official; got {padding!r}")
        self.temperature, self.padding = temperature, padding

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, c, h, w) to (b, c, h, w), or with the official padding to (b, c, h + 1, w + 1)."""
        x = F.relu(self.temperature * torch.tanh(x / self.temperature))
        if self.padding == "official":
            return F.avg_pool2d(x, 2, stride=1, padding=1)
        return F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2, stride=1)

    def extra_repr(self) -> str:
        """What `print` says of it."""
        return f"temperature={self.temperature}, padding={self.padding!r}"


def add_smoothing(model: nn.Module, stages: Sequence[int] | None = None, **arguments: Any) -> nn.Module:
    """Puts a smoothing block at the end of stages of a timm CNN, that is before the next one's subsampling.

    The stages are those that timm's `feature_info` names, without a stem: layer1 to layer4 of a ResNet. Names of
    weights stay as they are, so that checkpoints of the plain network still fit.

    Args:
        model: a ResNet, pre-activation ResNet, ResNeXt, RegNet, ConvNeXt, EfficientNet or another with sequences
            of blocks for stages; is changed in place.
        stages: which, counted from 1; by default all. Those nearer to the output help more.
        arguments: as for `SpatialSmoothing`.

    Returns:
        The model.

    Raises:
        ConfigError: when the model has no such stages, or a number is not one of them.
    """
    found = _ends(model)
    if not found:
        raise ConfigError(
            f"smoothing needs a network with stages of blocks that timm describes in feature_info, such as resnet50 "
            f"or convnext_tiny; got {type(model).__name__}"
        )
    numbers = range(1, len(found) + 1) if stages is None else stages
    for number in numbers:
        if not 1 <= number <= len(found):
            raise ConfigError(f"stages must be numbers from 1 to {len(found)}; got {number}")
    blocks = {number: SpatialSmoothing(**arguments) for number in numbers}
    for number, block in blocks.items():
        found[number - 1].add_module("smoothing", block)
    return model


def _ends(model: nn.Module) -> list[nn.Module]:
    """The modules that run their children one after the other, one for each stage."""
    if getattr(model, "output_fmt", "NCHW") != "NCHW":  # Swin and the like have their channels last
        return []
    ends: list[nn.Module] = []
    for info in getattr(model, "feature_info", ()):
        stage = dict(model.named_modules()).get(info["module"])
        inner = getattr(stage, "blocks", stage)
        if isinstance(inner, nn.Sequential | RegStage) and len(list(inner.children())):
            ends.append(inner)
    return ends
