"""The dense Hessian of a small model's objective in float64, by two ways that share nothing with double backward."""

import warnings
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

STEP = 1e-4
"""Of the differences of fourth order: truncation and rounding both stay near 1e-10."""


def dense_hessian(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    weight_decay: float = 0.0,
    names: Sequence[str] | None = None,
    cross_entropy: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> Tensor:
    """The Hessian (n, n) of the mean cross-entropy + (weight_decay / 2) |w|^2 over the named parameters.

    By torch.func.hessian, or by central differences of the gradient where the model holds a LayerNorm or a BatchNorm
    with the batch's statistics: there torch.func.hessian (forward over reverse) is wrong in the rows of the norm's
    weight, by 10 % in torch 2.15, as its asymmetry shows.

    Args:
        model: in float64, in eval mode.
        images: (batch, channel, height, width).
        targets: class indices or probabilities.
        weight_decay: acts on all parameters in scope.
        names: which parameters, in this order; all by default.
        cross_entropy: the mean loss of logits with targets.
    """
    everything = {name: value.detach() for name, value in model.named_parameters()}
    chosen = list(everything) if names is None else list(names)
    sizes = [everything[name].numel() for name in chosen]

    def loss(vector: Tensor) -> Tensor:
        pieces = torch.split(vector, sizes)
        moved = {name: piece.view_as(everything[name]) for name, piece in zip(chosen, pieces, strict=True)}
        logits = torch.func.functional_call(model, {**everything, **moved}, (images,))
        return cross_entropy(logits, targets) + weight_decay / 2 * vector.square().sum()

    start = torch.cat([everything[name].reshape(-1) for name in chosen])
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.func scripts its own decompositions when first used
        return _by_differences(loss, start) if _is_misled(model) else torch.func.hessian(loss)(start)


def _is_misled(model: nn.Module) -> bool:
    return any(
        isinstance(module, nn.LayerNorm) or (isinstance(module, nn.BatchNorm2d) and module.running_mean is None)
        for module in model.modules()
    )


def _by_differences(loss: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    gradients = torch.func.vmap(torch.func.grad(loss), chunk_size=64)
    steps = STEP * torch.eye(len(start), dtype=torch.float64)
    near, far = ((gradients(start + n * steps) - gradients(start - n * steps)) / (2 * n * STEP) for n in (1, 2))
    rows = (4 * near - far) / 3
    return (rows + rows.T) / 2


def by_magnitude(hessian: Tensor, k: int) -> Tensor:
    """Its k eigenvalues of largest magnitude, with sign, in that order."""
    values = torch.linalg.eigvalsh(hessian)
    return values[values.abs().argsort(descending=True)[:k]]
