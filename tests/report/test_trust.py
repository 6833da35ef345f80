import pyarrow.compute as pc
import pytest

from report import outcomes
from report.outcomes import Damaged
from visionscope.core.finding import MODELS_DIFFER, UNKNOWN
from visionscope.diagnostics.fit import Fit
from visionscope.report.summary import Finding, findings

NETS = [Damaged(label="net", clean=80.0), Damaged(label="other", clean=80.0)]


def of_model(found: list[Finding], label: str) -> Finding:
    (one,) = [one for one in found if one.model == label]
    return one


@pytest.mark.parametrize(
    ("confidence", "said"),
    [
        (0.95, "the network is over-confident: confidence exceeds accuracy by 15.0 percentage points (95 % interval"),
        (0.6, "the network is under-confident: confidence falls short of accuracy by 20.0 percentage points (95 %"),
        (0.8, "whether the network is over- or under-confident can't be told: confidence exceeds accuracy by"),
    ],
)
def test_over_and_under_confidence(confidence: float, said: str) -> None:
    found = findings(outcomes.calibrations(NETS[:1], confidence=[confidence], scaled=[0.8]), [])
    assert said in of_model(found, "net").headline


def test_a_temperature_that_helps_is_told_from_one_that_does_not() -> None:
    helped = of_model(findings(outcomes.calibrations(NETS[:1], confidence=[0.97], scaled=[0.8]), []), "net")
    assert "A temperature of 1.50, fitted on 100 other images, lowers NLL (−0." in helped.detail
    idle = of_model(findings(outcomes.calibrations(NETS[:1], confidence=[0.8], scaled=[0.8]), []), "net")
    assert "changes NLL by no more than chance could" in idle.detail
    assert [row[0] for row in helped.rows] == ["none", "temperature"]


def test_calibrations_of_two_networks_are_compared_image_by_image() -> None:
    found = findings(outcomes.calibrations(NETS, confidence=[0.97, 0.8], scaled=[0.8, 0.8]), [])
    (one,) = [one for one in found if not one.model]
    assert one.verdict == MODELS_DIFFER
    assert one.headline == ("net is more confident for its accuracy than other; other has a lower NLL than net.")
    assert one.rows[0][3] == pytest.approx(17.0, abs=0.1)
    (same,) = [
        one
        for one in findings(outcomes.calibrations(NETS, confidence=[0.8, 0.8], scaled=[0.8, 0.8]), [])
        if not one.model
    ]
    assert same.verdict == UNKNOWN


def test_fit_goes_with_error_or_against_it() -> None:
    better = Damaged(label="better", clean=85.0)
    worse = Damaged(label="worse", clean=60.0)
    (one,) = [one for one in findings(outcomes.fits([better, worse], nll=(1.0, 1.5)), []) if not one.model]
    assert one.headline == "better fits its training images better than worse, and errs less on test images."
    assert "difference in accuracy 25.0 percentage points (95 % interval" in one.detail
    (over,) = [one for one in findings(outcomes.fits([better, worse], nll=(1.5, 1.0)), []) if not one.model]
    assert over.headline == "worse fits its training images better than better, and yet errs more on test images."
    (same,) = [one for one in findings(outcomes.fits([better, worse], nll=(1.0, 1.001)), []) if not one.model]
    assert same.verdict == UNKNOWN


def test_an_ordering_of_several_networks() -> None:
    nets = [Damaged(label=f"net_{index}", clean=80.0 - 5 * index) for index in range(6)]
    found = findings(outcomes.fits(nets, nll=[1.0 + 0.3 * index for index in range(6)]), [])
    (one,) = [one for one in found if "rank correlation" in one.headline]
    assert one.headline.startswith(
        "The smaller NLL_train, the smaller the test error (rank correlation 1.0, p = 0.0028"
    )


def test_four_networks_in_a_perfect_order_are_no_law() -> None:
    nets = [Damaged(label=f"net_{index}", clean=80.0 - 5 * index) for index in range(4)]
    found = findings(outcomes.fits(nets, nll=[1.0 + 0.3 * index for index in range(4)]), [])
    (one,) = [one for one in found if "rank correlation" in one.headline]
    assert "can't be told (rank correlation 1.0, p = 0.083, over 4 networks)" in one.headline


def test_many_pairs_of_test_errors_are_compared_by_holms_rule() -> None:
    """A difference of 8 of 400 images, all one way: clear alone, not as one of 15 comparisons."""
    nets = [Damaged(label="net", clean=80.0), Damaged(label="other", clean=78.0)]
    alone = findings(outcomes.fits(nets, nll=(1.0, 1.5)), [])
    assert any(one.headline.endswith("and errs less on test images.") for one in alone)
    many = [*nets, *(Damaged(label=f"net_{index}", clean=80.0) for index in range(4))]
    found = findings(outcomes.fits(many, nll=[1.0, 1.5, *(2.0 + index for index in range(4))]), [])
    (one,) = [one for one in found if one.headline.startswith("net fits its training images better than other")]
    assert "p = 0.12" in one.detail
    assert one.verdict == UNKNOWN


def test_a_fit_of_which_half_is_done_has_no_panels() -> None:
    tables = outcomes.fits(NETS, nll=(1.0, 1.5))
    part = tables["fit"].filter(pc.equal(tables["fit"]["split"], "train"))
    assert outcomes.figure(Fit(), {"fit": part}).panels == ()
    assert findings({"fit": part, "fit_summary": Fit().summary(part)}, []) == []


@pytest.mark.parametrize(
    ("shape", "texture", "said", "verdict"),
    [
        (150, 50, "shape decides more often than texture: 75.0 %", "described"),
        (50, 150, "texture decides more often than shape: 25.0 %", "described"),
        (98, 102, "whether shape or texture decides more often can't be told: 49.0 %", UNKNOWN),
        (0, 0, "none of 400 images is decided for its shape or its texture", UNKNOWN),
    ],
)
def test_shape_or_texture(shape: int, texture: int, said: str, verdict: str) -> None:
    found = findings(outcomes.conflicts(NETS[:1], shape=[shape], texture=[texture]), [])
    one = of_model(found, "net")
    assert said in one.headline
    assert one.verdict == verdict
    assert f"{400 - shape - texture} of 400 images are decided for neither" in one.detail


def test_two_networks_by_shape() -> None:
    (one,) = [
        one for one in findings(outcomes.conflicts(NETS, shape=[150, 60], texture=[50, 140]), []) if not one.model
    ]
    assert one.headline == "net goes by shape more than other."
    assert one.rows[0][3] == pytest.approx(100 * (100 + 80) / 400)


def test_attention_that_looks_farther_or_not() -> None:
    grows = findings(outcomes.attentions(["vit"], distances=[6, 8, 10, 12, 14, 16]), [])
    (one,) = grows
    assert (
        "the last attention looks farther than the first: 6.00 pixels far (everywhere alike would be 16.0)"
        in one.headline
    )
    assert "Distance grows with depth (rank correlation 1.0, p = 0.0028, over 6 points)." in one.detail
    assert "Of all heads, head 0 of blocks.0+msa (5.00 pixels) looks least far" in one.detail
    assert len(one.rows) == 18
    (still,) = findings(outcomes.attentions(["vit"], distances=[10, 10.01], deviation=40_000.0), [])
    assert "whether the last attention looks farther than the first can't be told" in still.headline
    assert still.verdict == UNKNOWN
