"""Mutual information of attention and its sinks: the slow twin, laws, and what has neither."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.attention import dependence
from visionscope.numerics.attention import mutual_information, sink_value_norm, sinks


def everywhere(windows, tokens):
    return torch.ones(windows, tokens, dtype=torch.bool)


def drawn(seed, heads, queries, keys, sharpness=3.0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(2, 1, heads, queries, keys, generator=generator, dtype=torch.float64) * sharpness
    return scores.softmax(-1)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**16), st.integers(2, 9), st.integers(1, 3), st.integers(0, 2))
def test_all_are_those_of_the_slow_twin_and_within_their_bounds(seed, count, heads, prefix):
    tokens = count + prefix
    probabilities = drawn(seed, heads, tokens, tokens)
    values = torch.randn(2, 1, heads, tokens, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    asked, seen, keys = probabilities[..., prefix:, :], everywhere(1, count), everywhere(1, tokens)
    information = mutual_information(asked[..., prefix:], seen, seen)
    share, which = sinks(asked, seen, keys)
    norm = sink_value_norm(values.norm(dim=-1), which, seen, keys)
    found = torch.stack([information, share, (which[:, 0] < prefix).double(), norm], dim=-1)
    for image in (0, 1):
        expected = dependence(probabilities[image, 0].tolist(), prefix, values[image, 0].tolist())
        np.testing.assert_allclose(found[image], expected, rtol=1e-9, atol=1e-12)
    assert bool(((information >= 0) & (information <= 1 + 1e-12)).all())
    assert bool(((share >= 1 / tokens - 1e-12) & (share <= 1 + 1e-12)).all())
    # Neither depends on the order of the queries, nor, but for which one it is, on that of the keys.
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    moved = asked[..., prefix:][..., order, :][..., order.flip(0)]
    torch.testing.assert_close(mutual_information(moved, seen, seen), information)


def test_queries_that_look_alike_share_nothing_and_a_permutation_everything():
    seen = everywhere(1, 7)
    alike = drawn(0, 3, 1, 7).expand(-1, -1, -1, 7, -1)
    assert mutual_information(alike, seen, seen).abs().max() < 1e-12
    even = torch.full((1, 1, 1, 7, 7), 1 / 7, dtype=torch.float64)
    assert float(mutual_information(even, seen, seen)) == pytest.approx(0, abs=1e-12)
    permutation = torch.eye(7, dtype=torch.float64).roll(3, 0)[None, None, None]
    assert float(mutual_information(permutation, seen, seen)) == pytest.approx(1)
    share, _ = sinks(permutation, seen, seen)
    assert float(share) == pytest.approx(1 / 7)


def test_a_pair_of_keys_for_each_half_of_the_queries_is_known_in_closed_form():
    """I = log 2, H(q) = log 4, H(k) = log 4."""
    half = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], dtype=torch.float64) / 2
    found = mutual_information(half[None, None, None], everywhere(1, 4), everywhere(1, 4))
    assert float(found) == pytest.approx(math.log(2) / math.log(4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_attention_on_one_key_is_a_sink_without_information(dtype):
    one = torch.zeros(1, 1, 1, 5, 5, dtype=dtype)
    one[..., 2] = 1
    seen = everywhere(1, 5)
    assert float(mutual_information(one, seen, seen)) == 0
    share, which = sinks(one, seen, seen)
    assert (float(share), int(which)) == (1, 2)
    norms = torch.tensor([3, 3, 0.5, 3, 3], dtype=dtype).expand(1, 1, 1, 5)
    assert float(sink_value_norm(norms, which, seen, seen)) == pytest.approx(0.5 / 2.5)
    assert float(sink_value_norm(0 * norms, which, seen, seen)) == 1
    assert float(mutual_information(one[..., :1, :], everywhere(1, 1), seen)) == 0


def test_windows_are_weighed_by_their_queries_and_padding_counts_nowhere():
    probabilities = torch.cat([drawn(1, 2, 4, 4), drawn(2, 2, 4, 4)], dim=1)
    seen = torch.tensor([[True] * 4, [True, True, False, False]])
    full, cut = probabilities[:, :1], probabilities[:, 1:, :, :2, :2]
    cut = cut / cut.sum(-1, keepdim=True)
    expected = (
        4 * mutual_information(full, everywhere(1, 4), everywhere(1, 4))
        + 2 * mutual_information(cut, everywhere(1, 2), everywhere(1, 2))
    ) / 6
    torch.testing.assert_close(mutual_information(probabilities, seen, seen), expected)
    padded = probabilities.clone()
    padded[:, 1, :, :2] = torch.tensor([0.1, 0.1, 0.8, 0.0], dtype=torch.float64)
    share, which = sinks(padded, seen, seen)
    own, _ = sinks(full, everywhere(1, 4), everywhere(1, 4))
    torch.testing.assert_close(share, (4 * own + 2 * 0.1) / 6)
    assert bool((which[:, 1] < 2).all())


def test_a_query_that_gives_places_nothing_is_left_out():
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)[None, None, None]
    assert float(mutual_information(rows, everywhere(1, 3), everywhere(1, 2))) == pytest.approx(1)
