"""Token similarity rows: values and paired changes against slow twins, notes, what is said, and the figure."""

import math
import statistics

import numpy as np
import pytest
import torch

from reference import tokens as twin
from reference.observing import feed, make_maps, make_points, table_of
from report.telling import answer_of
from visionscope.core.table import LEADING
from visionscope.diagnostics.token_similarity.question import TokenSimilarity

POINTS = make_points(
    [(4, 4), (4, 4), (4, 4), (2, 3), (1, 1)],
    stages=[0, 1, 1, 2, 3],
    kinds=["stem", "msa", "mlp", "down", "mlp"],
    channels=5,
)
IMAGES = 7


@pytest.fixture(scope="module")
def maps():
    made = make_maps(POINTS, IMAGES)
    made[1] = made[0] + made[0].mean((2, 3), keepdim=True)  # what attention that looks everywhere alike adds
    made[2] = made[1] + 0.5 * made[2]
    return made


@pytest.fixture(scope="module")
def rows(maps):
    return list(feed(TokenSimilarity().observer(POINTS), POINTS, maps, np.arange(IMAGES), 3).rows())


def test_values_and_errors_are_those_of_the_twin(maps, rows):
    for row, own in zip(rows[:4], maps, strict=False):
        by_image = np.array([twin.likeness(image) for image in own.tolist()])
        for place, name in enumerate(("cosine", "mean_share", "effective_rank")):
            assert getattr(row, name) == pytest.approx(by_image[:, place].mean(), abs=1e-9)
            expected = statistics.stdev(by_image[:, place]) / IMAGES**0.5
            assert getattr(row, f"{name}_error") == pytest.approx(expected, abs=1e-7)
        assert row.images == IMAGES
    assert [row.rank_limit for row in rows] == [5, 5, 5, 5, 1]


def test_changes_are_paired_and_stay_within_grid_and_channels(maps, rows):
    before, after = (np.array([twin.likeness(image) for image in own.tolist()]) for own in maps[:2])
    difference = after - before
    assert rows[1].change == pytest.approx(difference[:, 0].mean(), abs=1e-10)
    assert rows[1].change_error == pytest.approx(difference[:, 0].std(ddof=1) / IMAGES**0.5, abs=1e-8)
    assert rows[1].mean_share_change == pytest.approx(difference[:, 1].mean(), abs=1e-10)
    assert rows[1].effective_rank_change == pytest.approx(difference[:, 2].mean(), abs=1e-9)
    assert rows[1].change > 0 > rows[1].effective_rank_change
    assert [row.change is None for row in rows] == [True, False, False, True, True]
    assert rows[3].change_note == "another grid than p2: 2x3, not 4x4"


def test_a_single_position_has_a_note_instead(rows):
    assert (rows[4].cosine, rows[4].note) == (None, "a single position has nothing to be like")
    assert {row.note for row in rows[:4]} == {""}


def test_float32_stays_near(maps, rows):
    low = [own.float() for own in maps]
    found = list(feed(TokenSimilarity().observer(POINTS), POINTS, low, np.arange(IMAGES), 3).rows())
    for row, expected in zip(found[:4], rows, strict=False):
        for name in ("cosine", "mean_share", "effective_rank"):
            assert getattr(row, name) == pytest.approx(getattr(expected, name), rel=1e-5)


def test_bf16_maps_are_measured_in_float32_under_autocast(maps):
    low = [own.to(torch.bfloat16) for own in maps]
    exact = list(
        feed(TokenSimilarity().observer(POINTS), POINTS, [own.double() for own in low], range(IMAGES), 7).rows()
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = list(feed(TokenSimilarity().observer(POINTS), POINTS, low, range(IMAGES), 7).rows())
    for row, expected in zip(found[:4], exact, strict=False):
        assert row.effective_rank == pytest.approx(expected.effective_rank, rel=1e-5)


def test_what_is_said_has_the_numbers_of_the_table(rows):
    leading = {**dict.fromkeys(LEADING, "?"), "model": "vit", "weights": "trained"}
    answer = answer_of(TokenSimilarity(), table_of(TokenSimilarity(), rows, **leading))
    changes, end = answer.findings
    assert "the token similarity rises at the only self-attention point" in changes.headline
    last = rows[3]
    numbers = f"cosine {last.cosine:.2f} on average, effective rank {last.effective_rank:.2f} of 5"
    assert end.headline == f"In vit, two tokens of the last point have {numbers}."
    assert f"Their mean holds {100 * last.mean_share:.1f} % of the energy." in end.detail
    assert (end.value, end.n) == (last.cosine, IMAGES)
    assert end.low < last.cosine < end.high
    msa = next(row for row in answer.tables["summary"].to_pylist() if row["kind"] == "msa")
    assert msa["median"] == pytest.approx(100 * rows[1].change / rows[0].cosine)
    assert {cell.name for cell in answer.measures} == {"token similarity after msa", "token similarity after mlp"}


def test_figure_draws_three_curves_per_model(rows):
    figure = TokenSimilarity().figure(table_of(TokenSimilarity(), rows, "vit"))
    assert [panel.title for panel in figure.panels] == ["vit", "Energy of the mean token", "Effective rank"]
    cosine, share, rank = (panel.lines[0] for panel in figure.panels)
    assert cosine.y == tuple(row.cosine for row in rows[:4])
    assert share.y == pytest.approx([100 * row.mean_share for row in rows[:4]])
    assert rank.y == tuple(row.effective_rank for row in rows[:4])
    assert not any(map(math.isnan, rank.y))  # the limit is 5 all along
    assert "7 images" in figure.caption
