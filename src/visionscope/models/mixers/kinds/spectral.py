"""Mixers in the Fourier domain: fixed, learned, a network of the spectrum, a filter that the spectrum makes."""

from __future__ import annotations

import dataclasses
import math
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionscope.core.rules import rule
from visionscope.models.mixers.mixer import LowPass, Mixer, register

_BLOCKS = 4


def _transformable(x: Tensor) -> Tensor:
    """In float32 or float64: torch transforms nothing narrower on every device."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _uncast(x: Tensor) -> AbstractContextManager[object]:
    """Where autocast is off, if there is one: on the meta device, where costs are counted, there is none."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def _spectrum(x: Tensor) -> Tensor:
    """The half spectrum (b, c, h, w // 2 + 1) of maps, with norms kept."""
    spectrum: Tensor = torch.fft.rfft2(_transformable(x), norm="ortho")
    return spectrum


def _maps(spectrum: Tensor, like: Tensor) -> Tensor:
    """The maps of a half spectrum, in the form of `like`; of columns 0 and w / 2 the Hermitian part is taken."""
    maps: Tensor = torch.fft.irfft2(spectrum, s=like.shape[2:], norm="ortho")
    return maps.to(like.dtype)


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class FNet(Mixer):
    """The real part of the Fourier transform over positions and channels, without any weight.

        y = Re(F_positions F_channels x) / sqrt(n c)

    with the n positions in a row, line by line (Lee-Thorp et al. 2022, arXiv:2105.03824, eq. 3). The published
    transform has no 1 / sqrt(n c), and a normalisation behind it; here nothing normalises the branch, so that it must
    keep norms. A spatial form would be Re(F_rows F_columns x), which leaves channels apart. As published it is no
    filter: the transform of white noise is white.
    """

    name: ClassVar[str] = "fnet"
    does: ClassVar[str] = "real part of the Fourier transform over positions and channels"
    source: ClassVar[str] = "Lee-Thorp et al. 2022, arXiv:2105.03824"
    library: ClassVar[str] = "torch.fft"
    low_pass: ClassVar[LowPass] = "never"
    data_specific: ClassVar[bool] = False

    def reach(self) -> int | None:
        """The whole map."""
        return None

    def build(self, dim: int) -> nn.Module:
        """Nothing to learn."""
        return _FNet()


class _FNet(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, c, h, w) to the same."""
        positions = x.shape[2] * x.shape[3]
        half = torch.fft.rfft2(_transformable(x).flatten(2), norm="ortho").real
        # Of a real map the real part at (c, n) is that at (-c, -n): the other half costs nothing.
        rest = half[:, :, 1 : (positions + 1) // 2].flip(1, 2).roll(1, 1)
        y: Tensor = torch.cat([half, rest], dim=2)
        return y.to(x.dtype).reshape(x.shape)


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class GFNet(Mixer):
    """A learned filter per channel over the whole map, as complex gains of its frequencies (Rao et al. 2021).

        y = F^-1(K . F x)

    (arXiv:2107.00645, eq. 5). K is stored for the frequencies of one grid, rows from -1/2 to 1/2 and columns from 0 to
    1/2 cycles per position, and resampled linearly for those of the map; on maps of the grid's size, K is used as
    stored. The published K has the size of its map, lies in the order of the transform, and is resampled bicubically in
    that order for another size, which mixes the highest frequencies of both signs.

    Attributes:
        grid: edge of the grid, in positions; even. 8, as the pico networks' maps have at most; ImageNet networks: 14.
    """

    name: ClassVar[str] = "gfnet"
    does: ClassVar[str] = "F^-1(K . F x) with learned K"
    source: ClassVar[str] = "Rao et al. 2021, arXiv:2107.00645"
    library: ClassVar[str] = "torch.fft"
    low_pass: ClassVar[LowPass] = "can be"
    data_specific: ClassVar[bool] = False
    grid: int = rule(8, choices=tuple(range(2, 65, 2)), words="an even number from 2 to 64")

    def reach(self) -> int | None:
        """The whole map, round its edges."""
        return None

    def build(self, dim: int) -> nn.Module:
        """With small normal gains as published."""
        return _GFNet(dim, self.grid)


class _GFNet(nn.Module):
    def __init__(self, dim: int, grid: int) -> None:
        super().__init__()
        # Real parts of all channels, then imaginary parts.
        self.gains = nn.Parameter(0.02 * torch.randn(2 * dim, grid + 1, grid // 2 + 1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, dim, h, w) to the same."""
        height, width = x.shape[2:]
        rows = 2 * torch.fft.fftfreq(height, device=x.device, dtype=self.gains.dtype)
        columns = 4 * torch.fft.rfftfreq(width, device=x.device, dtype=self.gains.dtype) - 1
        places = torch.stack([columns.expand(len(rows), -1), rows[:, None].expand(-1, len(columns))], dim=-1)
        with _uncast(x):
            gains = F.grid_sample(self.gains[None], places[None], padding_mode="border", align_corners=True)[0]
            return _maps(torch.complex(*_transformable(gains).chunk(2)) * _spectrum(x), x)


