"""Mixers that take means over what is alike anywhere on the map."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionscope.core.rules import rule
from visionscope.models.mixers.mixer import LowPass, Mixer, register


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class NonlocalMeans(Mixer):
    """Non-local means: a mean over all positions, weighted by likeness (Buades et al. 2005, doi:10.1109/CVPR.2005.38).

        y_i = sum_j softmax_j(-d_ij^2 / h^2) x_j,    d_ij^2 = mean_c (x_ci - x_cj)^2

    It is attention in which query, key and value are the map itself. Buades compares patches of an image; a position of
    a feature map already holds what is around it. The mean over channels makes one h right at any width. h -> infinity
    gives the mean over the map, h -> 0 gives x. On noise, where likeness says nothing about distance, it keeps the mean
    and weakens all other frequencies alike.

    Attributes:
        h: difference of values at which a weight has fallen to 1/e.
    """

    name: ClassVar[str] = "nonlocal_means"
    does: ClassVar[str] = "y_i = sum_j softmax_j(-|x_i - x_j|^2 / h^2) x_j"
    source: ClassVar[str] = "Buades et al. 2005, doi:10.1109/CVPR.2005.38; Wang et al. 2018, arXiv:1711.07971"
    low_pass: ClassVar[LowPass] = "always"
    data_specific: ClassVar[bool] = True
    h: float = rule(1.0, above=0, most=1e6)

    def reach(self) -> int | None:
        """The whole map."""
        return None

    def build(self, dim: int) -> nn.Module:
        """Torch's attention; nothing is learned."""
        return _NonlocalMeans(self.h)


class _NonlocalMeans(nn.Module):
    def __init__(self, h: float) -> None:
        super().__init__()
        self.h = h

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, c, h, w) to the same."""
        tokens = x.flatten(2).transpose(1, 2)
        # -|x_i - x_j|^2 / 2 = x_i x_j - |x_j|^2 / 2, but for what is the same for all j: one more channel each.
        half = -0.5 * tokens.square().sum(2, keepdim=True)
        query = torch.cat((tokens, torch.ones_like(half)), 2)
        scale = 2 / (self.h**2 * x.shape[1])
        y = F.scaled_dot_product_attention(query, torch.cat((tokens, half), 2), tokens, scale=scale)
        return y.transpose(1, 2).reshape(x.shape)


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class KMeans(Mixer):
    """One step of soft k-means (MacKay 2003, ch. 20): every position becomes a mean of the clusters that it belongs to.

        r_ik = softmax_k(-d(x_i, m_k)^2 / h^2),    c_k = sum_i r_ik x_i / sum_i r_ik,    y_i = sum_k r_ik c_k

    with d^2 = mean over the channels of (x_i - m_k)^2. The centres start at the means of a regular grid of cells, as in
    SLIC (Achanta et al. 2012, doi:10.1109/TPAMI.2012.120), so nothing is learned. It costs positions x clusters where
    attention costs positions squared. One cluster gives the mean over the map.

    Attributes:
        grid: cells in each direction; there are grid^2 clusters.
        h: difference of values at which a weight has fallen to 1/e.
    """

    name: ClassVar[str] = "kmeans"
    does: ClassVar[str] = "y_i = sum_k r_ik c_k, one soft k-means step"
    source: ClassVar[str] = "after MacKay 2003, ch. 20, and Achanta et al. 2012, doi:10.1109/TPAMI.2012.120"
    low_pass: ClassVar[LowPass] = "always"
    data_specific: ClassVar[bool] = True
    grid: int = rule(2, least=1, most=16)
    h: float = rule(0.5, above=0, most=1e6)

    def reach(self) -> int | None:
        """The whole map."""
        return None

    def build(self, dim: int) -> nn.Module:
        """Nothing is learned."""
        return _KMeans(self.grid, self.h)


class _KMeans(nn.Module):
    def __init__(self, grid: int, h: float) -> None:
        super().__init__()
        self.grid = grid
        self.h = h

    def forward(self, x: Tensor) -> Tensor:
        """Maps (b, c, h, w) to the same."""
        tokens = x.flatten(2).transpose(1, 2)
        start = F.adaptive_avg_pool2d(x, self.grid).flatten(2)
        # -|x_i - m_k|^2 but for what is the same for all k.
        nearness = 2 * (tokens @ start) - start.square().sum(1, keepdim=True)
        belongs = (nearness / (self.h**2 * x.shape[1])).log_softmax(2)
        # Normalised over positions in logarithms: of a cluster that nothing belongs to, all weights would be 0.
        centres = belongs.softmax(1).transpose(1, 2) @ tokens
        return (belongs.exp() @ centres).transpose(1, 2).reshape(x.shape)
