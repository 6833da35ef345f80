"""Mixers that are one learned kernel per channel."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionscope.core.rules import rule
from visionscope.models.mixers.mixer import LowPass, Mixer, register

_ODD = tuple(range(3, 64, 2))


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnedBlur(Mixer):
    """A blur per channel whose form is learned: a depthwise kernel of positive weights that add to one.

        y_ci = sum_d softmax_d(a_c)_d x_c,i+d

    with the edge's values beyond the edge, so that a constant stays what it is. It starts as the mean over the kernel,
    a = 0.

    Attributes:
        kernel_size: edge of the kernel, odd.
    """

    name: ClassVar[str] = "learned_blur"
    does: ClassVar[str] = "depthwise kernel of softmax weights"
    source: ClassVar[str] = "a control: a low-pass filter that is trained, and the same for all maps"
    low_pass: ClassVar[LowPass] = "always"
    data_specific: ClassVar[bool] = False
    kernel_size: int = rule(5, choices=_ODD, words="an odd number from 3 to 63")

    def reach(self) -> int | None:
        """Half a kernel."""
        return self.kernel_size // 2

    def build(self, dim: int) -> nn.Module:
        """A kernel per channel."""
        return _LearnedBlur(dim, self.kernel_size)


class _LearnedBlur(nn.Module):
    def __init__(self, dim: int, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.logits = nn.Parameter(torch.zeros(dim, kernel_size**2))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, dim, h, w) to the same."""
        size = self.kernel_size
        weights = self.logits.softmax(1).reshape(-1, 1, size, size)
        return F.conv2d(F.pad(x, (size // 2,) * 4, mode="replicate"), weights, groups=x.shape[1])


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class LargeKernel(Mixer):
    """A depthwise convolution with a large kernel, as in ConvNeXt (Liu et al. 2022, arXiv:2201.03545).

    `y_i = b + sum_d k_d x_(i+d)` in each channel, with weights k and a bias b of its own and zeros beyond the edge.

    Attributes:
        kernel_size: edge of the kernel, odd.
    """

    name: ClassVar[str] = "large_kernel"
    does: ClassVar[str] = "depthwise convolution, 7x7 by default"
    source: ClassVar[str] = "Liu et al. 2022, arXiv:2201.03545; Ding et al. 2022, arXiv:2203.06717"
    library: ClassVar[str] = "torch.nn.Conv2d"
    low_pass: ClassVar[LowPass] = "can be"
    data_specific: ClassVar[bool] = False
    kernel_size: int = rule(7, choices=_ODD, words="an odd number from 3 to 63")

    def reach(self) -> int | None:
        """Half a kernel."""
        return self.kernel_size // 2

    def build(self, dim: int) -> nn.Module:
        """Torch's, with torch's initial weights."""
        return nn.Conv2d(dim, dim, self.kernel_size, padding=self.kernel_size // 2, groups=dim)
