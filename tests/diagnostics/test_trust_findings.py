"""Sentences on trust, and the tables of comparisons behind them."""

import dataclasses

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from report import outcomes
from report.outcomes import Damaged
from report.telling import answer_of, answers_of
from visionscope.core.diagnostic import Answer
from visionscope.core.finding import (
    AGAINST_THE_PAPER,
    AS_THE_PAPER,
    MODELS_DIFFER,
    NO_CLEAR_CHANGE,
    UNKNOWN,
    Finding,
    interval,
)
from visionscope.core.registry import diagnostic_class
from visionscope.diagnostics.fit.question import Fit
from visionscope.numerics.paired import holm, paired_means, paired_shares

NETS = [Damaged(label="net", clean=80.0), Damaged(label="other", clean=80.0)]


def answer(tables: dict[str, pa.Table]) -> Answer:
    (one,) = answers_of(tables)
    return one


def findings(tables: dict[str, pa.Table]) -> list[Finding]:
    found = list(answer(tables).findings)
    assert all(len(one.headline.split()) <= 25 for one in found), [one.headline for one in found]
    return found


def of_model(found: list[Finding], label: str) -> Finding:
    (one,) = [one for one in found if one.model == label]
    return one


@pytest.mark.parametrize(
    ("confidence", "said"),
    [
        (0.95, "the network is over-confident: confidence exceeds accuracy by 15.0 percentage points."),
        (0.6, "the network is under-confident: confidence falls short of accuracy by 20.0 percentage points."),
        (0.8, "it is unclear whether it is over- or under-confident: confidence exceeds accuracy by"),
    ],
)
def test_over_and_under_confidence(confidence: float, said: str) -> None:
    found = findings(outcomes.calibrations(NETS[:1], confidence=[confidence], scaled=[0.8]))
    assert said in of_model(found, "net").headline


def test_a_temperature_that_helps_is_told_from_one_that_does_not() -> None:
    helped = of_model(findings(outcomes.calibrations(NETS[:1], confidence=[0.97], scaled=[0.8])), "net")
    assert "A temperature of 1.50, fitted on 100 other images, lowers NLL (−0." in helped.detail
    idle = of_model(findings(outcomes.calibrations(NETS[:1], confidence=[0.8], scaled=[0.8])), "net")
    assert "has no significant effect on NLL" in idle.detail
    assert [row[0] for row in helped.rows] == ["none", "temperature"]


def test_calibrations_of_two_networks_are_compared_image_by_image() -> None:
    found = findings(outcomes.calibrations(NETS, confidence=[0.97, 0.8], scaled=[0.8, 0.8]))
    (one,) = [one for one in found if not one.model]
    assert one.verdict == MODELS_DIFFER
    assert one.headline == (
        "net is over-confident by 17.0 percentage points, other by 0.0 (not significant); other has a lower NLL."
    )
    assert one.rows[0][3] == pytest.approx(17.0, abs=0.1)
    (same,) = [
        one for one in findings(outcomes.calibrations(NETS, confidence=[0.8, 0.8], scaled=[0.8, 0.8])) if not one.model
    ]
    assert same.verdict == UNKNOWN


@pytest.mark.parametrize(
    ("confidence", "said"),
    [
        ((0.7, 0.6), "other is under-confident by 20.0 percentage points, net by 10.0"),
        ((0.95, 0.6), "other is under-confident by 20.0 percentage points, net over-confident by 15.0"),
        ((0.95, 0.9), "net is over-confident by 15.0 percentage points, other by 10.0"),
    ],
)
def test_two_networks_are_over_or_under_confident_by_so_much(confidence: tuple[float, float], said: str) -> None:
    found = findings(outcomes.calibrations(NETS, confidence=confidence, scaled=(0.8, 0.8)))
    (one,) = [one for one in found if not one.model]
    assert one.headline.startswith(said)


