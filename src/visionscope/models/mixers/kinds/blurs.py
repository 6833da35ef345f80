"""Mixers that are a fixed blur, the same in every channel."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

from timm.layers.blur_pool import BlurPool2d
from timm.models.metaformer import Pooling as TimmPooling
from torch import Tensor, nn

from visionscope.core.rules import rule
from visionscope.models.mixers.kornia_filters import kornia_filters
from visionscope.models.mixers.mixer import LowPass, Mixer, register


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Gaussian(Mixer):
    """A Gaussian blur of fixed width, as linear scale space has it (Lindeberg 1994).

        y_ci = sum_d g_d x_c,i+d,    g_d ~ exp(-|d|^2 / (2 sigma^2)),    sum_d g_d = 1

    for |d| up to 3 sigma in each direction, with the edge's values beyond the edge. Nothing is learned.

    Attributes:
        sigma: standard deviation in positions.
    """

    name: ClassVar[str] = "gaussian"
    does: ClassVar[str] = "y = G_sigma * x"
    source: ClassVar[str] = "Lindeberg 1994, Scale-Space Theory in Computer Vision"
    library: ClassVar[str] = "kornia.filters"
    low_pass: ClassVar[LowPass] = "always"
    data_specific: ClassVar[bool] = False
    sigma: float = rule(1.0, least=0.3, most=16.0)

    def reach(self) -> int | None:
        """Three standard deviations, rounded up."""
        return math.ceil(3 * self.sigma)

    def build(self, dim: int) -> nn.Module:
        """Kornia's kernel and convolutions, one across and one down."""
        filters = kornia_filters(self.name)
        return _Gaussian(filters.get_gaussian_kernel1d, filters.filter2d_separable, self.sigma)


class _Gaussian(nn.Module):
    """Kornia's `GaussianBlur2d` by convolutions on maps of all sizes, so that costs don't depend on the device."""

    def __init__(self, kernel: Callable[..., Tensor], blur: Callable[..., Tensor], sigma: float) -> None:
        super().__init__()
        self.kernel = kernel
        self.blur = blur
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, c, h, w) to the same."""
        kernel = self.kernel(2 * math.ceil(3 * self.sigma) + 1, self.sigma, device=x.device, dtype=x.dtype)
        return self.blur(x, kernel, kernel, border_type="replicate")


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class BlurPool(Mixer):
    """The binomial blur that stands before subsampling in BlurPool (Zhang 2019, arXiv:1904.11486), without subsampling.

    `y_i = sum_d k_d x_(i+d)` in every channel. The kernel k is the outer product with itself of binomial
    coefficients over their sum, [1, 2, 1] / 4 for size 3. Beyond the edge lie the edge's values: timm's default is the
    reflected map, which a map of one row does not have.

    Attributes:
        kernel_size: edge of the kernel, odd.
    """

    name: ClassVar[str] = "blur_pool"
    does: ClassVar[str] = "binomial blur, 3x3 by default"
    source: ClassVar[str] = "Zhang 2019, arXiv:1904.11486"
    library: ClassVar[str] = "timm.layers.BlurPool2d"
    low_pass: ClassVar[LowPass] = "always"
    data_specific: ClassVar[bool] = False
    kernel_size: int = rule(3, choices=(3, 5, 7, 9), words="3, 5, 7 or 9")

    def reach(self) -> int | None:
        """Half a kernel."""
        return self.kernel_size // 2

    def build(self, dim: int) -> nn.Module:
        """Timm's, with stride 1."""
        return BlurPool2d(dim, self.kernel_size, stride=1, pad_mode="replicate")


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class Pooling(Mixer):
    """PoolFormer's mixer (Yu et al. 2022, arXiv:2111.11418): the mean over a window minus the position itself.

        y_ci = mean_d(x_c,i+d) - x_ci

    over the positions of the window that are on the map. The mean is a low-pass filter, but minus x it is a high-pass
    one, which takes the mean of a map away altogether. It becomes a blur again in PoolFormer, whose skip adds that same
    x. Here the skip goes around the 1x1 convolutions, too, so they decide.

    Attributes:
        window_size: edge of the window, odd.
    """

    name: ClassVar[str] = "pooling"
    does: ClassVar[str] = "y = mean over a window - x"
    source: ClassVar[str] = "Yu et al. 2022, arXiv:2111.11418"
    library: ClassVar[str] = "timm.models.metaformer.Pooling"
    low_pass: ClassVar[LowPass] = "never"
    data_specific: ClassVar[bool] = False
    window_size: int = rule(3, choices=tuple(range(3, 64, 2)), words="an odd number from 3 to 63")

    def reach(self) -> int | None:
        """Half a window."""
        return self.window_size // 2

    def build(self, dim: int) -> nn.Module:
        """Timm's."""
        pooling: nn.Module = TimmPooling(self.window_size)
        return pooling
