"""Token rows: norms and outliers against slow twins, prefix tokens apart, what is said of them, and the figure."""

import functools
import math
import statistics
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy import stats
from timm.models.vision_transformer import VisionTransformer

from reference import tokens as twin
from reference.observing import feed, make_maps, make_points, stored, table_of
from report.telling import answer_of
from visionscope.core.sample import Batch
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING
from visionscope.diagnostics.tokens.question import TokenNorms
from visionscope.running.execute import observe
from visionscope.tracing import trace, watch

POINTS = make_points([(5, 5), (4, 6), (2, 3), (1, 1)], stages=[0, 1, 1, 2], kinds=["stem", "mlp", "mlp", "mlp"])
IMAGES = 7


@pytest.fixture(scope="module")
def maps():
    made = make_maps(POINTS, IMAGES)
    made[0][2:6, :, 0, 3] *= 30  # at the edge of four images
    made[0][1, :, 2, 2] *= 30  # inside one
    return made


@pytest.fixture(scope="module")
def rows(maps):
    return list(feed(TokenNorms().observer(POINTS), POINTS, maps, np.arange(IMAGES), 3).rows())


def answer(rows, **changed):
    leading = {**dict.fromkeys(LEADING, "?"), "model": "vit", "weights": "trained", **changed}
    table = table_of(TokenNorms(), rows, **leading)
    return answer_of(TokenNorms(), table)


def test_values_are_those_of_the_twin(maps, rows):
    for row, own in zip(rows[:3], maps, strict=False):
        lengths = [twin.norms(image) for image in own.tolist()]
        out = [twin.outlier_places(one, 5.0) for one in lengths]
        means = [statistics.fmean(one) for one in lengths]
        shares = [statistics.fmean(one) for one in out]
        largest = [max(one) / statistics.fmean(one) for one in lengths]
        for name, error, values in (
            ("norm", "norm_error", means),
            ("largest", "largest_error", largest),
            ("outlier_share", "outlier_error", shares),
        ):
            assert getattr(row, name) == pytest.approx(statistics.fmean(values), rel=1e-10)
            assert getattr(row, error) == pytest.approx(statistics.stdev(values) / IMAGES**0.5, rel=1e-7, abs=1e-12)
        np.testing.assert_allclose(row.norms, np.mean(lengths, axis=0), rtol=1e-10)
        np.testing.assert_allclose(row.shares, np.mean(out, axis=0), rtol=1e-10)
    assert rows[0].outlier_share > 0


def test_the_border_is_the_first_and_the_last_row_and_column(maps, rows):
    out = np.array([twin.outlier_places(twin.norms(image), 5.0) for image in maps[0].tolist()]).reshape(IMAGES, 5, 5)
    inside = out[:, 1:4, 1:4].reshape(IMAGES, -1)
    border = [out[:, places].mean() for places in (0,)]  # the first row, of which one place stands out
    at_border = (out.sum((1, 2)) - inside.sum(1)) / 16
    difference = at_border - inside.mean(1)
    row = rows[0]
    assert border[0] > row.inside_share
    assert (row.border_share, row.inside_share) == (pytest.approx(at_border.mean()), pytest.approx(inside.mean()))
    assert row.border_difference == pytest.approx(difference.mean())
    assert row.border_error == pytest.approx(difference.std(ddof=1) / IMAGES**0.5)
    assert [row.border_share is None for row in rows] == [False, False, True, True]


def test_a_single_position_has_a_note_instead(rows):
    assert (rows[3].norm, rows[3].norms, rows[3].note) == (None, (), "a single position stands out from nothing")
    assert {row.note for row in rows[:3]} == {""}


def test_a_map_of_zeros_has_no_outlier():
    points = make_points([(4, 4)])
    (row,) = feed(TokenNorms().observer(points), points, [torch.zeros(3, 4, 4, 4)], np.arange(3), 3).rows()
    assert (row.norm, row.largest, row.outlier_share) == (0, 1, 0)


class _Images:
    def __init__(self, images):
        self.images, self.digest, self.labels = images, "fixed", None

    def __len__(self):
        return len(self.images)

    def batches(self, start, stop, batch_size):
        for first in range(start, stop, batch_size):
            own = torch.arange(first, min(first + batch_size, stop))
            yield Batch(self.images[own], None, own)


