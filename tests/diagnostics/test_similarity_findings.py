"""What is said of similarities, and the table that it is read from."""

from statistics import fmean
from typing import Any

import pyarrow as pa
import pytest
from scipy import stats

from report import samples
from report.telling import answer_of
from visionscope.core.diagnostic import Answer
from visionscope.core.finding import UNKNOWN, Finding, number
from visionscope.diagnostics.similarity.question import Similarity


def asked(*models: samples.Invented, **changed: Any) -> Answer:
    """The answer on invented models, with some columns of all rows changed."""
    table = samples.tables(models)["similarity"]
    rows = [{**row, **{key: make(row) for key, make in changed.items()}} for row in table.to_pylist()]
    return answer_of(Similarity(), pa.Table.from_pylist(rows, table.schema))


def told(answer: Answer) -> Finding:
    (one,) = answer.findings
    return one


def test_stages_alike_and_the_opposite() -> None:
    answer = asked(samples.resnet())
    opposite = told(asked(samples.resnet(), cka=lambda row: 1.0 - row["cka"]))
    unclear = told(asked(samples.resnet(), standard_error=lambda row: 0.9))
    usual = told(answer)
    assert usual.headline.startswith(
        "In resnet_nano, points of the same stage are more alike than points of different stages: mean CKA 0."
    )
    assert "are less alike than points of different stages" in opposite.headline
    assert "points of the same stage are not clearly more alike than others" in unclear.headline
    assert [one.verdict for one in (usual, opposite, unclear)] == [*["stages differ"] * 2, "stages don't differ"]
    assert [one.strength > 0 for one in (usual, opposite, unclear)] == [True, True, False]
    assert len(usual.rows) == 17 * 16 // 2
    within = [row for row in usual.rows if row[2] == row[3]]
    counts = f"over {len(within)} pairs of points of one stage and {len(usual.rows) - len(within)} of different ones."
    assert usual.detail.endswith(counts)


def test_the_sentence_has_the_numbers_of_the_table() -> None:
    answer = asked(samples.resnet())
    (row,) = answer.tables["comparisons"].to_pylist()
    one = told(answer)
    known = [dict(zip(one.columns, values, strict=True)) for values in one.rows]
    same = [pair["cka"] for pair in known if pair["stage_x"] == pair["stage_y"]]
    other = [pair["cka"] for pair in known if pair["stage_x"] != pair["stage_y"]]
    assert (row["same_pairs"], row["other_pairs"], row["pairs"]) == (len(same), len(other), len(known))
    assert (row["same_stage"], row["other_stage"]) == (fmean(same), fmean(other))
    assert row["difference"] == pytest.approx(fmean(same) - fmean(other))
    # Each pair's standard error is 0.01: the errors of the two means add up to 0.02 at most.
    reach = stats.t.ppf(0.975, 7) * 0.02
    assert (row["low"], row["high"]) == pytest.approx((row["difference"] - reach, row["difference"] + reach))
    assert f"mean CKA {number(fmean(same))} against {number(fmean(other))}." in one.headline
    ends = f"95 % interval {number(row['low'])} to {number(row['high'])}"
    assert one.detail.startswith(f"Difference {number(row['difference'])} ({ends}), over")


def test_without_intervals_no_claim_is_made() -> None:
    one = told(asked(samples.resnet(), standard_error=lambda row: None, groups=lambda row: 3))
    assert one.verdict == UNKNOWN
    assert one.headline == (
        "In resnet_nano, 3 groups of 32 images are too few to say whether points of the same stage are more alike than "
        "others."
    )
    assert one.detail.startswith("Mean CKA 0.")
    assert one.detail.endswith("Use at least 128 images.")
    assert "no clear" not in one.text
    one = told(asked(samples.resnet(), standard_error=lambda row: None))
    assert one.headline.endswith("no standard error says whether points of the same stage are more alike than others.")
    assert "Use at least" not in one.detail


def test_one_stage_is_said_to_be_one() -> None:
    answer = asked(samples.vit())
    one = told(answer)
    assert one.headline.startswith("In vit_nano, there is one stage, so no pattern of stages to see")
    assert one.headline.endswith("over 300 pairs of points.")
    assert len(one.rows) == 300
    (row,) = answer.tables["comparisons"].to_pylist()
    assert (row["note"], row["difference"], row["pairs"]) == ("one stage", None, 300)


def test_one_point_in_each_stage_is_not_called_one_stage() -> None:
    answer = asked(samples.resnet(blocks=(1, 1, 1, 1)))
    assert told(answer).headline.startswith("In resnet_nano, there is one point in each stage")
    assert "have CKA" in told(answer).detail
    (row,) = answer.tables["comparisons"].to_pylist()
    assert (row["same_stage"], row["same_pairs"], row["difference"]) == (None, 0, None)


@pytest.mark.parametrize("model", [samples.vit(), samples.resnet(), samples.resnet(blocks=(1, 1, 1, 1))])
def test_points_that_don_t_vary_are_left_out(model: samples.Invented) -> None:
    without = asked(model, cka=lambda row: None if "stem" in (row["point_x"], row["point_y"]) else row["cka"])
    points = len(model.kinds) - 1
    assert len(told(without).rows) == points * (points - 1) // 2
    assert without.tables["comparisons"]["pairs"].to_pylist() == [points * (points - 1) // 2]
    none = asked(model, cka=lambda row: None)
    assert none.findings == ()
    assert "comparisons" not in none.tables


@pytest.mark.parametrize("error", [0.001, 0.9, None])
@pytest.mark.parametrize("model", [samples.vit, samples.resnet])
def test_a_headline_has_25_words(model: Any, error: float | None) -> None:
    one = told(asked(model(weights="random, seed 0"), standard_error=lambda row: error, groups=lambda row: 3))
    assert one.headline.startswith(f"In {model().label} (random weights), ")
    assert len(one.headline.split()) <= 25
    assert model().label not in one.brief


def test_between_models_the_points_most_alike_are_told() -> None:
    first, second = samples.vit(), samples.resnet(weights="random, seed 0")
    rows = samples.tables([first, second])["similarity"]
    answer = answer_of(Similarity(), rows, samples.between_table(first, second))
    (one,) = [one for one in answer.findings if not one.model]
    assert one.headline == (
        "Between vit_nano and resnet_nano (random weights), the points most alike are stem and stem (CKA 0.800)."
    )
    assert one.detail == "Its standard error is 0.020, a jackknife over groups of images."
    assert len(one.rows) == 25 * 17
    assert [figure.name for figure in answer.figures] == ["similarity", "similarity_between"]


def test_between_models_that_share_no_group_of_images_nothing_is_said() -> None:
    first, second = samples.vit(), samples.resnet()
    table = samples.between_table(first, second)
    none = pa.Table.from_pylist([{**row, "cka": None} for row in table.to_pylist()], table.schema)
    answer = answer_of(Similarity(), samples.tables([first, second])["similarity"], none)
    assert [one.model for one in answer.findings] == ["vit_nano", "resnet_nano"]


def test_limits_warn_of_absolute_values_and_of_depth() -> None:
    said = asked(samples.vit()).limits
    assert any(text.startswith("Compare changes inside one network.") for text in said)
    assert any("CKA does not say which of two representations is the better one" in text for text in said)
