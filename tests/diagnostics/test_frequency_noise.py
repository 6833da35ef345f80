import dataclasses
import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from reference import noise as twin
from reference.perturbed import INPUT, SIZE, Images, measured, outcome, subject
from visionscope.core.table import LEADING, to_table, with_leading_of
from visionscope.diagnostics.frequency_noise.measure import masks_of
from visionscope.diagnostics.frequency_noise.question import FrequencyNoise, FrequencyNoiseRow
from visionscope.diagnostics.outcomes import passes
from visionscope.errors import ConfigError, DataError, NotApplicableError
from visionscope.numerics.noise import unit_noise

RINGS = {"frequencies": (0.2, 0.7), "width": 0.4, "energy": "equal_eps"}
EDGES = [(0, 4000), (5000, 9000)]


def table(rows, model="m"):
    first = {**dict.fromkeys(LEADING, "?"), "model": model}
    return with_leading_of(to_table(FrequencyNoiseRow, rows), [first] * len(rows))


@pytest.mark.parametrize("noise", ["sign", "gaussian"])
@pytest.mark.parametrize("space", ["normalised", "pixel"])
def test_rows_are_those_of_noise_cut_by_explicit_fourier_matrices(noise, space):
    given = subject()
    clean, *rings = measured(FrequencyNoise(noise=noise, space=space, eps=0.9, **RINGS), given)
    images = given.samples["eval"].images
    assert (clean.right, pytest.approx(clean.nll, abs=1e-12)) == outcome(given, images)
    white = unit_noise(noise, 0, range(len(images)), (3, *SIZE)).double().numpy()
    if space == "pixel":
        white = white / np.array(INPUT.std)[:, None, None]
    for row, (low, high) in zip(rings, EDGES, strict=True):
        added = 0.9 * torch.from_numpy(twin.filtered(white, twin.inside(SIZE, low, high)).real)
        assert (row.right, pytest.approx(row.nll, abs=1e-9)) == outcome(given, images + added)
        assert row.rms == pytest.approx(float(added.square().mean().sqrt()), rel=1e-9)
        assert (row.low, row.high) == (low / twin.SCALE, high / twin.SCALE)
        assert row.share == twin.inside(SIZE, low, high).mean()


def test_rings_that_partition_the_plane_cut_one_noise_into_pieces():
    given = subject()
    # of 12 x 9 pixels rings of width 0.25 all hold something
    asked = FrequencyNoise(frequencies=(0.125, 0.375, 0.625, 0.875), width=0.25, eps=0.5, energy="equal_eps")
    rows = measured(asked, given)
    images = given.samples["eval"].images
    shown = [torch.cat([seen for seen in given.model.seen[place::5]]) for place in range(5)]
    assert torch.equal(shown[0], images)
    whole = sum(some - images for some in shown[1:])
    expected = 0.5 * unit_noise("sign", 0, range(len(images)), (3, *SIZE)).double()
    assert torch.allclose(whole, expected, rtol=0, atol=1e-12)
    assert {row.coverage for row in rows} == {1.0}
    assert sum(row.share for row in rows) == 1
    assert math.hypot(*(row.rms for row in rows)) == pytest.approx(0.5, rel=1e-12)


def test_equal_energy_gives_every_ring_the_same_noise_and_equal_eps_does_not():
    assert FrequencyNoise().energy == "equal_energy"
    asked = dataclasses.replace(FrequencyNoise(noise="gaussian", **RINGS), energy="equal_energy")
    _, *rings = measured(asked, subject())
    assert [row.rms for row in rings] == [pytest.approx(0.7 * math.sqrt(0.4), rel=0.05)] * 2
    _, lower, upper = measured(FrequencyNoise(noise="gaussian", **RINGS), subject())
    assert lower.rms == pytest.approx(0.7 * math.sqrt(lower.share), rel=0.05)
    assert upper.rms > 1.3 * lower.rms


def test_the_papers_rings_are_said_to_leave_something_out():
    images = dataclasses.replace(INPUT, size=(32, 32))
    given = subject(input=images)
    masks = masks_of(FrequencyNoise(), given)
    # of 32 x 32: the constant, and the row and column of 1
    assert sum(mask.sum() for mask in masks) == 32 * 32 - 1 - 63
    rows = measured(FrequencyNoise(**RINGS), subject())
    assert 0 < rows[0].coverage < 1
    drawn = FrequencyNoise(**RINGS).figure(table(rows))
    assert "the others had no noise" in drawn.caption


