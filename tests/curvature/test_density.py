"""Stochastic Lanczos quadrature and Hutch++, against matrices whose spectrum is known."""

import numpy as np
import torch
from torch import Tensor

from visionscope.curvature.density import quadratures, signs, trace_parts


def symmetric(spectrum: np.ndarray) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    size = len(spectrum)
    basis = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
    return basis @ torch.diag(torch.from_numpy(spectrum)) @ basis.T


def test_the_quadrature_has_the_moments_of_its_vector() -> None:
    matrix = symmetric(np.random.default_rng(0).normal(0, 1, 120))
    (found,) = quadratures(lambda vectors: vectors @ matrix, matrix[0], [3], steps=8)
    start = signs(matrix[0], torch.Generator().manual_seed(3))
    start = start / start.norm()
    vector = start
    assert abs(found.weights.sum() - 1) < 1e-12
    for degree in range(1, 16):
        vector = matrix @ vector
        assert abs(found.weights @ found.values**degree - float(start @ vector)) < 1e-9 * max(
            1.0, float(start @ vector)
        )


def test_the_density_has_the_moments_of_the_spectrum() -> None:
    draws = np.random.default_rng(1)
    # A gap around zero: the share of negative mass is then no question of resolution.
    spectrum = np.concatenate([draws.uniform(1, 3, 280), -draws.uniform(1, 2, 120), [30.0, -12.0]])
    matrix = symmetric(spectrum)
    runs = quadratures(lambda vectors: vectors @ matrix, matrix[0], list(range(12)), steps=25)
    for degree in (1, 2, 3, 4):
        moments = np.array([run.weights @ run.values**degree for run in runs])
        error = moments.std(ddof=1) / np.sqrt(len(runs))
        assert abs(moments.mean() - (spectrum**degree).mean()) < 4 * error
    negative = np.array([run.weights[run.values < 0].sum() for run in runs])
    assert abs(negative.mean() - (spectrum < 0).mean()) < 4 * negative.std(ddof=1) / np.sqrt(len(runs))


def test_the_trace_is_exact_at_low_rank_and_right_within_its_error_else() -> None:
    low = symmetric(np.concatenate([[40.0, -9.0, 3.0], np.zeros(60)]))
    found = trace_parts(lambda vectors: vectors @ low, low[0], seed=0, size=4)
    assert abs(found.sketch - 34.0) < 1e-9
    assert np.abs(found.residuals).max() < 1e-9

    spectrum = np.concatenate([np.random.default_rng(2).normal(0.2, 1, 300), [200.0, 90.0]])
    matrix = symmetric(spectrum)
    estimates = []
    for seed in range(30):
        parts = trace_parts(lambda vectors: vectors @ matrix, matrix[0], seed=seed, size=12)
        estimates.append((parts.sketch + parts.residuals.mean(), parts.residuals.std(ddof=1) / np.sqrt(12)))
    values, errors = np.array(estimates).T
    off = (values - spectrum.sum()) / errors
    assert np.abs(off).mean() < 1.5
    assert 0.5 < off.std() < 2.0
    plain = np.array(
        [
            float(
                signs(matrix[0], torch.Generator().manual_seed(s))
                @ matrix
                @ signs(matrix[0], torch.Generator().manual_seed(s))
            )
            for s in range(300)
        ]
    )
    assert values.std() < plain.std() / np.sqrt(36)  # better than as many products spent on plain Hutchinson


def test_more_steps_than_dimensions() -> None:
    matrix = symmetric(np.array([3.0, -1.0, 0.5]))
    (found,) = quadratures(lambda vectors: vectors @ matrix, matrix[0], [0], steps=10)
    np.testing.assert_allclose(found.values, [-1.0, 0.5, 3.0], atol=1e-12)