def test_fit_goes_with_error_or_against_it() -> None:
    better = Damaged(label="better", clean=85.0)
    worse = Damaged(label="worse", clean=60.0)
    (one,) = [one for one in findings(outcomes.fits([better, worse], nll=(1.0, 1.5))) if not one.model]
    assert one.headline == "better fits its training images better than worse, and errs less on test images."
    assert "difference in accuracy 25.0 percentage points (95 % interval" in one.detail
    (over,) = [one for one in findings(outcomes.fits([better, worse], nll=(1.5, 1.0))) if not one.model]
    assert (one.state, over.state) == (AS_THE_PAPER, AGAINST_THE_PAPER)
    assert over.headline == "worse fits its training images better than better, and yet errs more on test images."
    (same,) = [one for one in findings(outcomes.fits([better, worse], nll=(1.0, 1.001))) if not one.model]
    assert same.verdict == UNKNOWN


def test_an_ordering_of_several_networks() -> None:
    nets = [Damaged(label=f"net_{index}", clean=80.0 - 5 * index) for index in range(6)]
    found = findings(outcomes.fits(nets, nll=[1.0 + 0.3 * index for index in range(6)]))
    (one,) = [one for one in found if "Rank correlation" in one.detail]
    assert one.headline == "The smaller NLL_train, the smaller the test error."
    assert one.detail.startswith("Rank correlation 1.0, p = 0.0028, over 6 networks.")
    assert (one.state, one.value, one.n) == (AS_THE_PAPER, pytest.approx(1.0), 6)
    turned = findings(outcomes.fits(nets, nll=[3.0 - 0.3 * index for index in range(6)]))
    (one,) = [one for one in turned if "Rank correlation" in one.detail]
    assert one.state == AGAINST_THE_PAPER


def test_four_networks_in_a_perfect_order_are_no_law() -> None:
    nets = [Damaged(label=f"net_{index}", clean=80.0 - 5 * index) for index in range(4)]
    found = findings(outcomes.fits(nets, nll=[1.0 + 0.3 * index for index in range(4)]))
    (one,) = [one for one in found if "Rank correlation" in one.detail]
    assert one.headline == "It is unclear whether a smaller NLL_train goes with a smaller test error."
    assert one.detail.startswith("Rank correlation 1.0, p = 0.083, over 4 networks.")
    assert one.state == NO_CLEAR_CHANGE


def test_many_pairs_of_test_errors_are_compared_by_holms_rule() -> None:
    """A difference of 8 of 400 images, all one way: clear alone, not as one of 15 comparisons."""
    nets = [Damaged(label="net", clean=80.0), Damaged(label="other", clean=78.0)]
    alone = findings(outcomes.fits(nets, nll=(1.0, 1.5)))
    assert any(one.headline.endswith("and errs less on test images.") for one in alone)
    many = [*nets, *(Damaged(label=f"net_{index}", clean=80.0) for index in range(4))]
    found = findings(outcomes.fits(many, nll=[1.0, 1.5, *(2.0 + index for index in range(4))]))
    (one,) = [one for one in found if one.headline.startswith("net fits its training images better than other")]
    assert "p = 0.12" in one.detail
    assert one.verdict == UNKNOWN


def test_a_fit_of_which_half_is_done_has_no_panels() -> None:
    tables = outcomes.fits(NETS, nll=(1.0, 1.5))
    part = tables["fit"].filter(pc.equal(tables["fit"]["split"], "train"))
    assert outcomes.figure(Fit(), {"fit": part}).panels == ()
    assert findings({"fit": part}) == []


@pytest.mark.parametrize(
    ("shape", "texture", "said", "verdict"),
    [
        (150, 50, "shape decides more often than texture: shape bias 75.0 %.", "described"),
        (50, 150, "texture decides more often than shape: shape bias 25.0 %.", "described"),
        (
            98,
            102,
            "it is unclear whether shape or texture decides more often: shape bias 49.0 %.",
            UNKNOWN,
        ),
        (0, 0, "none of 400 images is decided for its shape or its texture", UNKNOWN),
    ],
)
def test_shape_or_texture(shape: int, texture: int, said: str, verdict: str) -> None:
    found = findings(outcomes.conflicts(NETS[:1], shape=[shape], texture=[texture]))
    one = of_model(found, "net")
    assert said in one.headline
    assert one.verdict == verdict
    counts = f"{shape} of 400 images are decided for their shape, {texture} for their texture, "
    assert f"{counts}{400 - shape - texture} for neither; between the classes of the head." in one.detail


