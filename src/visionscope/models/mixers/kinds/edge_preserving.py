"""Mixers that blur within what is alike and keep edges."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from visionscope.core.rules import rule
from visionscope.models.mixers.kornia_filters import kornia_filters
from visionscope.models.mixers.mixer import LowPass, Mixer, register

_ODD = tuple(range(3, 32, 2))


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Bilateral(Mixer):
    """The bilateral filter: a mean over near positions that are alike (Tomasi & Manduchi 1998).

        y_i = sum_j w_ij x_j / sum_j w_ij
        w_ij = exp(-|p_i - p_j|^2 / (2 sigma_space^2)) exp(-d_ij^2 / (2 sigma_value^2))

    over a window, with d_ij^2 = mean_c (x_ci - x_cj)^2: all channels have the same weights. The mean in place of the
    sum makes one `sigma_value` right at any width; two unrelated positions of a normalised map are sqrt(2) apart.
    Beyond the edge lie the edge's values.

    Attributes:
        kernel_size: edge of the window, odd.
        sigma_space: standard deviation over positions.
        sigma_value: standard deviation over differences of values.
    """

    name: ClassVar[str] = "bilateral"
    does: ClassVar[str] = "mean over near positions, weighted by likeness"
    source: ClassVar[str] = "Tomasi & Manduchi 1998, doi:10.1109/ICCV.1998.710815"
    library: ClassVar[str] = "kornia.filters"
    low_pass: ClassVar[LowPass] = "always"
    data_specific: ClassVar[bool] = True
    kernel_size: int = rule(5, choices=_ODD, words="an odd number from 3 to 31")
    sigma_space: float = rule(1.5, above=0, most=100)
    sigma_value: float = rule(1.0, above=0, most=100)

    def reach(self) -> int | None:
        """Half a window."""
        return self.kernel_size // 2

    def build(self, dim: int) -> nn.Module:
        """Kornia's, with the Euclidean distance over the channels."""
        blur: nn.Module = kornia_filters(self.name).BilateralBlur(
            self.kernel_size,
            self.sigma_value * math.sqrt(dim),
            (self.sigma_space, self.sigma_space),
            border_type="replicate",
            color_distance_type="l2",
        )
        return blur


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Guided(Mixer):
    """The guided filter, by which every channel guides itself (He et al. 2013, doi:10.1109/TPAMI.2012.213).

        y_i = mean_i(a) x_i + mean_i(b),    a_k = var_k / (var_k + eps),    b_k = (1 - a_k) mean_k

    with mean and variance of x over the window around each position, channel by channel: what varies much more than
    eps is kept, what varies less becomes its mean. Guided by all channels together it would need a dim x dim system of
    equations at each position. He's eps of 0.1^2 to 0.4^2 is for images from 0 to 1, with a standard deviation of about
    1/4: a sixth to 2.6 times the variance. Here it is for maps of variance 1. Beyond the edge lie the edge's values.

    Attributes:
        kernel_size: edge of the window, odd.
        eps: variance at which half of the detail is kept.
    """

    name: ClassVar[str] = "guided"
    does: ClassVar[str] = "y = mean(a) x + mean(b), a = var / (var + eps)"
    source: ClassVar[str] = "He et al. 2013, doi:10.1109/TPAMI.2012.213"
    library: ClassVar[str] = "kornia.filters"
    low_pass: ClassVar[LowPass] = "always"
    data_specific: ClassVar[bool] = True
    kernel_size: int = rule(5, choices=_ODD, words="an odd number from 3 to 31")
    eps: float = rule(0.5, above=0, most=1e6)

    def reach(self) -> int | None:
        """Two half windows: means of what is computed from means."""
        return 2 * (self.kernel_size // 2)

    def build(self, dim: int) -> nn.Module:
        """Kornia's, as if every channel were an image."""
        return _Guided(kornia_filters(self.name).guided_blur, self.kernel_size, self.eps)


class _Guided(nn.Module):
    def __init__(self, blur: Callable[..., Tensor], kernel_size: int, eps: float) -> None:
        super().__init__()
        self.blur = blur
        self.kernel_size = kernel_size
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, c, h, w) to the same."""
        images = x.reshape(-1, 1, *x.shape[2:])
        filtered = self.blur(images, images, self.kernel_size, self.eps, border_type="replicate", separable=True)
        return filtered.reshape(x.shape)
