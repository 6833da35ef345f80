"""Sums over images: the same bits however they are cut, and errors as the statistics module has them."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionscope.core.sample import SPAN
from visionscope.errors import StoreError
from visionscope.numerics.statistics import ImageSums, mean_and_error

WIDTHS, PREVIOUS = (3, 3, 2), (None, 0, None)


def values_of(images, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((images, width)) * 10 for width in WIDTHS]


def feed(sums, values, positions):
    for series, own in enumerate(values):
        sums.put(series, positions, own[positions])
    return sums


def fresh():
    return ImageSums(WIDTHS, PREVIOUS)


def bits(sums):
    return [
        (t.images, t.change_images, *(a.tobytes() for a in (t.total, t.squares, t.change_total, t.change_squares)))
        for t in sums.totals()
    ]


@given(st.integers(1, 700), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_batches_and_order_do_not_change_a_bit(images, batch, seed):
    values = values_of(images)
    order = np.random.default_rng(seed).permutation(images)
    shuffled = fresh()
    for start in range(0, images, batch):
        feed(shuffled, values, order[start : start + batch])
    assert bits(shuffled) == bits(feed(fresh(), values, np.arange(images)))


def test_parts_loaded_in_any_order_equal_the_uninterrupted_run():
    values = values_of(3 * SPAN + 17)
    whole = feed(fresh(), values, np.arange(3 * SPAN + 17))
    parts = [range(s, min(s + SPAN, 3 * SPAN + 17)) for s in range(0, 3 * SPAN + 17, SPAN)]
    for order in ([0, 1, 2, 3], [2, 0, 3, 1]):
        put_together = fresh()
        for part in order:
            for series, sums in feed(fresh(), values, np.array(parts[part])).blocks():
                put_together.load(series, sums)
        assert bits(put_together) == bits(whole)


def test_totals_are_the_sums_and_changes_are_paired():
    values = values_of(300)
    totals = feed(fresh(), values, np.arange(300)).totals()
    np.testing.assert_allclose(totals[1].total, values[1].sum(0))
    np.testing.assert_allclose(totals[1].squares, (values[1] ** 2).sum(0))
    np.testing.assert_allclose(totals[1].change_total, (values[1] - values[0]).sum(0))
    np.testing.assert_allclose(totals[1].change_squares, ((values[1] - values[0]) ** 2).sum(0))
    assert [total.change_images for total in totals] == [0, 300, 0]


def test_a_change_counts_only_images_that_both_series_saw():
    values = values_of(10)
    sums = fresh()
    sums.put(0, range(6), values[0][:6])
    sums.put(1, range(4, 10), values[1][4:])
    total = sums.totals()[1]
    assert (total.images, total.change_images) == (6, 2)
    np.testing.assert_allclose(total.change_total, (values[1] - values[0])[4:6].sum(0))


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=50))
def test_mean_and_error_equal_the_statistics_module(values):
    mean, error = mean_and_error(len(values), sum(values), sum(value**2 for value in values))
    assert mean == pytest.approx(statistics.fmean(values), abs=1e-9)
    assert error == pytest.approx(statistics.stdev(values) / len(values) ** 0.5, abs=1e-5)


def test_too_few_images_have_no_error():
    assert mean_and_error(0, 0.0, 0.0) == (None, None)
    assert mean_and_error(1, 2.0, 4.0) == (2.0, None)
    assert mean_and_error(3, 0.3, 0.03) == (pytest.approx(0.1), pytest.approx(0, abs=1e-9))


def test_a_part_that_comes_twice_is_refused():
    values = values_of(SPAN)
    sums = feed(fresh(), values, np.arange(SPAN))
    part = dict(sums.blocks())
    with pytest.raises(StoreError, match="from position 0 on are there already"):
        sums.load(0, part[0])
    again = fresh()
    again.load(0, part[0])
    again.put(0, range(5), values[0][:5])
    with pytest.raises(StoreError, match="from position 0 on are there already"):
        again.totals()
