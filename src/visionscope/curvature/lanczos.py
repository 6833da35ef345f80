"""The eigenvalues of largest magnitude of a symmetric matrix that is known by its products with vectors."""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visionscope.curvature.hvp import Product
from visionscope.errors import VisionscopeError

_ZERO = 1e-6  # of the largest magnitude: below it an eigenvalue is compared with that instead of with itself

# How many residuals beyond the outermost Ritz value the end of the spectrum may lie. One is only as far as some
# eigenvalue is: with a broad bulk ending at -10.2 beside a lone 10, one misses it in 4 % of 240 draws, three in none.
_DOUBT = 3


@dataclasses.dataclass(frozen=True)
class Extremes:
    """The k eigenvalues of largest magnitude, in that order, with sign.

    Attributes:
        values: (k,) float64.
        residuals: (k,) `|A v - value v|` of the unit vectors v; some eigenvalue is as near as that.
        bounds: (k,) how far each value can be off: the residual, or its square over the gap to the next value.
        converged: (k,) whether the bound meets the tolerance and nothing larger can be hidden.
        products: how many products with the matrix it took.
        vectors: (k, n), or None where they were not asked for.
    """

    values: NDArray[np.float64]
    residuals: NDArray[np.float64]
    bounds: NDArray[np.float64]
    converged: NDArray[np.bool_]
    products: int
    vectors: Tensor | None = None