class _SpectralNetwork(nn.Module):
    """Two complex linear maps of every frequency's channels, in blocks, with a ReLU on both parts in between."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        block = dim // _BLOCKS
        # By layer, real and imaginary part, block; a sum over the block of two real products each keeps its norm.
        self.weights = nn.Parameter(torch.randn(2, 2, _BLOCKS, block, block) / math.sqrt(2 * block))
        self.biases = nn.Parameter(torch.zeros(2, 2, dim))

    def forward(self, real: Tensor, imaginary: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (b, dim, h, w), real and imaginary part, to the same."""
        real, imaginary = (F.relu(part) for part in self._linear(0, real, imaginary))
        return self._linear(1, real, imaginary)

    def _linear(self, layer: int, real: Tensor, imaginary: Tensor) -> tuple[Tensor, Tensor]:
        weights = self.weights[layer].flatten(1, 2)[..., None, None].to(real.dtype).unbind(0)
        rr, ri = (F.conv2d(real, weight, groups=_BLOCKS) for weight in weights)
        ir, ii = (F.conv2d(imaginary, weight, groups=_BLOCKS) for weight in weights)
        bias = self.biases[layer, :, :, None, None]
        return rr - ii + bias[0], ri + ir + bias[1]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class AFNO(Mixer):
    """A network of the spectrum, the same for every frequency (Guibas et al. 2022, arXiv:2111.13587, eq. 5 and 6).

        y = F^-1 S(W_2 relu(W_1 F x + b_1) + b_2)

    W_1 and W_2 are complex and have four blocks of channels; ReLU and S_a(u) = sign(u) max(|u| - a, 0), the soft
    threshold, are of real and imaginary part each. All frequencies are treated alike: white noise stays white, and what
    is weakened are small coefficients of any frequency. Published with eight blocks for hundreds of channels, normal
    weights of 0.02 and a skip inside; here weights keep norms, since with 0.02 narrow maps would lie beneath the
    threshold, and the skip is the block's.

    Attributes:
        threshold: a of the soft threshold, in units of the spectrum that keeps norms.
    """

    name: ClassVar[str] = "afno"
    does: ClassVar[str] = "F^-1 of a soft-thresholded network of F x"
    source: ClassVar[str] = "Guibas et al. 2022, arXiv:2111.13587"
    library: ClassVar[str] = "torch.fft"
    low_pass: ClassVar[LowPass] = "never"
    data_specific: ClassVar[bool] = True
    step: ClassVar[int] = _BLOCKS
    threshold: float = rule(0.01, least=0.0)

    def reach(self) -> int | None:
        """The whole map."""
        return None

    def build(self, dim: int) -> nn.Module:
        """With weights that keep norms, and biases of 0."""
        return _AFNO(dim, self.threshold)


class _AFNO(nn.Module):
    def __init__(self, dim: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.network = _SpectralNetwork(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, dim, h, w) to the same."""
        with _uncast(x):
            spectrum = _spectrum(x)
            parts = self.network(spectrum.real, spectrum.imag)
            return _maps(torch.complex(*(F.softshrink(part, self.threshold) for part in parts)), x)


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class AFF(Mixer):
    """A filter that the map's own spectrum makes (Huang et al. 2023, arXiv:2307.14008, eq. 4).

        y = F^-1(M(F x) . F x),  M(u) = W_2 relu(W_1 u + b_1) + b_2

    W_1 and W_2 are complex and have four blocks of channels, ReLU is of real and imaginary part each, and the product
    is per frequency and channel. M is the same network for every frequency, so that white noise stays white: what
    decides is a coefficient's size, not its frequency. The published module has a skip inside, which is the block's
    here.
    """

    name: ClassVar[str] = "aff"
    does: ClassVar[str] = "F^-1(M(F x) . F x) with a network M"
    source: ClassVar[str] = "Huang et al. 2023, arXiv:2307.14008"
    library: ClassVar[str] = "torch.fft"
    low_pass: ClassVar[LowPass] = "never"
    data_specific: ClassVar[bool] = True
    step: ClassVar[int] = _BLOCKS

    def reach(self) -> int | None:
        """The whole map."""
        return None

    def build(self, dim: int) -> nn.Module:
        """With weights that keep norms, and biases of 0."""
        return _AFF(dim)


class _AFF(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.network = _SpectralNetwork(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, dim, h, w) to the same."""
        with _uncast(x):
            spectrum = _spectrum(x)
            return _maps(torch.complex(*self.network(spectrum.real, spectrum.imag)) * spectrum, x)