def test_two_networks_by_shape() -> None:
    (one,) = [one for one in findings(outcomes.conflicts(NETS, shape=[150, 60], texture=[50, 140])) if not one.model]
    assert one.headline == "net goes by shape more than other."
    assert one.rows[0][3] == pytest.approx(100 * (100 + 80) / 400)


def rows_of(found: Answer, kind: str = "comparisons") -> list[dict[str, object]]:
    return found.tables[kind].to_pylist()


def test_what_is_said_of_two_calibrations_stands_in_the_table_of_comparisons() -> None:
    tables = outcomes.calibrations(NETS, confidence=[0.97, 0.8], scaled=[0.8, 0.8])
    found = answer(tables)
    cooled, still, *between = rows_of(found)
    per_image = {key: own for key, own in _per_image(found).items() if key[1] == "none"}
    scaled = {key[0]: own for key, own in _per_image(found).items() if key[1] == "temperature"}
    for row in (cooled, still):
        model = row["model"]
        alone = paired_means(scaled[model]["cross_entropy"], per_image[model, "none"]["cross_entropy"])
        assert (row["other"], row["unit"], row["images"]) == ("", "nat", outcomes.IMAGES)
        assert (row["difference"], row["low"], row["high"]) == pytest.approx((alone.value, alone.low, alone.high))
        assert row["p"] == row["p_holm"] == alone.p
    one, other = (per_image[label, "none"] for label in ("net", "other"))
    wanted = [
        paired_means(one["confidence"] - one["right"], other["confidence"] - other["right"]),
        paired_means(one["cross_entropy"], other["cross_entropy"]),
    ]
    for row, difference, factor in zip(between, wanted, (100, 1), strict=True):
        assert (row["model"], row["other"]) == ("net", "other")
        assert row["difference"] == pytest.approx(factor * difference.value)
        assert (row["low"], row["high"]) == pytest.approx((factor * difference.low, factor * difference.high))
    assert [row["p_holm"] for row in between] == list(holm([row["p"] for row in between]))
    (pair,) = [one for one in found.findings if not one.model]
    assert [dict(zip(pair.columns, row, strict=True)) for row in pair.rows] == [
        {key: row[key] for key in pair.columns} for row in between
    ]


def _per_image(found: Answer) -> dict[tuple[str, str], dict[str, object]]:
    """The columns of each model and scaling, as arrays."""
    table = found.tables["outcomes"]
    groups = dict.fromkeys((row["model"], row["scaling"]) for row in table.select(["model", "scaling"]).to_pylist())
    own = {}
    for model, scaling in groups:
        rows = table.filter(pc.and_(pc.equal(table["model"], model), pc.equal(table["scaling"], scaling)))
        own[model, scaling] = {name: rows[name].to_numpy() for name in rows.column_names}
    return own


def test_networks_that_saw_other_images_are_not_compared() -> None:
    nets = [NETS[0], dataclasses.replace(NETS[1], sample="777777777777")]
    for tables in (
        outcomes.calibrations(nets, confidence=[0.97, 0.8], scaled=[0.8, 0.8]),
        outcomes.conflicts(nets, shape=[150, 60], texture=[50, 140]),
    ):
        found = answer(tables)
        (told,) = [one for one in found.findings if not one.model]
        assert told.headline == "net and other are not compared: they saw different images."
        (row,) = [row for row in rows_of(found) if row["other"]]
        assert (row["note"], row["difference"], row["p_holm"]) == ("they saw different images", None, None)
    fits = answer(outcomes.fits(nets, nll=(1.0, 1.5)))
    assert "comparisons" not in fits.tables
    assert [one.model for one in fits.findings] == ["net", "other"]


