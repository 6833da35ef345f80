"""The whole spectrum of a symmetric matrix that is known by its products: its density and its trace, with errors."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visionscope.curvature.lanczos import Krylov

Products = Callable[[Tensor], Tensor]
"""Takes vectors (m, n) to a symmetric matrix times each, (m, n)."""


@dataclasses.dataclass(frozen=True)
class Quadrature:
    """What one random vector sees of the spectrum: masses `weights` (steps,), adding to 1, at `values` (steps,).

    Polynomials up to degree 2 * steps - 1 have the same mean over it as over the vector's own spectral measure.
    """

    values: NDArray[np.float64]
    weights: NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class TraceParts:
    """Hutch++: the trace is `sketch` plus the mean of `residuals`, whose scatter over vectors is its error.

    Attributes:
        sketch: trace inside the subspace that random vectors times the matrix span; exact there.
        residuals: (m,) g . A g of random vectors g without their part in that subspace.
    """

    sketch: float
    residuals: NDArray[np.float64]


def quadratures(products: Products, like: Tensor, seeds: list[int], steps: int) -> list[Quadrature]:
    """Stochastic Lanczos quadrature, one per seed, their products made together (Golub & Welsch; Ubaru et al. 2017).

    The density of the spectrum is the mean over random vectors of the Ritz values, each weighted with the squared first
    component of its eigenvector; n times the mean of weights . values estimates the trace.

    Args:
        products: multiplies the matrix with several vectors at once.
        like: a tensor of n elements in the vectors' type, on their device.
        seeds: of the start vectors, of independent signs.
        steps: products per vector; at most n.

    Raises:
        VisionscopeError: when a product holds NaN or infinity.
    """
    steps = min(steps, like.numel())
    runs = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        runs.append(Krylov(signs(like, generator), steps, generator))
    for _ in range(steps):
        images = products(torch.stack([run.next for run in runs]))
        for run, image in zip(runs, images, strict=True):
            run.grow(image)
    found = []
    for run in runs:
        values, vectors = run.ritz()
        found.append(Quadrature(values, vectors[0] ** 2))
    return found


def trace_parts(products: Products, like: Tensor, seed: int, size: int) -> TraceParts:
    """Hutch++ (Meyer, Musco, Musco & Woodruff 2021) with 3 * size products.

    Args:
        products: multiplies the matrix with several vectors at once.
        like: a tensor of n elements in the vectors' type, on their device.
        seed: of the random signs.
        size: vectors of the sketch, and as many for what it leaves; at most n for the sketch.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([signs(like, generator) for _ in range(2 * size)])
    # The matrix times random vectors leans towards its largest eigenvalues, which make most of the variance.
    basis = torch.linalg.qr(products(drawn[: min(size, like.numel())]).T).Q.T
    inside = (basis * products(basis)).double().sum()
    rest = drawn[size:]
    for _ in range(2):  # once leaves rounding errors of the size of what is wanted
        rest = rest - (rest @ basis.T) @ basis
    outside = (rest * products(rest)).double().sum(1)
    return TraceParts(float(inside), outside.cpu().numpy())


def signs(like: Tensor, generator: torch.Generator) -> Tensor:
    """Independent random signs, (n,).

    Args:
        like: a tensor of n elements in the wanted type, on the wanted device.
        generator: one draw per element is taken from it.
    """
    return (torch.randint(2, (like.numel(),), generator=generator) * 2 - 1).to(like)
