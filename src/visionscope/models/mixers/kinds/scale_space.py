"""Scale space with a scale of its own for each position."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionscope.core.rules import rule
from visionscope.models.mixers.mixer import LowPass, Mixer, register


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianScaleSpace(Mixer):
    """Gaussian blurs of several widths, of which every position takes its own mean.

        y_ci = sum_s softmax_s(a_s(x)_i) (G_sigma_s * x_c)_i,    sigma_s = 0, 1, 2, 4, ...

    with a 1x1 convolution a, and G_0 * x = x. So a position chooses its scale, as in automatic scale selection
    (Lindeberg 1998), but softly and by training. Kernels end at 3 sigma and add to one; beyond the edge lie the edge's
    values.

    Attributes:
        scales: how many widths there are, sigma = 0 among them.
    """

    name: ClassVar[str] = "gaussian_scale_space"
    does: ClassVar[str] = "y = sum_s softmax_s(a_s(x)) (G_sigma_s * x)"
    source: ClassVar[str] = "after Lindeberg 1998, Feature Detection with Automatic Scale Selection"
    low_pass: ClassVar[LowPass] = "always"
    data_specific: ClassVar[bool] = True
    scales: int = rule(3, least=2, most=6)

    def reach(self) -> int | None:
        """Three times the largest standard deviation."""
        return 3 * (1 << (self.scales - 2))

    def build(self, dim: int) -> nn.Module:
        """One set of weights over the scales for all channels."""
        return _GaussianScaleSpace(dim, self.scales)


class _GaussianScaleSpace(nn.Module):
    def __init__(self, dim: int, scales: int) -> None:
        super().__init__()
        self.scale = nn.Conv2d(dim, scales, 1)
        self.sigmas = [2.0**exponent for exponent in range(scales - 1)]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, dim, h, w) to the same."""
        first, *others = self.scale(x).softmax(1).split(1, 1)
        y: Tensor = first * x
        for weight, sigma in zip(others, self.sigmas, strict=True):
            y = y + weight * _blurred(x, sigma)
        return y


def _blurred(x: Tensor, sigma: float) -> Tensor:
    radius, channels = math.ceil(3 * sigma), x.shape[1]
    places = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    total = sum(math.exp(-0.5 * (place / sigma) ** 2) for place in range(-radius, radius + 1))
    kernel = torch.exp(places.square() * (-0.5 / sigma**2)) / total
    x = F.pad(x, (0, 0, radius, radius), mode="replicate")
    x = F.conv2d(x, kernel.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    x = F.pad(x, (radius, radius, 0, 0), mode="replicate")
    return F.conv2d(x, kernel.reshape(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
