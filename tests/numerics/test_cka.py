"""Mini-batch CKA against its definition, published values, and the cases where known tools go wrong."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import feature_maps as twin
from visionscope.numerics.cka import centred_gram, cka, compare, hsic, self_centred


def maps_of(features):
    """(images, p) as maps of one channel."""
    return torch.as_tensor(features)[:, None, None, :]


def grams(features, group):
    count = len(features) // group
    pieces = [maps_of(features[g * group : (g + 1) * group]) for g in range(count)]
    return [centred_gram(piece).double().numpy()[None] for piece in pieces]


def cka_of(x, y, group):
    found = compare(zip(grams(x, group), grams(y, group), strict=True))
    return float(found.cka[0, 0]), float(found.error[0, 0])


def related(seed, images=64, p=20, q=30):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((images, p)) * rng.uniform(0.1, 3, p)
    return x, x @ rng.standard_normal((p, q)) * 0.3 + rng.standard_normal((images, q))


def google_example():
    np.random.seed(1337)
    x = np.random.randn(100, 10)
    return x, np.random.randn(100, 10) + x


def test_values_of_googles_notebook():
    x, y = google_example()
    assert cka_of(x, y, 100)[0] == pytest.approx(0.51346, abs=5e-6)
    assert twin.minibatch_cka(x, y, 100) == pytest.approx(0.51346, abs=5e-6)
    assert twin.biased_linear_cka(x, y) == pytest.approx(0.55761, abs=5e-6)
    one, other = (centred_gram(maps_of(side)).numpy() for side in (x, y))
    biased = (one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())
    assert biased == pytest.approx(0.55761, abs=5e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8, 16, 32]))
def test_equals_the_definition_on_full_grams(seed, group):
    x, y = related(seed)
    value, error = cka_of(x, y, group)
    assert value == pytest.approx(twin.minibatch_cka(x, y, group), abs=1e-10)
    if len(x) // group >= 4:
        assert error == pytest.approx(twin.jackknife_error(x, y, group), abs=1e-10)
    else:
        assert np.isnan(error)


@given(st.integers(0, 2**32 - 1))
def test_hsic_equals_the_trace_formula(seed):
    x, y = related(seed, images=9)
    k, ell = x @ x.T, y @ y.T
    found = hsic(self_centred(k[None]), self_centred(ell[None]))
    assert float(found[0, 0]) == pytest.approx(twin.unbiased_hsic(k, ell), rel=1e-9)


@given(st.integers(0, 2**32 - 1), st.floats(-100, 100).filter(lambda scale: abs(scale) > 1e-2))
def test_laws(seed, scale):
    x, y = related(seed)
    value, _ = cka_of(x, y, 16)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((20, 20)))
    assert cka_of(x, x, 16)[0] == pytest.approx(1, abs=1e-12)
    assert cka_of(x @ rotation, y, 16)[0] == pytest.approx(value, abs=1e-9)
    assert cka_of(scale * x, y, 16)[0] == pytest.approx(value, abs=1e-9)
    assert cka_of(x + 5, y - 3, 16)[0] == pytest.approx(value, abs=1e-9)
    assert cka_of(y, x, 16)[0] == pytest.approx(value, abs=1e-12)


def test_independent_features_give_about_zero_of_either_sign():
    values = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        values.append(cka_of(rng.standard_normal((64, 200)), rng.standard_normal((64, 200)), 32)[0])
    assert np.mean(values) == pytest.approx(0, abs=0.05)
    assert min(values) < 0 < max(values)


@pytest.mark.parametrize("mean", [0.0, 10.0, 1000.0])
def test_float32_with_a_large_mean_agrees_with_float64(mean):
    rng = np.random.default_rng(5)
    base = rng.standard_normal((128, 8)) @ rng.standard_normal((8, 3000))
    x = (base + rng.standard_normal((128, 3000)) + mean).astype(np.float32)
    y = (base + rng.standard_normal((128, 3000)) - mean).astype(np.float32)
    value, _ = cka_of(x, y, 32)
    # without the mean, on which CKA does not depend, the twin's trace formula keeps its own digits
    expected = twin.minibatch_cka(x.astype(np.float64) - mean, y.astype(np.float64) + mean, 32)
    assert value == pytest.approx(expected, abs=1e-6)


def test_low_variance_layer_against_itself_is_one():
    features = (1 + 1e-4 * np.random.default_rng(6).standard_normal((64, 500))).astype(np.float32)
    assert cka_of(features, features, 32)[0] == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1234.567])
def test_a_point_that_does_not_vary_has_no_value(constant):
    x = np.full((64, 3000), constant, dtype=np.float32) * np.linspace(0.1, 1, 3000, dtype=np.float32)
    y = np.random.default_rng(7).standard_normal((64, 3000)).astype(np.float32)
    assert np.isnan(cka_of(x, y, 32)[0])
    assert np.isnan(cka_of(x, x, 32)[0])


def test_sums_come_before_the_ratio():
    cross, self_x, self_y = np.array([[[1.0]], [[2.0]]]), np.array([[1.0], [9.0]]), np.array([[4.0], [5.0]])
    assert float(cka(cross, self_x, self_y)[0][0, 0]) == pytest.approx(3 / np.sqrt(90))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gram_is_not_rounded_by_autocast(layout):
    maps = torch.from_numpy(np.random.default_rng(8).standard_normal((8, 16, 40, 40)) + 3)
    maps = maps.bfloat16().contiguous(memory_format=layout)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gram = centred_gram(maps)
    features = maps.double().flatten(1)
    features -= features.mean(0)
    assert gram.dtype == torch.float32
    np.testing.assert_allclose(gram, features @ features.T, rtol=1e-4, atol=1e-2)
