"""What landscapes say: how far the loss stays low, and which network lies flatter, on invented rows."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import pytest
from scipy import stats

from report import curvature
from report.curvature import Curved, answers_for, between, numbers, of_models, told
from visionscope.diagnostics.landscape.question import Landscape

VIT, RESNET = curvature.vit_and_resnet()
LARGER = "The positive eigenvalues of resnet_nano are larger than those of vit_nano."
MORE = "More of the eigenvalues of vit_nano are negative than of those of resnet_nano."
FLATTER = "The loss around vit_nano is flatter than around resnet_nano."
UNTOLD = "It is unclear whether the loss is flatter around vit_nano or resnet_nano: "
LONGEST = 25  # words of a headline


def welch(row: Mapping[str, Any], confidence: float) -> tuple[float, float]:
    """The interval of a difference of two means by hand, with whole degrees of freedom."""
    errors = [row[f"{side}deviation"] ** 2 / row[f"{side}directions"] for side in ("", "other_")]
    degrees = [row[f"{side}directions"] - 1 for side in ("", "other_")]
    whole = int(sum(errors) ** 2 / sum(error**2 / free for error, free in zip(errors, degrees, strict=True)))
    reach = stats.t.ppf((1 + confidence) / 2, whole) * math.sqrt(sum(errors))
    difference = row["value"] - row["other_value"]
    return difference - reach, difference + reach


def test_sharpness_is_compared_by_welchs_interval() -> None:
    found = answers_for(VIT, RESNET)["landscape"]
    (row,) = found.tables["comparisons"].to_pylist()
    sharp = {
        one["model"]: one
        for one in found.tables["summary"].to_pylist()
        if one["quantity"] == "sharpness: rise at step 0.5"
    }
    sides = [sharp["vit_nano"], sharp["resnet_nano"]]
    assert (row["model"], row["other"]) == ("vit_nano", "resnet_nano")
    for key in ("value", "deviation", "directions"):
        assert (row[key], row[f"other_{key}"]) == tuple(side[key] for side in sides)
    assert row["difference"] == pytest.approx(sides[0]["value"] - sides[1]["value"])
    assert (row["low"], row["high"]) == pytest.approx(welch(row, 0.95))
    (one,) = between(found)
    assert told(one) == {key: row[key] for key in one.columns}
    assert numbers(one.detail)[-3:] == pytest.approx([95, row["low"], row["high"]], rel=5e-3)


def test_the_landscapes_sentence_tells_radius_and_sharpness_and_its_limits_the_holes() -> None:
    answer = answers_for(VIT)["landscape"]
    (one,) = answer.findings
    table = answer.tables["rows"]
    rows = {row["quantity"]: row for row in answer.tables["summary"].to_pylist()}
    radius, sharp = rows["radius at a rise of 1 nat"], rows["sharpness: rise at step 0.5"]
    assert numbers(one.headline)[1] == pytest.approx(radius["value"], rel=1e-2)
    assert numbers(one.detail)[:2] == pytest.approx([radius["directions"], radius["deviation"]], rel=5e-2)
    sharpness = numbers(one.detail[one.detail.index("At step") :])
    assert sharpness[1] == pytest.approx(sharp["value"], rel=1e-2)
    infinite = sum(not math.isfinite(row["nll"]) for row in table.to_pylist())
    assert infinite > 0
    assert f"infinite or not a number ({infinite} of {table.num_rows} around vit_nano) are holes" in answer.limits[-1]
    whole = answers_for(dataclasses.replace(VIT, hole=9.0))["landscape"]
    assert not any("holes" in text for text in whole.limits)
    share = re.search(r"L2 makes (\S+) % of the rise", one.detail)
    assert share is not None
    # By hand: the rises at the finite places of the border; the centre is at NLL 1.5 and L2 0.4.
    grid = [row for row in table.to_pylist() if not row["draw"] and math.isfinite(row["nll"])]
    border = [row for row in grid if max(abs(row["x"]), abs(row["y"])) == 1]
    nll, l2 = (sum(row[key] - centre for row in border) for key, centre in (("nll", 1.5), ("l2", 0.4)))
    assert float(share.group(1)) == pytest.approx(100 * l2 / (nll + l2), rel=0.03)
    assert rows["share of L2 in the rise to the border"]["value"] == pytest.approx(l2 / (nll + l2))


def test_a_radius_within_the_first_step_is_called_coarse() -> None:
    (one,) = answers_for(dataclasses.replace(VIT, steep=200.0))["landscape"].findings
    assert "That is within the first step along" in one.detail
    assert "within the first step" not in answers_for(VIT)["landscape"].findings[0].text


def test_a_rise_that_is_not_reached_says_where_it_is() -> None:
    (one,) = answers_for(dataclasses.replace(VIT, steep=0.9, spread=0.5))["landscape"].findings
    assert "a rise of 1 nat is not reached along" in one.headline
    assert "Where it is reached, the nearest is at step" in one.detail


def test_a_wide_spread_over_directions_forbids_a_claim() -> None:
    wide = [dataclasses.replace(model, spread=2.5, steep=2.0 + place) for place, model in enumerate((VIT, RESNET))]
    (one,) = between(answers_for(*wide)["landscape"])
    assert one.headline == f"{UNTOLD}the spread over directions is too large."
    assert "95 % interval" in one.detail


def test_a_single_direction_has_no_spread_to_compare_by() -> None:
    alone = [dataclasses.replace(model, draws=0) for model in (VIT, RESNET)]
    answer = answers_for(*alone, landscape=lambda row: {"x": row["x"] + 100 * (row["y"] != 0)})["landscape"]
    (one,) = between(answer)
    assert one.headline == f"{UNTOLD}one direction has no spread (ask for draws)."


def test_a_loss_that_is_infinite_along_a_direction_forbids_a_claim() -> None:
    def infinite(row: dict[str, Any]) -> dict[str, Any]:
        here = row["model"] == "vit_nano" and row["draw"] == 1 and row["x"] > 0.3
        return {"nll": math.inf if here else row["nll"]}

    answer = answers_for(VIT, RESNET, landscape=infinite)["landscape"]
    note = "beyond the line or not finite along 1 of 7"
    (one,) = between(answer)
    # With the reason the headline would be of more than 25 words.
    assert one.headline == f"{UNTOLD.removesuffix(': ')}."
    assert one.detail == f"Around vit_nano the loss is {note}."
    assert f"unknown: {note}" in of_models(answer)[0].text
    (row,) = answer.tables["comparisons"].to_pylist()
    assert (row["difference"], row["low"], row["note"]) == (None, None, f"around vit_nano the loss is {note}")


@pytest.mark.parametrize(
    ("way", "headline"), [("none", FLATTER), ("reestimated", f"{UNTOLD}they differ in batch norm.")]
)
def test_a_network_without_batch_norm_compares_with_one_that_keeps_its_statistics(way: str, headline: str) -> None:
    answer = answers_for(
        VIT, RESNET, landscape=lambda row: {"batch_norm": way if row["model"] == "vit_nano" else "kept"}
    )["landscape"]
    (one,) = between(answer)
    assert one.headline == headline


def test_planes_that_were_not_drawn_make_no_claim() -> None:
    drawn = {"plane": "eigenvectors", "normalization": "curvature"}
    answer = answers_for(VIT, RESNET, landscape=lambda row: drawn)["landscape"]
    (one,) = between(answer)
    assert one.headline.endswith("directions of the plane of eigenvectors are no random draws.")
    assert all("normalized directions" not in one.headline for one in of_models(answer))


def test_landscapes_asked_at_different_steps_are_compared_at_one() -> None:
    """Sentences on each model keep the steps that it was asked at; what compares two takes the first's for both."""
    table = curvature.tables((VIT, RESNET), points=11)["landscape"]
    (row,) = Landscape(radius=0.25).comparisons(table).to_pylist()
    assert row["number"] == "sharpness: rise at step 0.25"
    assert row["value"] < row["other_value"]


def test_of_many_models_the_extremes_are_compared() -> None:
    models = [Curved(label=f"net_{index}", size=10.0 * 3**index, steep=1.0 * 3**index) for index in range(5)]
    found = answers_for(*models)
    assert len(between(found["hessian"])) == 2
    assert between(found["hessian"])[0].headline == (
        "The positive eigenvalues of net_4 are larger than those of net_0."
    )
    assert [one.headline for one in between(found["landscape"])] == [
        "The loss around net_0 is flatter than around net_4."
    ]
    assert "widened as these are the extremes of 5" in between(found["landscape"])[0].detail
    (row,) = found["landscape"].tables["comparisons"].to_pylist()
    # Ten pairs of five.
    assert (row["low"], row["high"]) == pytest.approx(welch(row, 1 - 0.05 / 10))
    for name in ("hessian", "landscape"):
        assert set(found[name].tables["comparisons"]["chosen_of"].to_pylist()) == {5}