def test_two_fits_in_the_table_of_comparisons() -> None:
    nets = [Damaged(label="net", clean=80.0), Damaged(label="other", clean=78.0), Damaged(label="third", clean=60.0)]
    found = answer(outcomes.fits(nets, nll=(1.0, 1.5, 1.001)))
    rows = rows_of(found)
    pairs = [("net", "third"), ("net", "other"), ("third", "other")]  # by training loss
    assert [(row["model"], row["other"]) for row in rows] == [pair for pair in pairs for _ in range(2)]
    losses, gains = rows[::2], rows[1::2]
    summed = {row["model"]: row for row in rows_of(found, "summary")}
    for row in losses:
        one, other = (summed[row[key]] for key in ("model", "other"))
        ends = [interval(own["nll_train"], own["nll_train_se"], outcomes.IMAGES // 16 - 1) for own in (one, other)]
        assert row["difference"] == one["nll_train"] - other["nll_train"]
        assert (row["low"], row["high"]) == pytest.approx((ends[0][0] - ends[1][1], ends[0][1] - ends[1][0]))
        assert (row["unit"], row["p"], row["p_holm"]) == ("nat", None, None)
    assert [row["high"] < 0 for row in losses] == [False, True, True]
    right = {net.label: net.right() for net in nets}
    alone = [paired_shares(right[one], right[other]) for one, other in pairs]
    assert [row["difference"] for row in gains] == pytest.approx([100 * one.value for one in alone])
    assert [row["p"] for row in gains] == [one.p for one in alone]
    assert [row["p_holm"] for row in gains] == list(holm([one.p for one in alone]))


def test_an_ordering_is_a_comparison_of_those_that_were_made_alike() -> None:
    nets = [Damaged(label=f"net_{index}", clean=80.0 - 5 * index) for index in range(6)]
    found = answer(outcomes.fits(nets, nll=[1.0 + 0.3 * index for index in range(6)]))
    (row,) = [row for row in rows_of(found) if not row["other"]]
    assert row["number"] == "rank correlation of the test error with NLL_train, over networks"
    assert (row["difference"], row["images"], row["p"]) == (1.0, 6, row["p_holm"])
    assert row["p"] == pytest.approx(2 / 720)
    table = outcomes.fits(nets, nll=[1.0 + 0.3 * index for index in range(6)])["fit"]
    odd = [{**row, "augmentation": "weak"} if row["model"] == "net_5" else row for row in table.to_pylist()]
    apart = answer({"fit": pa.Table.from_pylist(odd, table.schema)})
    (row,) = [row for row in rows_of(apart) if not row["other"]]
    assert row["images"] == 5
    assert not [row for row in rows_of(apart) if "net_5" in (row["model"], row["other"])]


@pytest.mark.parametrize("name", ["calibration", "fit", "shape_bias"])
def test_without_comparisons_each_network_still_has_its_sentence(name: str) -> None:
    tables = {
        "calibration": outcomes.calibrations(NETS, confidence=[0.97, 0.8], scaled=[0.8, 0.8]),
        "fit": outcomes.fits(NETS, nll=(1.0, 1.5)),
        "shape_bias": outcomes.conflicts(NETS, shape=[150, 60], texture=[50, 140]),
    }[name]
    found = answer(tables)
    asked = diagnostic_class(name)()
    left = asked.findings({key: table for key, table in found.tables.items() if key != "comparisons"})
    assert [one.model for one in left] == ["net", "other"]
    assert found.limits
    assert list(asked.limits(found.tables)) == list(found.limits)


@pytest.mark.parametrize("name", ["calibration", "fit", "shape_bias"])
def test_a_network_of_random_weights_is_called_so_in_every_sentence(name: str) -> None:
    nets = [dataclasses.replace(net, weights="random 0") for net in NETS]
    tables = {
        "calibration": outcomes.calibrations(nets, confidence=[0.97, 0.8], scaled=[0.8, 0.8]),
        "fit": outcomes.fits(nets, nll=(1.0, 1.5)),
        "shape_bias": outcomes.conflicts(nets, shape=[150, 60], texture=[50, 140]),
    }[name]
    for one in answer_of(diagnostic_class(name)(), tables[name]).findings:
        assert one.headline.count("(random weights)") >= (1 if one.model else 2)
