"""Receptive fields: known ones of plain convolutions, plain loops in float64, windows, what has none, sentences."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import timm
import torch
from torch import nn

import visionscope.models.pico  # noqa: F401  # registers the network
from reference import fields as twin
from reference.found_as_it_was import snapshot
from reference.observing import make_points
from running.networks import convolutions, tokens
from visionscope.core.sample import Batch
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING, to_table, with_leading_of
from visionscope.diagnostics.receptive_field.question import ReceptiveField
from visionscope.errors import ConfigError, NotApplicableError, VisionscopeError
from visionscope.tracing import trace, watch

SIDE = 16


class Images:
    """Fixed images in float64."""

    digest = "fixed"

    def __init__(self, count=12, side=SIDE):
        self.images = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def __len__(self):
        return len(self.images)

    def batches(self, start, stop, batch_size):
        for first in range(start, stop, batch_size):
            own = torch.arange(first, min(first + batch_size, stop))
            yield Batch(self.images[own], None, own)


def traced(model, side=SIDE, **fields):
    model = model.double().eval()
    found = trace(model, torch.zeros(2, 3, side, side))
    return subject(model, found.points, functools.partial(watch, model, found), side=side, **fields)


def subject(model, points, watched, *, count=12, side=SIDE, label="net"):
    return Subject(label=label, model=model, points=points, watch=watched, samples={"eval": Images(count, side)})


def plain(layers, grids):
    """A chain of layers, each a point."""
    model, points = nn.Sequential(*layers).double().eval(), make_points(grids)

    @contextmanager
    def watched(callback) -> Iterator[None]:
        hooks = [
            layer.register_forward_hook(lambda module, args, output, point=point: callback(point, output))
            for layer, point in zip(layers, points, strict=True)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    return subject(model, points, watched)


def rows_of(given, **fields):
    asked = ReceptiveField(**fields)
    return [row for _, some in asked.measure(given, asked.parts(given)) for row in some]


def picture(row):
    return np.array(row.field).reshape(-1, row.field_width)


def ones(inner, **how):
    layer = nn.Conv2d(inner, 1, 3, padding=1, bias=False, **how)
    nn.init.ones_(layer.weight)
    return layer


def test_convolutions_of_ones_have_the_coefficients_of_a_power():
    depth = 4
    rows = rows_of(plain([ones(3 if not place else 1) for place in range(depth)], [(SIDE, SIDE)] * depth))
    weights = np.ones(1)
    for place, row in enumerate(rows):
        weights = np.convolve(weights, np.ones(3))  # of (1 + x + x^2)^n
        expected, reach = np.zeros((SIDE, SIDE)), place + 1
        inside = slice(SIDE // 2 - reach, SIDE // 2 + reach + 1)
        expected[inside, inside] = np.outer(weights, weights)
        expected /= expected.sum()
        np.testing.assert_allclose(picture(row), expected, atol=1e-12)
        assert (row.centre_row, row.centre_column) == pytest.approx((SIDE / 2, SIDE / 2))
        assert row.radius_50 == pytest.approx(twin.radius(expected, 0.5), abs=1e-6)
        assert row.radius_99 == pytest.approx(twin.radius(expected, 0.99), abs=1e-6)
        assert row.error_50 == pytest.approx(0, abs=1e-9)  # the same field for every image


def by_hand(name, model):
    """The centre's sum over channels at each point, written out from the network's parts."""
    blocks = list(model.blocks)

    def centre_of(depth, image):
        maps = model.stem(image)
        if name == "convolutions":
            for block in blocks[:depth]:
                maps = maps + block.body(maps)
            return maps[0, :, SIDE // 2, SIDE // 2].sum()
        values = maps.flatten(2).transpose(1, 2)
        for block in blocks[:depth]:
            y = block.norm(values)
            values = values + block.mix(y, y, y)[0]
        return values[0, 2 * 4 + 2].sum()  # of 4 x 4 tokens

    return centre_of


@pytest.mark.parametrize(("name", "made"), [("convolutions", convolutions), ("tokens", tokens)])
def test_fields_are_those_of_a_plain_loop(name, made):
    given = traced(made())
    before = snapshot(given.model)
    rows = rows_of(given)
    assert snapshot(given.model) == before
    assert len(rows) == len(given.points) == 3
    images = given.samples["eval"].images
    for depth, row in enumerate(rows):
        centre_of = functools.partial(by_hand(name, given.model), depth)
        expected = twin.field_of(centre_of, images)
        np.testing.assert_allclose(picture(row), (expected / expected.sum()).numpy(), atol=1e-12)
        assert row.radius_50 == pytest.approx(twin.radius(expected, 0.5), abs=1e-6)
        # Twelve images in ten groups: 0 and 1 of the first, 6 and 7 of the sixth share one.
        each = [twin.field_of(centre_of, image[None]) for image in images]
        groups = [sum(each[place] for place in range(12) if place * 10 // 12 == group) for group in range(10)]
        assert row.error_50 == pytest.approx(twin.error(groups, 0.5), rel=1e-6, abs=1e-9)
        assert (row.images, row.groups) == (12, 10)


def test_nothing_outside_its_window_reaches_a_token():
    side = 32
    with torch.random.fork_rng():
        torch.manual_seed(0)
        given = traced(timm.create_model("swin_pico", num_classes=10), side=side, count=2)
    point = next(place for place, one in enumerate(given.points) if one.kind == "msa")
    assert given.points[point].grid[0] > 4
    row = rows_of(given)[point]
    field = picture(row)
    rows, columns = np.nonzero(field > 1e-12)
    inside = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
    assert 0 < inside < 0.6 * side * side
    assert field[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].sum() == pytest.approx(1.0)


def test_what_has_no_field_is_refused():
    class Cut(nn.Module):
        def forward(self, x):
            return x.detach() * 2

    class Constant(nn.Module):
        def forward(self, x):
            return 0 * x

    class Steep(nn.Module):
        def forward(self, x):
            return (0 * x).sqrt()

    with pytest.raises(VisionscopeError, match="receptive_field at 'p0': no gradient reaches the images"):
        rows_of(plain([Cut()], [(SIDE, SIDE)]))
    # A norm over channels without weights leaves them a sum of zero, whose gradient is rounding.
    for layer in (Constant(), timm.layers.LayerNorm2d(3)):
        (row,) = rows_of(plain([layer], [(SIDE, SIDE)]))
        assert (row.radius_50, row.error_99, row.field) == (None, None, ())
        assert row.note.startswith("the centre's channels add up to the same for all images")
    (row,) = rows_of(plain([nn.GroupNorm(1, 3)], [(SIDE, SIDE)]))  # over the whole map: no constant
    assert row.note == ""
    with pytest.raises(VisionscopeError, match="the gradient of image position 0 is not finite"):
        rows_of(plain([Steep()], [(SIDE, SIDE)]))
    with pytest.raises(NotApplicableError, match="net: has no feature maps whose receptive field"):
        ReceptiveField().parts(subject(nn.Identity(), (), None))
    with pytest.raises(ConfigError, match=r"receptive_field.sample_size: must be .*got 0"):
        ReceptiveField(sample_size=0)


def test_large_images_are_kept_in_square_cells():
    given = plain([ones(3)], [(SIDE, SIDE)])
    given.samples["eval"].images = torch.randn(2, 3, 150, 100, dtype=torch.float64)
    (row,) = rows_of(given)
    assert picture(row).shape == (30, 20)
    assert picture(row).sum() == pytest.approx(1.0)
    assert row.error_50 is None
    assert row.note == "an error needs 4 groups of images"


def test_it_is_told_in_words_and_as_a_measure():
    asked = ReceptiveField()
    given = traced(tokens())
    rows = rows_of(given)
    leading = {**dict.fromkeys(LEADING, "x"), "model": "net"}
    table = with_leading_of(to_table(asked.row, rows), [leading] * len(rows))
    tables = {"rows": table, "summary": asked.summary(table)}
    last = tables["summary"].to_pylist()[-1]
    assert last["low_50"] <= last["radius_50"] <= last["high_50"]
    assert last["reach"] == pytest.approx(rows[-1].radius_50 / twin.radius(np.ones((SIDE, SIDE)), 0.5))
    (finding,) = asked.findings(tables)
    assert finding.headline.startswith("In net, half of what the last map's centre depends on lies within ")
    assert len(finding.headline.split()) <= 25
    measures = asked.measures(tables)
    assert [one.name for one in measures] == ["receptive field, 50 %", "receptive field, 99 %"]
    assert measures[1].value == rows[-1].radius_99
    assert asked.limits(tables)
    sheet = asked.figure(table).panels[-1]
    assert [one.title for row in sheet.pictures for one in row] == [row.point for row in rows]
