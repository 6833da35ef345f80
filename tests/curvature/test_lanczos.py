"""The eigenvalues of largest magnitude, against matrices whose spectrum is known."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from visionscope.curvature.lanczos import Extremes, largest
from visionscope.errors import VisionscopeError


def matrix(spectrum: list[float], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(len(spectrum), len(spectrum), generator=generator, dtype=torch.float64)).Q
    return basis @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ basis.T


def find(symmetric: Tensor, k: int = 5, **options: float) -> Extremes:
    chosen = {"tolerance": 1e-6, "max_steps": 200, "seed": 0, **options}
    return largest(lambda vector: symmetric @ vector, symmetric[0], k, **chosen)  # type: ignore[arg-type]


def test_a_pair_of_nearly_equal_magnitude_and_opposite_sign() -> None:
    bulk = np.random.default_rng(0).normal(0, 2, 200).tolist()
    found = find(matrix([351.0, 71.0, 39.6, -29.43, 28.81, *bulk]))
    assert found.converged.all()
    np.testing.assert_allclose(found.values, [351.0, 71.0, 39.6, -29.43, 28.81], rtol=1e-6)


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6])
def test_a_pair_hidden_behind_the_last_one(gap: float) -> None:
    bulk = np.random.default_rng(1).normal(0, 3, 200).tolist()
    found = find(matrix([90.0, -60.0, 30.0, -30.0 * (1 + gap), *bulk]), k=3)
    assert found.converged.all()
    np.testing.assert_allclose(found.values, [90.0, -60.0, -30.0 * (1 + gap)], rtol=1e-6)


@pytest.mark.parametrize("edge", [6.0, 9.0, 9.8])
def test_the_end_of_a_broad_bulk_that_comes_out_late(edge: float) -> None:
    for seed in range(20):
        bulk = np.random.default_rng(seed).uniform(-edge, 3, 150).tolist()
        found = find(matrix([30.0, 10.0, -10.2, *bulk], seed), k=2, tolerance=1e-4, seed=seed)
        np.testing.assert_allclose(found.values, [30.0, -10.2], rtol=1e-3)


@settings(deadline=None, max_examples=40)
@given(
    spectrum=st.lists(st.integers(-60, 60), min_size=8, max_size=30, unique=True),
    shift=st.sampled_from([0.0, 0.05, 7.25]),
    seed=st.integers(0, 5),
)
def test_signed_spectra_with_their_shift(spectrum: list[int], shift: float, seed: int) -> None:
    found = find(matrix([float(value) for value in spectrum], seed), shift=shift, seed=seed)
    expected = sorted((value + shift for value in spectrum), key=abs, reverse=True)[:5]
    np.testing.assert_allclose(np.abs(found.values), np.abs(expected), rtol=1e-5, atol=1e-4)
    assert found.converged.all()
    for value in found.values:
        assert min(abs(value - shift - own) for own in spectrum) <= 1e-4


def test_the_bound_holds_where_it_stops() -> None:
    spectrum = np.random.default_rng(3).normal(0, 1, 300).tolist()
    symmetric = matrix(spectrum)
    for tolerance in (1e-2, 1e-3, 1e-5):
        found = find(symmetric, tolerance=tolerance)
        assert found.converged.all()
        for value, residual, bound in zip(found.values, found.residuals, found.bounds, strict=True):
            nearest = min(abs(value - own) for own in spectrum)
            assert nearest <= residual
            assert bound <= tolerance * abs(value)
        exact = sorted(spectrum, key=abs, reverse=True)[:5]
        np.testing.assert_allclose(found.values, exact, rtol=tolerance)


def test_the_residual_is_that_of_the_vector() -> None:
    symmetric = matrix(np.random.default_rng(4).normal(0, 1, 100).tolist())
    found = largest(
        lambda vector: symmetric @ vector, symmetric[0], 4, tolerance=1e-3, max_steps=60, seed=1, vectors=True
    )
    assert found.vectors is not None
    torch.testing.assert_close(found.vectors @ found.vectors.T, torch.eye(4, dtype=torch.float64))
    rests = found.vectors @ symmetric - torch.from_numpy(found.values)[:, None] * found.vectors
    np.testing.assert_allclose(rests.norm(dim=1).numpy(), found.residuals, rtol=1e-6)
    quotients = (found.vectors @ symmetric * found.vectors).sum(1)
    np.testing.assert_allclose(quotients.numpy(), found.values, rtol=1e-9)


def test_what_did_not_converge_says_so() -> None:
    found = find(matrix(np.linspace(-1, 1, 200).tolist()), max_steps=12)
    assert found.products == 12
    assert not found.converged.any()


def test_low_rank_and_repeated_values_close_the_basis() -> None:
    found = find(matrix([5.0, 5.0, -3.0, *[0.0] * 20]), k=6)
    np.testing.assert_allclose(found.values, [5.0, 5.0, -3.0, 0.0, 0.0, 0.0], atol=1e-10)
    assert find(torch.zeros(10, 10, dtype=torch.float64)).values.tolist() == [0.0] * 5
    assert find(matrix([2.0, -1.0]), k=5).values.tolist() == pytest.approx([2.0, -1.0])


def test_a_product_that_is_not_finite() -> None:
    broken = torch.full((8, 8), float("nan"), dtype=torch.float64)
    with pytest.raises(VisionscopeError, match="product holds 8 non-finite values of 8"):
        find(broken)


def test_float32_orthogonality_holds_over_many_steps() -> None:
    symmetric = matrix([1000.0, 500.0, *np.random.default_rng(5).normal(0, 1, 500).tolist()]).float()
    found = largest(lambda vector: symmetric @ vector, symmetric[0], 20, tolerance=1e-4, max_steps=300, seed=0)
    exact = torch.linalg.eigvalsh(symmetric.double())
    exact = exact[exact.abs().argsort(descending=True)[:20]]
    np.testing.assert_allclose(found.values, exact.numpy(), rtol=1e-4)