class Krylov:
    """An orthonormal basis that grows by one product per step, and the matrix's tridiagonal image in it.

    Every new vector is made orthogonal to all before it, so that no eigenvalue appears twice (Paige's ghosts). Where
    the basis can't grow, being closed under the matrix, it goes on with a fresh random vector.

    Args:
        start: (n,) first direction, of any length but zero.
        most: how many steps it may have; memory for as many vectors is set aside, and taken by a CPU as it is used.
        generator: of fresh vectors.
    """

    def __init__(self, start: Tensor, most: int, generator: torch.Generator) -> None:
        self._generator = generator
        self._basis = torch.empty((most, len(start)), dtype=start.dtype, device=start.device)
        self._basis[0] = start / start.norm()
        self.steps = 0
        self.alphas: list[float] = []
        self.betas: list[float] = []

    @property
    def basis(self) -> Tensor:
        """(steps, n), orthonormal rows."""
        return self._basis[: self.steps]

    @property
    def next(self) -> Tensor:
        """(n,) the vector to multiply the matrix with."""
        return self._basis[self.steps]

    def grow(self, image: Tensor) -> None:
        """Takes the matrix times `next`.

        Args:
            image: (n,).

        Raises:
            VisionscopeError: when it holds NaN or infinity.
        """
        steps = self.steps + 1
        basis = self._basis[:steps]
        before = image.norm()
        coefficients = basis @ image
        rest = torch.addmv(image, basis.T, coefficients, alpha=-1)
        # Once leaves rounding errors along the basis that would grow from step to step; twice is enough (Parlett 1980).
        corrections = basis @ rest
        rest = torch.addmv(rest, basis.T, corrections, alpha=-1)
        alpha, beta, length = torch.stack([(coefficients + corrections)[-1], rest.norm(), before]).double().tolist()
        if not np.isfinite(alpha + beta):
            count = int((~torch.isfinite(image)).sum())
            raise VisionscopeError(f"a Hessian-vector product holds {count} non-finite values of {len(image)}")
        self.alphas.append(alpha)
        self.steps = steps
        # Rounding alone is left: the basis holds all that the matrix makes of it.
        closed = beta <= 10 * torch.finfo(image.dtype).eps * max(length, *map(abs, self.alphas), *self.betas, 1e-30)
        self.betas.append(0.0 if closed else beta)
        if steps < len(self._basis):
            self._basis[steps] = self._fresh(image) if closed else rest / beta

    def ritz(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Eigenvalues (steps,) of the tridiagonal matrix and its eigenvectors (steps, steps) in columns."""
        matrix = np.diag(self.alphas) + np.diag(self.betas[:-1], 1) + np.diag(self.betas[:-1], -1)
        values, vectors = np.linalg.eigh(matrix)
        return values, vectors

    def _fresh(self, like: Tensor) -> Tensor:
        basis = self._basis[: self.steps]
        vector = torch.randn(len(like), generator=self._generator, dtype=torch.float64).to(like)
        for _ in range(2):
            vector = vector - basis.T @ (basis @ vector)
        fresh: Tensor = vector / vector.norm()
        return fresh


def largest(
    product: Product,
    like: Tensor,
    k: int,
    *,
    tolerance: float,
    max_steps: int,
    seed: int,
    shift: float = 0.0,
    vectors: bool = False,
) -> Extremes:
    """The k eigenvalues of largest magnitude of A + shift, with sign, by Lanczos with full reorthogonalization.

    It stops when each of the k Ritz values is within `tolerance * |value|` of an eigenvalue, by the smaller of two
    bounds: the residual r, and r^2 / gap (Kato & Temple) with the gap to the neighbouring Ritz values; and when the
    next Ritz value on either side, enlarged by three times its residual, can't be among the k. So pairs of nearly equal
    magnitude and opposite sign come out as two values, and nothing is stopped by two estimates that happen to agree.
    An eigenvalue that occurs several times exactly is found once, unless the basis closes before.

    Args:
        product: multiplies A with a vector (n,).
        like: a tensor of n elements in the type and on the device of the vectors.
        k: how many; where n is smaller, n.
        tolerance: relative to each value's magnitude.
        max_steps: products at most.
        seed: of the start vector, a standard normal one.
        shift: multiple of the identity that is added before the k largest are chosen.
        vectors: whether the unit eigenvectors are wanted, too.

    Raises:
        VisionscopeError: when a product holds NaN or infinity.
    """
    size = like.numel()
    k, generator = min(k, size), torch.Generator().manual_seed(seed)
    start = torch.randn(size, generator=generator, dtype=torch.float64).to(like)
    krylov = Krylov(start, min(max_steps, size), generator)
    found: _Judged | None = None
    while found is None or not found.converged.all():
        if krylov.steps == min(max_steps, size):
            break
        krylov.grow(product(krylov.next))
        if krylov.steps >= k:
            found = _judge(krylov, k, tolerance, shift)
    # Fewer products were allowed than values wanted: what there is.
    judged = found or _judge(krylov, min(k, krylov.steps), tolerance, shift)
    combined = None
    if vectors:
        combined = torch.from_numpy(krylov.ritz()[1][:, judged.places].T.copy()).to(like) @ krylov.basis
    return Extremes(judged.values, judged.residuals, judged.bounds, judged.converged, krylov.steps, combined)


@dataclasses.dataclass(frozen=True)
class _Judged:
    places: NDArray[np.intp]
    values: NDArray[np.float64]
    residuals: NDArray[np.float64]
    bounds: NDArray[np.float64]
    converged: NDArray[np.bool_]


def _judge(krylov: Krylov, k: int, tolerance: float, shift: float) -> _Judged:
    values, vectors = krylov.ritz()
    residuals = np.abs(krylov.betas[-1] * vectors[-1])
    shifted = values + shift
    order = np.argsort(-np.abs(shifted), kind="stable")
    chosen, others = order[:k], order[k:]
    bounds = np.array([_bound(values, residuals, place) for place in chosen])
    scale = np.maximum(np.abs(shifted[chosen]), _ZERO * np.abs(shifted).max())
    converged = bounds <= tolerance * scale
    # A basis of the whole space hides nothing.
    if krylov.steps < krylov.basis.shape[1]:
        # What may still come out at either end shows as the outermost Ritz value that isn't among the chosen.
        ends = _outermost(shifted, others)
        hidden = max((abs(shifted[place]) + _DOUBT * residuals[place] for place in ends), default=0.0)
        converged &= np.abs(shifted[chosen]) >= hidden * (1 - tolerance)
    return _Judged(chosen, shifted[chosen], residuals[chosen], bounds, converged)


def _bound(values: NDArray[np.float64], residuals: NDArray[np.float64], place: int) -> float:
    own = residuals[place]
    # How near another eigenvalue can be: its Ritz value, less how far that can be off.
    away = np.delete(np.abs(values - values[place]) - residuals, place)
    gap = away.min() if len(away) else 0.0
    return float(min(own, own * own / gap) if gap > 0 else own)


def _outermost(values: NDArray[np.float64], places: NDArray[np.intp]) -> set[int]:
    if not len(places):
        return set()
    return {int(places[np.argmin(values[places])]), int(places[np.argmax(values[places])])}
