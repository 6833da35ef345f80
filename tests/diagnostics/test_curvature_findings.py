"""What the diagnostics of curvature say: sentences, comparisons and limits, on invented rows."""

import dataclasses
import math
from typing import Any

import pyarrow as pa
import pytest
from scipy import stats

from report import curvature
from report.curvature import Change, answers_for, between, numbers, of_models, told
from report.telling import answers_of
from visionscope.diagnostics.density.question import Density
from visionscope.diagnostics.hessian.results import LEAST_MINI_BATCHES, ends_of
from visionscope.report.summary import main_findings

VIT, RESNET = curvature.vit_and_resnet()
LARGER = "The positive eigenvalues of resnet_nano are larger than those of vit_nano."
MORE = "More of the eigenvalues of vit_nano are negative than of those of resnet_nano."
FLATTER = "The loss around vit_nano is flatter than around resnet_nano."
UNTOLD = "It is unclear whether the loss is flatter around vit_nano or resnet_nano: "
LONGEST = 25  # words of a headline


def test_nep_and_ape_in_the_sentence_are_those_of_its_rows() -> None:
    (one,) = of_models(answers_for(VIT)["hessian"])
    place = one.columns.index("eigenvalue")
    values = [row[place] for row in one.rows]
    assert len(values) == 80
    share = sum(value < 0 for value in values) / 80
    mean = sum(value for value in values if value > 0) / sum(value > 0 for value in values)
    said = numbers(one.headline)
    assert said == pytest.approx([100 * share, 80, mean], rel=5e-3)
    assert "95 % interval" in one.detail


def test_what_did_not_converge_is_counted_and_marked_in_the_rows() -> None:
    answer = answers_for(VIT, RESNET)["hessian"]
    one = next(one for one in of_models(answer) if one.model == "resnet_nano")
    assert [row[one.columns.index("converged")] for row in one.rows].count(False) == 3
    assert "of the 77 Hessian eigenvalues" in one.headline
    assert answer.limits[-1] == (
        "3 of 160 eigenvalues did not converge (3 of resnet_nano): they are marked in the rows and counted nowhere."
    )
    (single,) = [
        text
        for text in answers_for(dataclasses.replace(VIT, unconverged=1))["hessian"].limits
        if "did not converge" in text
    ]
    assert single.endswith("did not converge (1 of vit_nano): it is marked in the rows and counted nowhere.")
    assert not any("converge" in text for text in answers_for(VIT)["hessian"].limits)


def test_a_spectrum_without_any_number_says_so() -> None:
    (one,) = of_models(answers_for(VIT, hessian=lambda row: {"converged": False, "eigenvalue": None})["hessian"])
    assert one.headline == "In vit_nano, no eigenvalue converged."


def test_models_are_told_apart_only_where_intervals_are() -> None:
    found = answers_for(VIT, RESNET)
    assert [one.headline for one in between(found["hessian"])] == [LARGER, MORE]
    assert [one.headline for one in between(found["landscape"])] == [FLATTER]
    other = answers_for(dataclasses.replace(VIT, label="resnet_nano"), dataclasses.replace(RESNET, label="vit_nano"))
    assert "of vit_nano are larger than those of resnet_nano" in between(other["hessian"])[0].headline
    assert "of resnet_nano are negative than of those of vit_nano" in between(other["hessian"])[1].headline
    assert between(other["landscape"])[0].headline == "The loss around resnet_nano is flatter than around vit_nano."


def test_comparisons_hold_the_numbers_of_the_summary_and_of_the_sentence() -> None:
    found = answers_for(VIT, RESNET)
    numbers_of = {row["model"]: row for row in found["hessian"].tables["summary"].to_pylist()}
    for row, one, name in zip(
        found["hessian"].tables["comparisons"].to_pylist(),
        between(found["hessian"]),
        ("positive_mean", "negative_share"),
        strict=True,
    ):
        for prefix, side in (("", "model"), ("other_", "other")):
            for end, column in (("value", ""), ("low", "_low"), ("high", "_high")):
                assert row[f"{prefix}{end}"] == numbers_of[row[side]][f"{name}{column}"]
        assert row["apart"]
        assert row["low"] > row["other_high"]
        assert told(one) == {key: row[key] for key in one.columns}
    share = found["hessian"].tables["comparisons"].to_pylist()[1]
    assert numbers(between(found["hessian"])[1].detail)[0] == pytest.approx(100 * share["value"], rel=5e-3)


