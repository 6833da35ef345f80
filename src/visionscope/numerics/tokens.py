"""What the tokens of a feature map have in common: their norms, their directions, and how many dimensions they fill."""

import torch
from torch import Tensor

from visionscope.numerics.layouts import full_precision, image_chunks, join_positions, working_type

_ROUNDING = 1e-5  # relative: where most tokens are alike, a last bit must not make outliers of the others


def token_norms(maps: Tensor) -> Tensor:
    """The Euclidean norm over channels of the token at each position.

    Args:
        maps: (batch, channel, height, width).

    Returns:
        (batch, positions), row by row from the top, in float32, or float64 for float64 maps.
    """
    result = torch.empty((len(maps), maps.shape[2] * maps.shape[3]), dtype=working_type(maps), device=maps.device)
    with full_precision(maps):
        for part, chunk in image_chunks(maps):
            result[part] = torch.linalg.vector_norm(_tokens(chunk), dim=-1)
    return result


def outliers(norms: Tensor, deviations: float) -> Tensor:
    """Which norms of an image lie far above its others: above median + deviations * MAD, by more than rounding.

    MAD is the median of |norm - median|, not scaled to a standard deviation. Medians of an even number are the mean
    of the two in the middle.

    Args:
        norms: (batch, positions), finite.
        deviations: how many MADs above the median.

    Returns:
        (batch, positions), booleans.
    """
    median = norms.quantile(0.5, dim=1, keepdim=True)
    spread = (norms - median).abs().quantile(0.5, dim=1, keepdim=True)
    return norms > (median + deviations * spread) * (1 + _ROUNDING)


def token_likeness(maps: Tensor) -> Tensor:
    """How alike the tokens of each image are: mean cosine, share of the mean token, effective rank.

    With x_p the token at position p of n, u_p = x_p / |x_p|, and l_i the eigenvalues of the Gram matrix x_p . x_q:

        cosine = sum over p != q of u_p . u_q / (n (n - 1))
        mean share = n |mean_p x_p|^2 / sum_p |x_p|^2
        effective rank = exp(-sum_i s_i ln s_i), s_i = l_i / sum_j l_j

    The mean share is the energy at frequency zero (DC) over all energy, by Parseval's theorem. Where there are fewer
    channels than positions, the eigenvalues are those of the channels' Gram matrix, which are the same but for zeros. A
    token of zeros has no direction, and cosine 0 with every other; a map of zeros alone counts as constant: 1, 1 and 1.

    Args:
        maps: (batch, channel, height, width), at least two positions.

    Returns:
        (batch, 3), in float32, or float64 for float64 maps; NaN for an image whose energy is not finite.
    """
    result = torch.empty((len(maps), 3), dtype=working_type(maps), device=maps.device)
    with full_precision(maps):
        for image, own in enumerate(maps):
            # One by one: how a product of many images adds up, in which order, depends on how many there are.
            result[image] = _likeness(_tokens(own[None].to(result.dtype)))[0]
    return result


def _tokens(maps: Tensor) -> Tensor:
    """(batch, positions, channel), a view."""
    values, axis = join_positions(maps)
    return values if axis == 1 else values.mT


def _likeness(tokens: Tensor) -> Tensor:
    count = tokens.shape[1]
    norms = torch.linalg.vector_norm(tokens, dim=-1, keepdim=True)
    energy = norms.square().sum((1, 2))
    units = tokens / norms.where(norms > 0, 1.0)
    alone = (norms > 0).sum((1, 2))  # sum_p u_p . u_p
    cosine = (units.sum(1).square().sum(-1) - alone) / (count * (count - 1))
    share = count * tokens.mean(1).square().sum(-1) / energy
    values = torch.stack([cosine, share, _effective_rank(tokens, energy)], dim=1)
    values = values.where((energy > 0)[:, None], 1.0)
    return values.where(energy.isfinite()[:, None], torch.nan)


def _effective_rank(tokens: Tensor, energy: Tensor) -> Tensor:
    few = tokens.shape[1] <= tokens.shape[2]
    gram = tokens @ tokens.mT if few else tokens.mT @ tokens
    known = (energy > 0) & energy.isfinite()
    # The eigenvalue solver refuses what is no number; such images get their value from the caller.
    scaled = torch.where(known[:, None, None], gram / energy[:, None, None], 1.0)
    shares = torch.linalg.eigvalsh(scaled).clamp(min=0)  # rounding can leave less than nothing
    rank: Tensor = torch.special.entr(shares / shares.sum(1, keepdim=True)).sum(1).exp()
    return rank