def test_class_and_register_tokens_are_measured_apart():
    """By hooks on the blocks of a ViT with a class token and two registers."""
    torch.manual_seed(0)
    sizes = {"img_size": (16, 24), "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 3, "num_classes": 4}
    model = VisionTransformer(reg_tokens=2, **sizes).double().eval()
    images = torch.randn(5, 3, 16, 24, dtype=torch.float64)
    found = trace(model, images)
    bound = functools.partial(watch, model, found)
    subject = Subject(label="m", model=model, points=found.points, watch=bound, samples={"eval": _Images(images)})
    whole = TokenNorms().observer(found.points)
    assert observe(subject, {"tokens": whole}, (0, 5), batch=2) == {}
    outputs = []
    for block in model.blocks:
        block.register_forward_hook(lambda block, given, output: outputs.append(output.detach()))
    with torch.no_grad():
        model(images)
    ends = [row for row in whole.rows() if row.point.endswith("+mlp")]
    for row, own in zip(ends, outputs, strict=True):
        lengths = own.square().sum(-1).sqrt()
        assert row.prefix_tokens == 3
        np.testing.assert_allclose(row.prefix_norms, lengths[:, :3].mean(0), rtol=1e-10)
        np.testing.assert_allclose(row.norms, lengths[:, 3:].mean(0), rtol=1e-10)
        by_image = lengths[:, :3].mean(1)
        assert row.prefix_norm == pytest.approx(float(by_image.mean()), rel=1e-10)
        assert row.prefix_error == pytest.approx(float(by_image.std()) / 5**0.5, rel=1e-7)
    again = TokenNorms().observer(found.points)
    again.load(stored(TokenNorms(), whole))
    assert list(again.rows()) == list(whole.rows())


def test_what_is_said_has_the_numbers_of_the_tables(rows):
    said = answer(rows)
    (most,) = said.tables["summary"].to_pylist()
    row = rows[0]
    assert (most["point"], most["outlier_share"], most["points"]) == ("p0", row.outlier_share, 3)
    reach = float(stats.t.ppf(1 - 0.05 / 2 / 3, IMAGES - 1)) * row.outlier_error
    assert (most["low"], most["high"]) == pytest.approx((max(0, row.outlier_share - reach), row.outlier_share + reach))
    borders = said.tables["comparisons"].to_pylist()
    assert [one["point"] for one in borders] == ["p0", "p1"]
    reach = float(stats.t.ppf(0.975, IMAGES - 1)) * row.border_error
    ends = row.border_difference - reach, row.border_difference + reach
    assert (borders[0]["low"], borders[0]["high"]) == pytest.approx(ends)
    (one,) = said.findings
    share = f"{100 * row.outlier_share:.1f} %"
    said_so = f"the longest has {row.largest:.2f} times the mean norm, and {share} are outliers"
    assert one.headline == f"In vit, tokens stand out most at p0: {said_so}."
    assert one.detail.startswith("95 % intervals ")
    reach = float(stats.t.ppf(1 - 0.05 / 2 / 3, IMAGES - 1)) * row.largest_error
    assert (most["largest_low"], most["largest_high"]) == pytest.approx((row.largest - reach, row.largest + reach))
    assert "not clearly more or less frequent at the edge" in one.detail
    assert (one.value, one.n) == (pytest.approx(100 * row.outlier_share), IMAGES)
    (cell,) = said.measures
    assert (cell.value, cell.unit, cell.note) == (pytest.approx(100 * row.outlier_share), "%", "at p0")
    places = said.tables["outcomes"].to_pylist()
    assert len(places) == 25 + 24 + 6
    assert (places[3]["map_row"], places[3]["map_column"], places[3]["outlier_share"]) == (0, 3, row.shares[3])


def test_more_at_the_edge_less_or_nowhere(maps):
    def told(place):
        own = [one.clone() for one in maps]
        own[0] = torch.ones_like(own[0]) + 0.01 * torch.randn(own[0].shape, generator=torch.Generator().manual_seed(0))
        if place:
            own[0][:, :, place[0], place[1]] *= 30
        points = POINTS[:1]
        (one,) = answer(feed(TokenNorms().observer(points), points, own[:1], np.arange(IMAGES), 7).rows()).findings
        return one

    assert "They are more frequent at the edge of the map than inside (6.2 % against 0 %)." in told((0, 2)).detail
    assert "They are less frequent at the edge of the map than inside (0 % against 11 %)." in told((2, 2)).detail
    nothing = told(None)
    assert nothing.headline == "In vit, no token is an outlier at any point."
    assert nothing.value == 0


def test_figure_draws_shares_norms_and_the_map_with_most(rows):
    figure = TokenNorms().figure(pa.concat_tables([table_of(TokenNorms(), rows, name) for name in ("a", "b")]))
    assert [panel.title for panel in figure.panels] == [
        *("Outlier tokens", "a: norm", "b: norm"),
        *(f"{name}: outliers at p0, up to {100 * max(rows[0].shares):.0f} %" for name in "ab"),
    ]
    (line, _) = figure.panels[0].lines
    assert line.y == pytest.approx([100 * row.outlier_share for row in rows[:3]])
    heat: Any = figure.panels[3].heat
    np.testing.assert_allclose(heat.values, np.array(rows[0].shares).reshape(5, 5)[::-1] / max(rows[0].shares))
    assert heat.names_y[0] == "row 4"
    assert not math.isnan(figure.panels[1].lines[0].y[0])
