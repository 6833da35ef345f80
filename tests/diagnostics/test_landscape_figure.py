"""What landscapes come to: flatness of a bowl, surfaces and lines, the published landscapes beside one's own."""

import dataclasses
import math

import pyarrow as pa
import pytest

from reference.small_subjects import SMALL, convolutional, measured, subject, table
from visionscope.core.table import from_table
from visionscope.diagnostics.landscape.published import published_landscape
from visionscope.diagnostics.landscape.question import Landscape, LandscapeRow
from visionscope.errors import ConfigError


def bowl(a=2.0, b=1.0, draws=(1.0, 3.0), l2=0.5):
    """Rows whose NLL is known: a x^2 + b y^2 over the grid, c x^2 along each further draw."""
    rows = []
    steps = [place / 4 for place in range(-4, 5)]
    places = [(0, x, y, a * x * x + b * y * y) for y in steps for x in steps]
    places += [(draw, x, 0.0, c * x * x) for draw, c in enumerate(draws, start=1) for x in steps]
    template = measured(Landscape(**SMALL), subject(convolutional()))[0]
    for draw, x, y, nll in places:
        rows.append(dataclasses.replace(template, draw=draw, x=x, y=y, nll=nll, l2=l2, l2_official=1.0, accuracy=0.5))
    return rows


def test_flatness_of_a_bowl():
    said = {row["quantity"]: row for row in Landscape(rise=0.5625).summary(table(bowl())).to_pylist()}
    assert said["curvature along x"]["value"] == pytest.approx(4)
    assert said["curvature along y"]["value"] == pytest.approx(2)
    assert said["curvature along x"]["unit"] == "nat per squared step"
    curvature = said["curvature"]
    assert (curvature["value"], curvature["low"], curvature["high"]) == pytest.approx((3.5, 2.0, 6.0))
    assert curvature["deviation"] == pytest.approx(math.sqrt((0.25 + 2.25 + 2.25 + 6.25) / 3))
    assert curvature["directions"] == 4
    sharp = said["sharpness: rise at step 0.5"]
    assert (sharp["value"], sharp["low"], sharp["high"]) == pytest.approx((0.4375, 0.25, 0.75))
    radius = said["radius at a rise of 0.5625 nat"]
    # 0.5625 is reached at a step for c = 1; between two steps, linear, for c = 2 and 3.
    expected = [0.5 + 0.25 * 0.0625 / 0.625, 0.75, 0.75, 0.25 + 0.25 * 0.375 / 0.5625]
    assert radius["value"] == pytest.approx(sum(expected) / 4)
    assert radius["directions"] == 8
    assert radius["note"] == ""
    assert said["L2 at the centre"]["value"] == 0.5
    assert "largest error of bf16 measured" not in said


def test_the_largest_bf16_error_is_told():
    rows = bowl()
    rows[3], rows[5] = (dataclasses.replace(rows[place], bf16_error=error) for place, error in ((3, 0.01), (5, 0.02)))
    said = {row["quantity"]: row for row in Landscape().summary(table(rows)).to_pylist()}
    assert said["largest error of bf16 measured"]["value"] == 0.02
    assert said["largest error of bf16 measured"]["note"].startswith("at 2 places")


def test_a_radius_that_is_not_reached_has_no_mean():
    far = Landscape(rise=1.5).summary(table(bowl())).to_pylist()
    (said,) = [row for row in far if row["quantity"].startswith("radius")]
    assert said["value"] is None
    assert said["high"] is None
    assert said["low"] == pytest.approx(0.5 + 0.25 * 0.75 / 0.9375)
    assert said["note"] == "not reached along 4 of 8 half-lines"
    near = Landscape(rise=0.01).summary(table(bowl())).to_pylist()
    (said,) = [row for row in near if row["quantity"].startswith("radius")]
    assert said["note"] == "within the first step along 8 of 8 half-lines: take a smaller extent"


def test_figure_draws_surfaces_and_lines_with_bands():
    both = pa.concat_tables([table(bowl(), "a", "1"), table(bowl(a=5.0), "b", "2")])
    figure = Landscape().figure(both)
    assert [(panel.model, panel.group) for panel in figure.panels] == [
        ("a", "NLL"),
        ("b", "NLL"),
        ("a", "NLL + L2, above its least"),
        ("b", "NLL + L2, above its least"),
        ("", "lines"),
    ]
    surface = figure.panels[1].surface
    assert surface.values[0][0] == pytest.approx(6)  # y = -1, x = -1
    assert surface.values[4][8] == pytest.approx(5)  # y = 0, x = 1
    assert min(value for row in figure.panels[3].surface.values for value in row) == 0
    line = figure.panels[-1].lines[0]
    assert line.name == "a"
    assert (line.y[-1], line.error[-1]) == pytest.approx(((2 + 1 + 1 + 3) / 4, math.sqrt(2.75 / 3)))
    assert "the same 40 images at every place (augmentation: strong; label smoothing 0)" in figure.caption
    assert "BatchNorm statistics kept" in figure.caption


@pytest.mark.parametrize(("name", "infinite", "centre"), [("ResNet-50", 31, 2.194), ("ViT-Ti", 0, 2.490)])
def test_published_landscapes_stand_beside_own_ones(name, infinite, centre):
    rows = published_landscape(name)
    listed = from_table(LandscapeRow, rows)
    assert len(listed) == 441
    assert sum(not math.isfinite(row.nll) for row in listed) == infinite
    (middle,) = [row for row in listed if row.x == row.y == 0]
    assert middle.nll == pytest.approx(centre, abs=5e-4)
    assert middle.l2_official == pytest.approx({"ResNet-50": 76.71, "ViT-Ti": 38.47}[name], abs=5e-3)
    own = table(bowl())
    assert rows.schema.equals(own.schema)
    figure = Landscape().figure(pa.concat_tables([own, rows]))
    assert [panel.model for panel in figure.panels[:2]] == ["m", f"{name} (published)"]
    assert figure.panels[2].group == "NLL + L2 of the authors' code, above its least"
    holes = [value for line in figure.panels[1].surface.values for value in line if not math.isfinite(value)]
    assert len(holes) == infinite
    assert "norms across filters" in figure.caption
    said = {row["quantity"]: row for row in Landscape().summary(rows).to_pylist()}
    assert said["non-finite places"]["value"] == infinite
    assert said["L2 at the centre"]["value"] is None


def test_another_published_landscape_is_not_there():
    with pytest.raises(ConfigError, match="published landscape: must be ResNet-50 or ViT-Ti; got 'ViT-B'"):
        published_landscape("ViT-B")