def test_results_do_not_depend_on_the_batch(monkeypatch):
    one = measured(FrequencyNoise(**RINGS), subject())
    monkeypatch.setattr(passes, "BATCH", 7)
    other = measured(FrequencyNoise(**RINGS), subject())
    assert [row.right for row in one] == [row.right for row in other]
    assert [row.nll for row in one] == pytest.approx([row.nll for row in other], abs=1e-12)


def test_a_change_beyond_chance_is_drawn_in_full_and_chance_in_grey():
    clean, ring, _ = measured(FrequencyNoise(**RINGS), subject())
    rows = [
        dataclasses.replace(clean, right="f" * 10),
        dataclasses.replace(ring, right="0" * 10),
        dataclasses.replace(ring, right="7" + "f" * 9, frequency=0.9),
    ]
    summary = FrequencyNoise().summary(table(rows)).to_pylist()
    assert [row["change"] for row in summary] == pytest.approx([-100, -2.5])
    assert summary[0]["p_holm"] < 1e-9
    assert summary[1]["p_holm"] == 1
    line = FrequencyNoise().figure(pa.concat_tables([table(rows), table(rows, "n")])).panels[0].lines[1]
    assert (line.name, line.x, line.faint) == ("n", (0.2, 0.9), (False, True))
    assert line.y == pytest.approx((-100, -2.5))


def test_rms_is_pooled_over_spans_by_their_squares():
    clean, ring, _ = measured(FrequencyNoise(**RINGS), subject())
    later = {"start": 40, "part": "0040-0060", "images": 20, "right": "0" * 5}
    rows = [clean, dataclasses.replace(clean, **later), ring, dataclasses.replace(ring, **later, rms=0.0)]
    (row,) = FrequencyNoise().summary(table(rows)).to_pylist()
    assert row["images"] == 60
    assert row["rms"] == pytest.approx(ring.rms * math.sqrt(40 / 60))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"eps": math.nan}, r"frequency_noise\.eps: must be a number above 0 and at most 1000000; got nan"),
        ({"eps": 0.0}, r"frequency_noise\.eps: must be a number above 0 and at most 1000000; got 0\.0"),
        ({"width": math.nan}, r"frequency_noise\.width: must be a number above 0 and at most 2; got nan"),
        (
            {"frequencies": ()},
            r"frequency_noise\.frequencies: must be a list of one or more, each a number .*, without repeats; got \[\]",
        ),
        ({"frequencies": (0.1, 0.1)}, r"frequency_noise\.frequencies: must not repeat an item; got 0\.1 twice"),
        ({"frequencies": (0.1, 1.5)}, r"frequency_noise\.frequencies: each must be a number from 0 to 1; got 1\.5"),
        ({"frequencies": (math.nan,)}, r"frequency_noise\.frequencies: each must be a number from 0 to 1; got nan"),
        (
            {"noise": "gausian"},
            r"frequency_noise\.noise: must be one of sign, gaussian; got 'gausian'\. Did you mean 'gaussian'\?",
        ),
        ({"seed": -1}, r"frequency_noise\.seed: must be an integer from 0 to 4294967295; got -1"),
        ({"sample_size": 0}, r"frequency_noise\.sample_size: must be an integer from 1 to 1000000000; got 0"),
    ],
)
def test_wrong_values_are_refused_in_a_line(fields, said):
    with pytest.raises(ConfigError, match=said):
        FrequencyNoise(**fields)


def test_what_can_not_be_asked_is_said_before_anything_is_computed():
    with pytest.raises(NotApplicableError, match=r"no frequency of its images of 12 x 9 pixels lies in 0.05 to 0.15"):
        FrequencyNoise().parts(subject())
    assert FrequencyNoise(width=0.167).parts(subject())  # what the message says to take
    with pytest.raises(NotApplicableError, match="needs labels"):
        FrequencyNoise(**RINGS).parts(subject(images=Images(labelled=False)))
    with pytest.raises(NotApplicableError, match="needs the size and normalisation of its images"):
        FrequencyNoise(**RINGS).parts(subject(input=None))
    with pytest.raises(DataError, match="needs at least one image"):
        FrequencyNoise().images(0)


def test_a_logit_that_is_not_finite_is_an_error():
    with pytest.raises(DataError, match="a logit of image 0 is not finite"):
        measured(FrequencyNoise(**RINGS), subject(broken=True))
