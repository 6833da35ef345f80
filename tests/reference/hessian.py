"""The dense Hessian of a small model's objective in float64 by torch.func: slow, and independent of double backward."""

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


def dense_hessian(
    model: nn.Module, images: Tensor, targets: Tensor, weight_decay: float = 0.0, names: Sequence[str] | None = None
) -> Tensor:
    """The Hessian (n, n) of the mean cross-entropy + (weight_decay / 2) |w|^2 over the named parameters.

    Args:
        model: in float64, in eval mode.
        images: (batch, channel, height, width).
        targets: class indices or probabilities.
        weight_decay: acts on all parameters in scope.
        names: which parameters, in this order; all by default.
    """
    everything = {name: value.detach() for name, value in model.named_parameters()}
    chosen = list(everything) if names is None else list(names)
    sizes = [everything[name].numel() for name in chosen]

    def loss(vector: Tensor) -> Tensor:
        pieces = vector.split(sizes)
        moved = {name: piece.view_as(everything[name]) for name, piece in zip(chosen, pieces, strict=True)}
        logits = torch.func.functional_call(model, {**everything, **moved}, (images,))
        return F.cross_entropy(logits, targets) + weight_decay / 2 * vector.square().sum()

    start = torch.cat([everything[name].reshape(-1) for name in chosen])
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.func scripts its own decompositions when first used
        return torch.func.hessian(loss)(start)


def by_magnitude(hessian: Tensor, k: int) -> Tensor:
    """Its k eigenvalues of largest magnitude, with sign, in that order."""
    values = torch.linalg.eigvalsh(hessian)
    return values[values.abs().argsort(descending=True)[:k]]
