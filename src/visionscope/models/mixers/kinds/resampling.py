"""Mixers that go down to lower resolutions and back."""

from __future__ import annotations

import dataclasses
import itertools
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionscope.core.rules import rule
from visionscope.models.mixers.mixer import LowPass, Mixer, register

_REDUCTION = 4  # of the hidden layer that gates channels


def _halved(x: Tensor) -> Tensor:
    """At half the height and width, rounded up; bilinear with antialiasing, which at even sizes is [1, 3, 3, 1] / 8."""
    size = [-(-length // 2) for length in x.shape[2:]]
    return F.interpolate(x, size, mode="bilinear", antialias=True)


def _raised(x: Tensor, like: Tensor) -> Tensor:
    """At the size of another map; bilinear."""
    return F.interpolate(x, like.shape[2:], mode="bilinear")


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaleDecomposition(Mixer):
    """The bands of a Laplacian pyramid, each with a gate (Burt & Adelson 1983, doi:10.1109/TCOM.1983.1095851).

        y = sum_s g_s (L_s x),    L_s = U_s D_s - U_{s+1} D_{s+1},    s = 0 ... scales - 1

    D_s halves the map s times, U_s brings it back, and what is coarser than the last scale belongs to the last band, so
    the bands add to x. Gates are 2 sigmoid(a): one, and so y = x, where a = 0. With `gates`

    - `fixed`, a is a learned number per channel and scale, 0 at first: a filter that is the same for all maps;
    - `channel`, a comes from the mean over the map, by two layers with a GELU between, per channel and scale (as in
      Hu et al. 2018, arXiv:1709.01507);
    - `position`, a is a 1x1 convolution of x, per position and scale.

    Halving is bilinear with antialiasing, raising bilinear: Burt and Adelson's kernels have five taps and need sizes of
    2^n + 1, while these keep constants at any size. Kornia's pyramid would need a map padded to powers of two.

    Attributes:
        scales: how many bands there are.
        gates: what they depend on.
    """

    name: ClassVar[str] = "scale_decomposition"
    does: ClassVar[str] = "y = sum_s g_s L_s x, bands of a Laplacian pyramid"
    source: ClassVar[str] = "after Burt & Adelson 1983, doi:10.1109/TCOM.1983.1095851"
    low_pass: ClassVar[LowPass] = "can be"
    data_specific: ClassVar[bool] = False
    scales: int = rule(3, least=2, most=6)
    gates: Literal["fixed", "channel", "position"] = "fixed"

    def __post_init__(self) -> None:
        """Holds every field to its rule; whether it is specific to its data is a matter of the gates."""
        super().__post_init__()
        object.__setattr__(self, "data_specific", self.gates != "fixed")

    def reach(self) -> int | None:
        """At most: 2^(s+1) - 2 in halving s times and 2^s in raising, both exclusive; the whole map for `channel`."""
        return None if self.gates == "channel" else 3 * (1 << (self.scales - 1)) - 3

    def build(self, dim: int) -> nn.Module:
        """Gates for this many channels."""
        kind = {"fixed": _Numbers, "channel": _OfTheMean, "position": _OfThePosition}[self.gates]
        return _ScaleDecomposition(kind(dim, self.scales))


class _ScaleDecomposition(nn.Module):
    def __init__(self, gates: nn.Module) -> None:
        super().__init__()
        self.gates = gates

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, dim, h, w) to the same: g_0 x + sum_s (g_s - g_{s-1}) U_s D_s x, which is the sum over bands."""
        gates = (2 * self.gates(x).sigmoid()).unbind(1)
        y: Tensor = gates[0] * x
        coarse = x
        for finer, coarser in itertools.pairwise(gates):
            coarse = _halved(coarse)
            y = y + (coarser - finer) * _raised(coarse, x)
        return y


class _Numbers(nn.Module):
    def __init__(self, dim: int, scales: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(1, scales, dim, 1, 1))

    def forward(self, _: Tensor) -> Tensor:
        """(1, scales, dim, 1, 1)."""
        return self.logits


class _OfTheMean(nn.Module):
    def __init__(self, dim: int, scales: int) -> None:
        super().__init__()
        hidden = max(1, dim // _REDUCTION)
        self.layers = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, scales * dim))
        self.scales = scales

    def forward(self, x: Tensor) -> Tensor:
        """(b, scales, dim, 1, 1)."""
        logits: Tensor = self.layers(x.mean((2, 3)))
        return logits.reshape(len(x), self.scales, -1, 1, 1)


class _OfThePosition(nn.Module):
    def __init__(self, dim: int, scales: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, scales, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, scales, 1, h, w)."""
        logits: Tensor = self.conv(x)
        return logits.unsqueeze(2)


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class UNet(Mixer):
    """Down, a kernel, and up again, beside a skip, one inside the other (Ronneberger et al. 2015, arXiv:1505.04597).

        M_n(x) = x + U M_{n-1}(k_n * D x),    M_0(x) = x

    D halves the map (bilinear with antialiasing), U brings it back to the size of x (bilinear), and k_n is a depthwise
    3x3 convolution. The original has two dense convolutions with ReLU at each resolution, maximum pooling, and joins
    the skip by channels. Here all is linear, so that resampling alone is what mixes, and channels are left to the 1x1
    convolutions of the slot.

    Attributes:
        depth: how many times the map is halved.
    """

    name: ClassVar[str] = "unet"
    does: ClassVar[str] = "y = x + U(f(D x)), recursively"
    source: ClassVar[str] = "after Ronneberger et al. 2015, arXiv:1505.04597"
    low_pass: ClassVar[LowPass] = "can be"
    data_specific: ClassVar[bool] = False
    depth: int = rule(2, least=1, most=5)

    def reach(self) -> int | None:
        """At most: 2^(n+1) - 2 each in halving and in raising n times, both exclusive, and in the kernels."""
        return 6 * ((1 << self.depth) - 1) - 1

    def build(self, dim: int) -> nn.Module:
        """A kernel per channel and resolution."""
        return _UNet(dim, self.depth)


class _UNet(nn.Module):
    def __init__(self, dim: int, depth: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.below = _UNet(dim, depth - 1) if depth > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, dim, h, w) to the same."""
        return x + _raised(self.below(self.conv(_halved(x))), x)
