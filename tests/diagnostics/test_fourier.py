"""Fourier rows: values, errors and changes against plain means of twins, notes, labels, and the figure."""

import dataclasses
import json
import math
import statistics
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from reference import feature_maps as twin
from reference.observing import feed, make_maps, make_points, table_of
from visionscope.diagnostics.fourier.question import Fourier
from visionscope.errors import ConfigError, TraceError

OFFICIAL = json.loads((Path(__file__).parent.parent / "golden" / "official_measures.json").read_text())["feature_maps"]
POINTS = make_points([(7, 7), (7, 7), (4, 6), (2, 2)], kinds=["stem", "msa", "mlp", "down"], stages=[0, 1, 1, 2])
IMAGES = 6


@pytest.fixture(scope="module")
def maps():
    return make_maps(POINTS, IMAGES)


def rows_of(maps, **fields):
    observer = feed(Fourier(**fields).observer(POINTS), POINTS, maps, np.arange(IMAGES), 4)
    return list(observer.rows())


def twin_deltas(maps):
    profiles = np.array([twin.diagonal_log_amplitude(image) for image in maps.tolist()])
    return profiles - profiles[:, :1]


@pytest.mark.parametrize("case", OFFICIAL["cases"])
def test_official_numbers_come_out_of_the_observer(case):
    batch, channels, side, _ = map(int, case.split("x"))
    x = np.random.default_rng(side).standard_normal((batch, channels, side, side)).astype(np.float32)
    points = make_points([(side, side)], channels=channels)
    maps = torch.from_numpy((np.cumsum(x, axis=-1) * 0.3 + x).astype(np.float32))
    rows = list(feed(Fourier().observer(points), points, [maps], np.arange(batch), 1).rows())
    expected = OFFICIAL["cases"][case]["delta_log_amplitude"]
    assert [row.delta_log_amplitude for row in rows] == pytest.approx(expected, abs=1e-5)


def test_mean_and_standard_error_over_images(maps):
    rows = rows_of(maps)
    for point, own in zip(POINTS[:3], maps, strict=False):
        expected = twin_deltas(own)
        found = [row for row in rows if row.point == point.name]
        np.testing.assert_allclose([row.delta_log_amplitude for row in found], expected.mean(0), atol=1e-10)
        errors = [statistics.stdev(column) / IMAGES**0.5 for column in expected.T.tolist()]
        np.testing.assert_allclose([row.standard_error for row in found], errors, atol=1e-10)
        assert {row.images for row in found} == {IMAGES}


def test_the_level_itself_stands_beside_the_difference(maps):
    rows = rows_of(maps)
    for point, own in zip(POINTS[:3], maps, strict=False):
        expected = np.array([twin.diagonal_log_amplitude(image) for image in own.tolist()]).mean(0)
        found = [row.log_amplitude for row in rows if row.point == point.name]
        np.testing.assert_allclose(found, expected, atol=1e-10)


def test_change_is_paired_and_only_within_a_grid(maps):
    rows = rows_of(maps)
    difference = twin_deltas(maps[1]) - twin_deltas(maps[0])
    found = [row for row in rows if row.point == "p1"]
    np.testing.assert_allclose([row.change for row in found], difference.mean(0), atol=1e-10)
    errors = [statistics.stdev(column) / IMAGES**0.5 for column in difference.T.tolist()]
    np.testing.assert_allclose([row.change_error for row in found], errors, atol=1e-10)
    assert {(row.change, row.change_error) for row in rows if row.point != "p1"} == {(None, None)}


def test_a_grid_under_3_has_one_row_that_says_so(maps):
    (row,) = [row for row in rows_of(maps) if row.point == "p3"]
    assert (row.note, row.frequency, row.delta_log_amplitude) == ("grid 2x2 is too small", None, None)
    assert row.images == IMAGES


def test_high_frequency_is_the_last_bin_below_nyquist(maps):
    marked = [(row.point, row.frequency) for row in rows_of(maps, radial=True) if row.high_frequency]
    assert marked == [("p0", pytest.approx(6 / 7)), ("p1", pytest.approx(6 / 7)), ("p2", pytest.approx(0.5))]


