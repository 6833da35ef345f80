"""Variance rows: values, errors and changes against exact fractions; notes; the figure."""

import dataclasses
import math
import statistics

import numpy as np
import pytest
import torch

from reference import feature_maps as twin
from reference.observing import feed, make_maps, make_points, table_of
from visionscope.diagnostics.variance.question import Variance

POINTS = make_points(
    [(5, 5), (5, 5), (5, 5), (3, 4), (1, 1)], stages=[0, 1, 1, 1, 2], kinds=["stem", "conv", "conv", "down", "conv"]
)
IMAGES = 7


@pytest.fixture(scope="module")
def maps():
    return make_maps(POINTS, IMAGES)


@pytest.fixture(scope="module")
def rows(maps):
    return list(feed(Variance().observer(POINTS), POINTS, maps, np.arange(IMAGES), 3).rows())


def test_values_and_errors(maps, rows):
    for row, own in zip(rows[:4], maps, strict=False):
        expected = [twin.spatial_variance(image) for image in own.tolist()]
        assert row.variance == pytest.approx(statistics.fmean(expected), abs=1e-10)
        assert row.standard_error == pytest.approx(statistics.stdev(expected) / IMAGES**0.5, abs=1e-10)
        assert row.images == IMAGES


def test_change_is_paired_and_stays_within_grid_and_channels(maps, rows):
    before, after = ([twin.spatial_variance(image) for image in own.tolist()] for own in maps[1:3])
    difference = [b - a for a, b in zip(before, after, strict=True)]
    assert rows[2].change == pytest.approx(statistics.fmean(difference), abs=1e-10)
    assert rows[2].change_error == pytest.approx(statistics.stdev(difference) / IMAGES**0.5, abs=1e-10)
    assert [row.change is None for row in rows] == [True, False, False, True, True]


def test_no_change_where_the_channels_differ():
    points = [dataclasses.replace(point, channels=channels) for point, channels in zip(POINTS[:2], (4, 8), strict=True)]
    maps = [torch.randn(3, point.channels, *point.grid) for point in points]
    assert [row.change for row in feed(Variance().observer(points), points, maps, np.arange(3), 3).rows()] == [
        None,
        None,
    ]


def test_a_single_position_has_a_note_instead(rows):
    assert rows[4].variance is None
    assert rows[4].note == "a single position has no spatial variance"
    assert {row.note for row in rows[:4]} == {""}


def test_float32_stays_within_its_goal(maps, rows):
    low = [own.float() for own in maps]
    found = list(feed(Variance().observer(POINTS), POINTS, low, np.arange(IMAGES), 3).rows())
    for row, expected in zip(found[:4], rows, strict=False):
        assert row.variance == pytest.approx(expected.variance, rel=1e-6)


def test_constant_maps_have_no_variance():
    points = make_points([(4, 4)])
    maps = [torch.full((3, 4, 4, 4), 0.1)]
    (row,) = feed(Variance().observer(points), points, maps, np.arange(3), 3).rows()
    assert row.variance == pytest.approx(0, abs=1e-15)
    assert row.standard_error == pytest.approx(0, abs=1e-15)


def test_figure_draws_each_model_against_depth(rows):
    figure = Variance().figure(table_of(Variance(), rows, "resnet"))
    (panel,) = figure.panels
    (line,) = panel.lines
    # A gap half-way to the point of another grid.
    assert (panel.model, line.x) == ("resnet", (0, 0.25, 0.5, 0.625, 0.75))
    assert math.isnan(line.y[3])
    assert (*line.y[:3], line.y[4]) == tuple(row.variance for row in rows[:4])
    assert line.error is not None
    assert (*line.error[:3], line.error[4]) == tuple(row.standard_error for row in rows[:4])
    assert line.kinds == ("stem", "conv", "conv", "down", "down")
    assert "Lines break" in figure.caption
    assert panel.boundaries == (0.125,)
    assert "7 images" in figure.caption
