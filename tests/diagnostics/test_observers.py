"""What holds for every observing diagnostic: batches, order and storage change nothing; errors name places."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference.observing import feed, make_maps, make_points, numbers, stored, table_of
from visionscope.core.registry import diagnostic_class
from visionscope.diagnostics.fourier.question import Fourier
from visionscope.diagnostics.similarity.question import Similarity
from visionscope.diagnostics.token_similarity.question import TokenSimilarity
from visionscope.diagnostics.tokens.question import TokenNorms
from visionscope.diagnostics.variance.question import Variance
from visionscope.errors import StoreError, VisionscopeError

POINTS = make_points([(8, 8), (8, 8), (4, 6), (2, 2), (1, 1)], stages=[0, 1, 1, 2, 3])
DIAGNOSTICS = [
    Fourier(),
    Fourier(radial=True, labelling="paper"),
    Variance(),
    Similarity(group=8),
    TokenNorms(),
    TokenSimilarity(),
]
each = pytest.mark.parametrize("diagnostic", DIAGNOSTICS, ids=repr)


def rows_of(diagnostic, maps, positions, batch):
    return list(feed(diagnostic.observer(POINTS), POINTS, maps, positions, batch).rows())


@each
def test_registry_finds_it(diagnostic):
    assert diagnostic_class(diagnostic.name) is type(diagnostic)


@each
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_loading_batch_does_not_matter(diagnostic, dtype, tolerance):
    maps = make_maps(POINTS, 40, dtype=dtype)
    whole = numbers(rows_of(diagnostic, maps, np.arange(40), 40))
    assert np.isfinite(whole).any()
    for batch in (1, 7):
        np.testing.assert_allclose(numbers(rows_of(diagnostic, maps, np.arange(40), batch)), whole, atol=tolerance)


@each
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32 - 1), batch=st.integers(1, 50))
def test_order_of_images_does_not_matter(diagnostic, seed, batch):
    maps = make_maps(POINTS, 40)
    whole = numbers(rows_of(diagnostic, maps, np.arange(40), 40))
    order = np.random.default_rng(seed).permutation(40)
    np.testing.assert_allclose(numbers(rows_of(diagnostic, maps, order, batch)), whole, atol=1e-10)


@each
def test_stored_parts_in_span_order_give_the_same_bits(diagnostic):
    maps = make_maps(POINTS, 300, dtype=torch.float32)
    uninterrupted = rows_of(diagnostic, maps, np.arange(300), 32)
    resumed = diagnostic.observer(POINTS)
    for span in (range(256), range(256, 300)):
        part = feed(diagnostic.observer(POINTS), POINTS, maps, np.array(span), 32)
        resumed.load(stored(diagnostic, part))
    assert list(resumed.rows()) == uninterrupted


@each
def test_a_part_loaded_twice_is_refused(diagnostic):
    observer = feed(diagnostic.observer(POINTS), POINTS, make_maps(POINTS, 16), np.arange(16), 16)
    with pytest.raises(StoreError, match="a part came in twice"):
        observer.load(stored(diagnostic, observer)) or list(observer.rows())


@each
def test_without_images_the_rows_are_empty_of_values(diagnostic):
    rows = list(diagnostic.observer(POINTS).rows())
    assert {getattr(row, "images", getattr(row, "groups", None)) for row in rows} == {0}
    assert diagnostic.figure(table_of(diagnostic, rows)).panels


@each
@pytest.mark.parametrize(("bad", "what"), [(np.nan, "2 non-finite values"), (np.inf, "2 non-finite values")])
def test_non_finite_values_are_reported_where_they_arise(diagnostic, bad, what):
    maps = make_maps(POINTS, 16, dtype=torch.float32)
    maps[1][13, 2, 3, 4:6] = bad
    observer = diagnostic.observer(POINTS)
    with pytest.raises(VisionscopeError, match=f"^{diagnostic.name} at 'p1': {what} in image position 13$"):
        feed(observer, POINTS, maps, np.arange(16), 8)


@each
def test_values_too_large_for_their_type_are_told_apart(diagnostic):
    maps = make_maps(POINTS, 16, dtype=torch.float32)
    maps[0][3] *= 1e30
    with pytest.raises(VisionscopeError, match=r"at 'p0': values too large for torch.float32"):
        feed(diagnostic.observer(POINTS), POINTS, maps, np.arange(16), 16)


@each
def test_a_small_autocast_map_is_measured_in_float32(diagnostic):
    maps = make_maps(POINTS, 16, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = numbers(rows_of(diagnostic, maps, np.arange(16), 16))
    exact = numbers(rows_of(diagnostic, [own.double() for own in maps], np.arange(16), 16))
    np.testing.assert_allclose(low, exact, atol=1e-5)