def test_alike_models_are_not_told_apart() -> None:
    twin = dataclasses.replace(VIT, label="twin")
    found = answers_for(VIT, twin)
    said = [*between(found["hessian"]), *between(found["landscape"])]
    assert len(said) == 3
    assert {one.verdict for one in said} == {"unclear"}
    assert all(one.headline.startswith("No significant difference between ") for one in between(found["hessian"]))
    assert all(one.headline.startswith("It is unclear whether ") for one in between(found["landscape"]))
    assert {one.strength for one in said} == {0.0}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"augmentation": "none"}, "they differ in augmentation"),
        ({"mini_batches": 4}, f"4 mini-batches are too few (at least {LEAST_MINI_BATCHES})"),
        ({"unconverged": 12}, "12 eigenvalues of resnet_nano did not converge"),
    ],
)
def test_nothing_is_claimed_of_numbers_that_do_not_compare(changed: dict[str, Any], reason: str) -> None:
    answer = answers_for(VIT, dataclasses.replace(RESNET, **changed))["hessian"]
    assert len(between(answer)) == 2
    for one, row in zip(between(answer), answer.tables["comparisons"].to_pylist(), strict=True):
        assert one.headline.endswith(f": {reason}.")
        assert " are not compared in the " in one.headline
        assert one.value is None
        assert (row["note"], row["apart"]) == (reason, False)


def test_unequal_label_smoothing_does_not_compare() -> None:
    def smoothed(row: dict[str, Any]) -> dict[str, Any]:
        return {"label_smoothing": 0.1 * (row["model"] == "vit_nano")}

    found = answers_for(VIT, RESNET, points=5, hessian=smoothed, landscape=smoothed)
    for one in [*between(found["hessian"]), *between(found["landscape"])]:
        assert one.headline.endswith(": they differ in label smoothing.")
    for name in ("hessian", "landscape"):
        assert set(found[name].tables["comparisons"]["note"].to_pylist()) == {"they differ in label smoothing"}


def test_extremes_of_many_need_more_to_be_told_apart() -> None:
    row = {"x": 1.0, "x_low": 0.5, "x_high": 2.0, "mini_batches": 16}
    assert ends_of(row, "x") == (0.5, 2.0)
    low, high = ends_of(row, "x", 12) or (0.0, 0.0)
    z = stats.norm.ppf(1 - 0.025 / 66) / math.sqrt(2) / stats.norm.ppf(0.975)
    assert (low, high) == pytest.approx((1 - 0.5 * z, 1 + z))
    assert ends_of({**row, "x_low": None}, "x") is None
    blocks = tuple(("block", f"blocks.{index}") for index in range(12))
    answer = answers_for(dataclasses.replace(VIT, levels=blocks))["hessian"]
    (one,) = answer.findings
    assert one.headline == (
        "In vit_nano, by block, no block has significantly larger positive eigenvalues than another."
    )
    assert len(one.rows) == 12
    (compared,) = answer.tables["comparisons"].to_pylist()
    assert (compared["chosen_of"], compared["other"], compared["apart"]) == (12, "", False)
    assert "intervals are widened, as these are the extremes of 12" in one.detail


def test_a_part_that_stands_out_is_named() -> None:
    levels = (("kind", "msa"), ("kind", "mlp"))
    answer = answers_for(
        dataclasses.replace(VIT, levels=levels),
        hessian=lambda row: {"eigenvalue": row["eigenvalue"] * (10 if row["scope"] == "mlp" else 1)},
    )["hessian"]
    (one,) = answer.findings
    assert "by kind, the positive eigenvalues are largest in mlp (" in one.headline
    assert "and smallest in msa (" in one.headline
    (row,) = answer.tables["comparisons"].to_pylist()
    assert (row["level"], row["scope"], row["other_scope"]) == ("kind", "mlp", "msa")
    assert numbers(one.headline) == pytest.approx([row["value"], row["other_value"]], rel=5e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: {}, "the positive eigenvalues of msa average "),
        (lambda row: {"eigenvalue": -abs(row["eigenvalue"])}, "no kind has a positive eigenvalue."),
    ],
)
def test_a_single_part_is_compared_with_none(change: Change, said: str) -> None:
    answer = answers_for(dataclasses.replace(VIT, levels=(("kind", "msa"),)), hessian=change)["hessian"]
    (one,) = answer.findings
    assert said in one.headline
    assert "comparisons" not in answer.tables