def test_paper_labels_run_from_0_to_1_and_change_nothing_else(maps):
    true, paper = rows_of(maps), rows_of(maps, labelling="paper")
    assert [row.frequency for row in true[:4]] == pytest.approx([0, 2 / 7, 4 / 7, 6 / 7])
    assert [row.frequency for row in paper[:4]] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert {row.labelling for row in paper} == {"paper"}
    assert [row.delta_log_amplitude for row in true] == [row.delta_log_amplitude for row in paper]


def test_radial_rows_join_the_diagonal_ones(maps):
    rows = rows_of(maps, radial=True)
    assert [row for row in rows if row.profile == "diagonal"] == rows_of(maps)
    found = [row for row in rows if row.profile == "radial" and row.point == "p2"]
    profiles = np.array([twin.radial_log_amplitude(image) for image in maps[2].tolist()])
    expected = (profiles - profiles[:, :1]).mean(0)
    np.testing.assert_allclose([row.delta_log_amplitude for row in found], expected, atol=1e-10)
    assert [row.frequency for row in found] == [0, 0.5, 1]


def test_one_image_has_no_error():
    points = make_points([(5, 5)])
    rows = list(feed(Fourier().observer(points), points, make_maps(points, 1), np.arange(1), 1).rows())
    assert {row.standard_error for row in rows} == {None}


def test_a_map_of_another_grid_is_refused():
    with pytest.raises(TraceError, match="fourier at 'p0': the map is 8x9, its trace said 7x7"):
        Fourier().observer(POINTS).update(POINTS[0], torch.zeros(1, 4, 8, 9), torch.arange(1))


def test_unknown_labelling_is_refused():
    with pytest.raises(
        ConfigError, match=r"fourier\.labelling: must be one of true, paper; got 'papre'\. Did you mean 'paper'\?"
    ):
        Fourier(labelling="papre")


def test_figure_has_a_panel_per_model_and_one_against_depth(maps):
    diagnostic = Fourier()
    table = table_of(diagnostic, rows_of(maps), "a")
    figure = diagnostic.figure(pa.concat_tables([table, table_of(diagnostic, rows_of(maps), "b")]))
    assert [panel.model for panel in figure.panels] == ["a", "b", ""]
    curves = figure.panels[0].lines
    assert [(line.name, line.kind, line.shade) for line in curves] == [
        ("p0", "stem", 0),
        ("p1", "msa", pytest.approx(1 / 3)),
        ("p2", "mlp", pytest.approx(2 / 3)),
    ]
    assert [len(line.x) for line in curves] == [4, 4, 2]
    assert curves[0].error[0] == 0
    assert curves[0].error[1] > 0
    depth = figure.panels[-1].lines
    assert [line.name for line in depth] == ["a", "b"]
    assert np.isnan(depth[0].y).tolist() == [False, False, True, False]
    assert len(depth[0].x) == len(depth[0].error) == len(depth[0].kinds) == len(depth[0].hover) == 4
    assert "6 images" in figure.caption
    assert "one standard error" in figure.caption
    assert "Frequencies are true" in figure.caption


def test_figure_breaks_the_line_where_channels_change():
    first, *others = make_points([(7, 7)] * 3, kinds=["stem", "block", "conv"])
    points = [first, *(dataclasses.replace(point, channels=first.channels + 2) for point in others)]
    rows = list(feed(Fourier().observer(points), points, make_maps(points, 4), np.arange(4), 4).rows())
    figure = Fourier().figure(table_of(Fourier(), rows, "a"))
    (line,) = figure.panels[-1].lines
    assert [math.isnan(y) for y in line.y] == [False, True, False, False]
    assert "lines break where the grid or the number of channels changes" in figure.caption


def test_figure_of_paper_labels_says_so(maps):
    diagnostic = Fourier(labelling="paper")
    caption = diagnostic.figure(table_of(diagnostic, rows_of(maps, labelling="paper"))).caption
    assert "as in the paper's notebook" in caption
