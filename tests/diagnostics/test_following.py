"""A change is measured from the stream that the branch received, or refused, alike in every diagnostic."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference import feature_maps as twin
from reference.observing import feed, make_maps, make_points, table_of
from visionscope.core.following import before
from visionscope.diagnostics.fourier.question import Fourier
from visionscope.diagnostics.variance.question import Variance

IMAGES = 5


def rows_of(diagnostic, points, maps):
    return list(feed(diagnostic.observer(points), points, maps, np.arange(IMAGES), 3).rows())


def changes(diagnostic, points, maps):
    """The change at every point; of Fourier at the highest frequency."""
    rows = [row for row in rows_of(diagnostic, points, maps) if getattr(row, "high_frequency", True)]
    return {row.point: row.change for row in rows}


def variances(maps):
    return np.mean([twin.spatial_variance(image) for image in maps.tolist()])


def amplitude(maps):
    profiles = np.array([twin.diagonal_log_amplitude(image) for image in maps.tolist()])
    return (profiles[:, -1] - profiles[:, 0]).mean()


@pytest.mark.parametrize(
    ("follows", "measured_from"),
    [
        (("", "p0", "p1", "p2"), (None, 0, 1, 2)),  # blocks one after the other
        (("", "p0", "p0", "p2"), (None, 0, 0, 2)),  # two branches of one stream, as in parallel transformers
        (("", "p0", "", "p2"), (None, 0, None, 2)),  # a module without a sum between p1 and p2
        (("", "p0", "p1", "p0"), (None, 0, 1, 0)),  # a long skip
        (("", "", "", ""), (None, None, None, None)),
    ],
)
@pytest.mark.parametrize(("diagnostic", "value"), [(Fourier(), amplitude), (Variance(), variances)], ids=["f", "v"])
def test_a_change_is_measured_from_what_the_branch_received(diagnostic, value, follows, measured_from):
    points = make_points([(6, 6)] * 4, follows=follows)
    maps = make_maps(points, IMAGES)
    found = changes(diagnostic, points, maps)
    for point, own, place in zip(points, maps, measured_from, strict=True):
        expected = None if place is None else pytest.approx(value(own) - value(maps[place]), abs=1e-10)
        assert found[point.name] == expected


def test_a_block_between_two_sums_takes_its_own_change():
    """Channels 4 to 6 between two sums: the sum behind it is measured from that block, not from the sum before it."""
    points = make_points([(6, 6)] * 3, kinds=["conv", "block", "conv"])
    points = (points[0], *(dataclasses.replace(point, channels=6) for point in points[1:]))
    maps = make_maps(points, IMAGES)
    for diagnostic, value in ((Fourier(), amplitude), (Variance(), variances)):
        found = changes(diagnostic, points, maps)
        assert found["p1"] is None
        assert found["p2"] == pytest.approx(value(maps[2]) - value(maps[1]), abs=1e-10)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_both_diagnostics_refuse_the_same_pairs(data):
    count = data.draw(st.integers(1, 6))
    grids = data.draw(st.lists(st.sampled_from([(4, 4), (6, 6)]), min_size=count, max_size=count))
    names = ["", *(f"p{index}" for index in range(count)), "elsewhere"]
    follows = data.draw(st.lists(st.sampled_from(names), min_size=count, max_size=count))
    points = make_points(grids, follows=follows)
    points = tuple(dataclasses.replace(point, channels=data.draw(st.sampled_from([2, 3]))) for point in points)
    maps = make_maps(points, IMAGES)
    fourier, variance = (changes(diagnostic, points, maps) for diagnostic in (Fourier(), Variance()))
    assert [name for name, change in fourier.items() if change is None] == [
        name for name, change in variance.items() if change is None
    ]


def test_what_is_refused_says_why():
    points = make_points([(6, 6), (6, 6), (3, 3), (6, 6), (6, 6)], follows=("", "p0", "p1", "p1", "head"))
    points = (*points[:3], dataclasses.replace(points[3], channels=9), points[4])
    maps = make_maps(points, IMAGES)
    expected = [
        "no point holds what it received",
        "",
        "another grid than p1: 3x3, not 6x6",
        "other channels than p1: 9, not 4",
        "not looked at: head, which it follows",
    ]
    assert [one.note for one in before(points)] == expected
    assert [row.change_note for row in rows_of(Variance(), points, maps)] == expected
    told = {row.point: (row.change_note, row.follows) for row in rows_of(Fourier(), points, maps)}
    assert list(told.values()) == list(zip(expected, ("", "p0", "p1", "p1", "head"), strict=True))


def test_a_point_chosen_alone_has_no_change():
    points = make_points([(6, 6)] * 3)[2:]
    (row,) = rows_of(Variance(), points, make_maps(points, IMAGES))
    assert (row.change, row.change_note) == (None, "not looked at: p1, which it follows")


@pytest.mark.parametrize("diagnostic", [Fourier(), Variance()], ids=["fourier", "variance"])
def test_curves_know_where_a_step_began(diagnostic):
    points = make_points([(6, 6)] * 4, follows=("", "p0", "p0", ""), kinds=["stem", "msa", "msa", "block"])
    table = table_of(diagnostic, rows_of(diagnostic, points, make_maps(points, IMAGES)))
    line = diagnostic.figure(table).panels[-1].lines[-1]
    assert line.starts[1:3] == (0, 0)
    assert np.isnan(line.starts).tolist() == [True, False, False, True]
    assert line.kinds[-1] == "block"
