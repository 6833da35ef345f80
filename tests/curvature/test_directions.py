"""Directions: filter by filter against the definition, reproducible by name, planes through three places."""

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference import landscape as twin
from visionscope.curvature.directions import NORMALIZATIONS, gaussian, inner, length, plane_through, random_direction
from visionscope.errors import ConfigError

SHAPES = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)


def weights(shape, seed=0, dtype=torch.float64):
    return {"a.weight": torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)}


def norms(tensor, axes):
    return torch.linalg.vector_norm(tensor.double(), dim=axes)


@given(shape=SHAPES, seed=st.integers(0, 99))
def test_each_filter_is_as_long_as_the_one_that_it_moves(shape, seed):
    own = weights(shape, seed)
    direction = random_direction(own, "filter", "0/0/x")
    axes = tuple(range(1, len(shape)))
    torch.testing.assert_close(norms(direction["a.weight"], axes), norms(own["a.weight"], axes))


@given(shape=SHAPES, seed=st.integers(0, 99), factor=st.floats(1e-3, 1e3))
def test_a_scaled_filter_scales_its_direction_alone(shape, seed, factor):
    own = weights(shape, seed)
    scaled = {"a.weight": own["a.weight"].clone()}
    scaled["a.weight"][0] *= factor
    before, after = (random_direction(given, "filter", "0/0/x")["a.weight"] for given in (own, scaled))
    torch.testing.assert_close(after[0], before[0] * factor)
    torch.testing.assert_close(after[1:], before[1:], rtol=0, atol=0)


def test_the_definitions_written_out():
    own = weights((4, 3, 2, 2))
    for normalization, expected in (("filter", twin.filter_normalized), ("official", twin.officially_normalized)):
        found = random_direction(own, normalization, "7/1/y")["a.weight"]
        torch.testing.assert_close(found, expected(own["a.weight"], "7/1/y/a.weight"), rtol=1e-12, atol=0)
    layer = random_direction(own, "layer", "7/1/y")["a.weight"]
    assert float(layer.norm()) == pytest.approx(float(own["a.weight"].norm()), rel=1e-12)
    plain = random_direction(own, "none", "7/1/y")["a.weight"]
    assert torch.equal(plain, torch.from_numpy(twin.gaussian((4, 3, 2, 2), "7/1/y/a.weight")))


def test_a_filter_that_is_zero_stays_where_it_is():
    own = weights((3, 4))
    own["a.weight"][1] = 0
    for normalization in ("filter", "official"):
        direction = random_direction(own, normalization, "0")["a.weight"]
        assert direction.isfinite().all()
        assert bool((direction[1] == 0).all()) == (normalization == "filter")


def test_numbers_depend_on_name_and_key_alone():
    both = {"a.weight": torch.ones(3, 4), "b.weight": torch.ones(3, 4)}
    alone = random_direction({"b.weight": both["b.weight"]}, "filter", "0/0/x")
    together = random_direction(both, "filter", "0/0/x")
    assert torch.equal(alone["b.weight"], together["b.weight"])
    assert not torch.equal(together["a.weight"], together["b.weight"])
    other = random_direction(both, "filter", "0/1/x")
    assert not torch.equal(other["a.weight"], together["a.weight"])


def test_the_generator_is_held():
    digest = hashlib.sha256(gaussian((1000,), "held").numpy().round(9).tobytes()).hexdigest()
    assert digest == "533c1490ca0bd09471da8c1f7c31f35ac02037e1fc224c012dbb161291a7fab6"
    drawn = gaussian((20000,), "moments")
    assert float(drawn.mean()) == pytest.approx(0, abs=0.03)
    assert float(drawn.var()) == pytest.approx(1, abs=0.05)


def test_types_and_devices_are_those_of_the_weights():
    direction = random_direction(weights((2, 3), dtype=torch.float32), "filter", "0")
    assert direction["a.weight"].dtype == torch.float32


def test_another_normalization_is_refused():
    with pytest.raises(ConfigError, match=r"normalization: must be one of filter, .*; got 'filters'. Did you mean"):
        random_direction(weights((2, 2)), "filters", "0")
    assert set(NORMALIZATIONS) == {"filter", "layer", "none", "official"}


@given(seed=st.integers(0, 99))
def test_a_plane_through_three_places_keeps_their_distances(seed):
    rng = np.random.default_rng(seed)
    places = [
        {name: torch.from_numpy(rng.standard_normal(shape)) for name, shape in (("a", (3, 2)), ("b", (4,)))}
        for _ in range(3)
    ]
    x, y, (along, up) = plane_through(*places)
    assert inner(x, y) == pytest.approx(0, abs=1e-9)
    assert length(x) == pytest.approx(length(y))
    for name in ("a", "b"):
        torch.testing.assert_close(places[0][name] + x[name], places[1][name])
        torch.testing.assert_close(places[0][name] + along * x[name] + up * y[name], places[2][name])
    third = math.sqrt(sum(float((places[2][name] - places[0][name]).square().sum()) for name in ("a", "b")))
    assert math.hypot(along, up) * length(x) == pytest.approx(third)


@pytest.mark.parametrize("factor", [0.0, 1.0, -2.0])
def test_three_places_on_a_line_make_no_plane(factor):
    origin = {"a": torch.zeros(2, 2)}
    first = {"a": torch.ones(2, 2)}
    with pytest.raises(ConfigError, match="checkpoints: the model and the two files must be three different places"):
        plane_through(origin, first, {"a": first["a"] * factor})
    with pytest.raises(ConfigError, match="checkpoints: the model and the two files must be three different places"):
        plane_through(origin, origin, first)