def test_parts_that_too_much_is_missing_of_are_not_told_apart() -> None:
    levels = (("kind", "msa"), ("kind", "mlp"))
    answer = answers_for(dataclasses.replace(VIT, levels=levels, mini_batches=4))["hessian"]
    (one,) = answer.findings
    assert "significantly larger positive eigenvalues than another" in one.headline
    assert one.detail.endswith("They don't compare: 4 mini-batches are too few (at least 8).")


def test_the_trace_has_its_error_and_disagreement_is_said() -> None:
    answer = answers_for(VIT, points=5)["density"]
    (one,) = answer.findings
    known = {row["quantity"]: row for row in answer.tables["summary"].to_pylist()}
    row = known["trace"]
    assert numbers(one.headline)[:2] == pytest.approx([row["value"], row["standard_error"]], rel=2e-2)
    mean = known["mean eigenvalue"]
    assert mean["value"] == pytest.approx(row["value"] / row["parameters"])
    assert numbers(one.detail)[0] == pytest.approx(mean["value"], rel=5e-3)
    apart = known["trace less the trace from the density's probes"]
    again = known["trace from the density's probes"]
    assert apart["value"] == pytest.approx(row["value"] - again["value"])
    assert apart["standard_error"] == pytest.approx(math.hypot(row["standard_error"], again["standard_error"]))
    assert "disagree on the trace" in one.detail
    agreed = [
        {**other, "value": 3.9 * other["standard_error"]} if other is apart else other for other in known.values()
    ]
    summary = pa.Table.from_pylist(agreed, answer.tables["summary"].schema)
    (same,) = Density().findings({"rows": answer.tables["rows"], "summary": summary})
    assert "disagree" not in same.detail


def test_a_trace_without_a_density_and_a_density_without_a_trace_are_told() -> None:
    tables = curvature.tables([VIT], points=5)
    for kept, word in (({"sketch", "residual"}, "trace"), ({"ritz"}, "% of the spectrum is negative")):
        rows = [row for row in tables["density"].to_pylist() if row["quantity"] in kept]
        (answer,) = answers_of({"density": pa.Table.from_pylist(rows, tables["density"].schema)})
        (one,) = answer.findings
        assert word in one.headline
        assert " and " not in one.headline


def test_clear_differences_come_first_and_each_model_is_heard() -> None:
    main = main_findings(list(answers_for(VIT, RESNET).values()))
    assert LARGER in [one.headline for one in main]
    assert {name for one in main for name in (one.model, *one.models) if name} == {"vit_nano", "resnet_nano"}
    assert {one.diagnostic for one in main} == {"hessian", "landscape"}


def test_random_weights_are_named_in_every_sentence() -> None:
    found = answers_for(VIT, dataclasses.replace(RESNET, weights="random, seed 0"))
    for name in ("hessian", "density", "landscape"):
        assert all("resnet_nano (random weights)" in one.headline for one in between(found[name]))
        assert any("resnet_nano (random weights)," in one.headline for one in of_models(found[name]))
        assert all("random" not in one.brief for one in of_models(found[name]))


@pytest.mark.parametrize(
    "changed",
    [{}, {"mini_batches": 4, "draws": 0}, {"unconverged": 12, "steep": 0.5}, {"augmentation": "none"}],
)
def test_headlines_are_short(changed: dict[str, Any]) -> None:
    levels = (("model", "model"), ("block", "blocks.0"), ("block", "blocks.1"))
    models = [dataclasses.replace(one, levels=levels, weights="random, seed 0") for one in (VIT, RESNET)]
    found = answers_for(models[0], dataclasses.replace(models[1], **changed))
    long = {
        one.headline
        for answer in found.values()
        for one in answer.findings
        if len(one.headline.replace(" (random weights)", "").split()) > LONGEST
    }
    assert long == set()


def test_limits_are_those_of_each_diagnostic() -> None:
    found = answers_for(VIT, points=5)
    said = " ".join(found["hessian"].limits)
    assert "depend on how a network is parametrized" in said
    assert "mini-batches of 16" in said
    assert "L2 is a plain bowl" in " ".join(found["landscape"].limits)
    alone = " ".join(found["density"].limits)
    assert "plain bowl" not in alone
    assert "the density knows" in alone.lower()
