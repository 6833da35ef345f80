import dataclasses
import math

import pytest
import torch

from reference import noise as twin
from reference.perturbed import INPUT, SIZE, Images, measured, outcome, subject
from visionscope.core.table import LEADING, to_table, with_leading_of
from visionscope.diagnostics.fourier_heatmap.measure import norm_of, vectors_of
from visionscope.diagnostics.fourier_heatmap.question import FourierHeatmap, FourierHeatmapRow
from visionscope.errors import ConfigError, DataError, NotApplicableError
from visionscope.numerics.noise import unit_noise


def normalised(pixels):
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (INPUT.mean, INPUT.std))
    return (pixels - mean) / std


def test_rows_are_those_of_cosines_added_to_pixels_and_clipped():
    given = subject()
    clean, *vectors = measured(FourierHeatmap(half_size=4, step=2, norm=3.0), given)
    sample = given.samples["eval"]
    assert (clean.right, pytest.approx(clean.nll, abs=1e-12)) == outcome(given, sample.images)
    assert (clean.row_frequency, clean.norm) == (None, 0.0)
    signs = unit_noise("sign", 0, range(len(sample)), (3, 1, 1)).double()
    assert len(vectors) == (25 + 1) / 2
    for row in vectors:
        vector = 3.0 * torch.from_numpy(twin.vector(SIZE, row.row_frequency, row.column_frequency))
        changed = (sample.pixels + signs * vector).clamp(0, 1)
        assert (row.right, pytest.approx(row.nll, abs=1e-9)) == outcome(given, normalised(changed))


def test_what_the_network_sees_are_pixels_of_an_image():
    given = subject()
    measured(FourierHeatmap(half_size=1, step=1, norm=50.0), given)
    mean, std = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in (INPUT.mean, INPUT.std))
    pixels = torch.cat(given.model.seen) * std + mean
    assert -1e-12 <= float(pixels.min()) < 1e-12
    assert 1 - 1e-12 < float(pixels.max()) <= 1 + 1e-12


@pytest.mark.parametrize(("size", "norm"), [((32, 32), 4.0), ((224, 224), 15.7), ((64, 16), 4.0)])
def test_the_usual_norm_is_the_papers(size, norm):
    given = subject(input=dataclasses.replace(INPUT, size=size))
    assert norm_of(FourierHeatmap(), given.input.size) == pytest.approx(norm)


@pytest.mark.parametrize(
    ("size", "count"),
    [((32, 32), (16 * 16 + 4) / 2), ((31, 31), (15 * 15 + 1) / 2), ((4, 7), ((2 * 3) + 2) / 2)],
)
def test_a_pair_of_frequencies_is_measured_once(size, count):
    # -16 and 16 of 32 pixels are the same frequency; 4 pixels have -2 and 0, 7 have -2, 0 and 2
    assert len(vectors_of(FourierHeatmap(), size)) == count


def test_the_map_is_the_whole_plane_with_zero_in_the_centre():
    rows = measured(FourierHeatmap(half_size=2, step=1), subject())
    told = [dataclasses.replace(rows[0], right="f" * 10)]
    for place, row in enumerate(rows[1:]):
        told.append(dataclasses.replace(row, right=f"{place:010x}"))
    first = {**dict.fromkeys(LEADING, "?"), "model": "m"}
    table = with_leading_of(to_table(FourierHeatmapRow, told), [first] * len(told))
    (panel,) = FourierHeatmap().figure(table).panels
    values = panel.heat.values
    assert (len(values), len(values[0])) == (5, 5)
    assert values == tuple(tuple(reversed(line)) for line in reversed(values))
    errors = {(row.row_frequency, row.column_frequency): row.right for row in told[1:]}
    assert values[2][2] == 100 * (1 - int(errors[(0, 0)], 16).bit_count() / 40)
    assert values[1][4] == 100 * (1 - int(errors[(-1, 2)], 16).bit_count() / 40)
    assert (panel.heat.names_y[0], panel.heat.names_x[-1]) == ("vertical -2", "horizontal 2")
    assert "0.0 without noise" in panel.title


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"norm": math.nan}, r"fourier_heatmap\.norm: must be a number above 0 and at most 1000000; got nan"),
        ({"half_size": 0}, r"fourier_heatmap\.half_size: must be an integer from 1 to 16384; got 0"),
        ({"step": 0}, r"fourier_heatmap\.step: must be an integer from 1 to 16384; got 0"),
        ({"seed": 2**64}, r"fourier_heatmap\.seed: must be an integer from 0 to 4294967295; got 18446744073709551616"),
    ],
)
def test_wrong_values_are_refused_in_a_line(fields, said):
    with pytest.raises(ConfigError, match=said):
        FourierHeatmap(**fields)


def test_what_can_not_be_asked_is_said_before_anything_is_computed():
    with pytest.raises(NotApplicableError, match="needs the size and normalisation of its images"):
        FourierHeatmap().parts(subject(input=None))
    with pytest.raises(NotApplicableError, match="needs labels"):
        FourierHeatmap().parts(subject(images=Images(labelled=False)))
    with pytest.raises(DataError, match="needs at least one image"):
        FourierHeatmap().images(0)
