"""What is said of noise and of Fourier vectors, on invented outcomes."""

import pytest

from report import outcomes
from report.outcomes import Damaged
from report.telling import answers_of
from visionscope.core.finding import MODELS_DIFFER, UNKNOWN, Finding
from visionscope.numerics.paired import holm
from visionscope.report.summary import main_findings

RINGS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def losses(*values: float) -> dict[object, float]:
    return dict(zip(RINGS, values, strict=True))


def between(found: list[Finding]) -> list[Finding]:
    return [one for one in found if not one.model]


def test_noise_names_the_worst_ring_and_compares_its_ends() -> None:
    model = Damaged(label="net", losses=losses(0.25, 2, 3, 4, 5, 6, 20, 40, 30))
    (one,) = outcomes.told(outcomes.noise([model]))
    assert one.headline.startswith(
        "In net, noise around 0.80 π rad/pixel costs most: 40.0 percentage points of accuracy."
    )
    assert one.detail.startswith("Change: −40.0 percentage points (95 % interval −4")
    assert (
        "More is lost under high-frequency noise (0.7 to 0.9 π) than under low-frequency noise (0.1 to 0.3 "
        "π): accuracy under high minus under low: −28.2"
    ) in one.detail
    assert "1 of 9 rings has no significant effect." in one.detail
    assert [row[0] for row in one.rows] == list(RINGS)


def test_rings_of_unequal_energy_are_not_compared_with_each_other_but_networks_are() -> None:
    models = [
        Damaged(label="net", losses=losses(0.25, 2, 3, 4, 5, 6, 20, 40, 30)),
        Damaged(label="other", losses=losses(*(1,) * 9)),
    ]
    (answer,) = answers_of(outcomes.noise(models, energy="equal_eps"))
    one, _, pair = answer.findings
    assert one.headline == "In net, 8 of 9 rings lower accuracy significantly, by up to 40.0 percentage points."
    assert "The most is under noise around 0.80 π rad/pixel: −40.0" in one.detail
    assert "than under" not in one.detail
    assert all(row["other"] for row in answer.tables["comparisons"].to_pylist())
    assert pair.headline.startswith("net loses more of its accuracy than other under high-frequency noise")
    assert answer.limits[-1].startswith("At equal eps a ring of more frequencies holds more noise")
    (equal,) = answers_of(outcomes.noise(models))
    assert not [limit for limit in equal.limits if "equal eps" in limit]


def test_two_networks_that_break_at_opposite_ends() -> None:
    cnn = Damaged(label="resnet_nano", losses=losses(2, 3, 4, 5, 6, 10, 30, 35, 40))
    vit = Damaged(label="vit_nano", losses=losses(40, 35, 30, 10, 6, 5, 4, 3, 2))
    answers = answers_of(outcomes.noise([cnn, vit]))
    (one,) = between(list(answers[0].findings))
    assert one.verdict == MODELS_DIFFER
    assert one.headline == (
        "resnet_nano loses more of its accuracy under high-frequency noise, vit_nano under low-frequency noise."
    )
    told = {row[0]: row[3:6] for row in one.rows}
    # 32 points of the 70 that 80 % are above the chance of 10 %
    assert told["loss under high-frequency noise (0.7 to 0.9 π)"][0] == pytest.approx(100 * 32 / 70)
    assert told["loss under low-frequency noise (0.1 to 0.3 π)"][0] == pytest.approx(-100 * 32 / 70)
    assert {row[6] for row in one.rows} == {"% of the accuracy above chance"}
    assert one.models == ("resnet_nano", "vit_nano")
    assert (one.measure, one.unit) == (one.rows[0][0], one.rows[0][6])
    assert (one.value, one.low, one.high) == one.rows[0][3:6]
    assert one.n == outcomes.IMAGES
    assert main_findings(answers)[0] is one


def test_networks_that_lose_alike_are_not_told_apart() -> None:
    models = [Damaged(label=f"net_{index}", losses=losses(*(5.0 + index * 0.25,) * 9)) for index in range(2)]
    (one,) = between(outcomes.told(outcomes.noise(models)))
    assert one.verdict == UNKNOWN
    assert one.strength == 0
    assert one.headline == (
        "No significant difference between net_0 and net_1 in loss under high-frequency noise or loss under "
        "low-frequency noise."
    )


def test_networks_with_other_images_or_settings_are_not_compared() -> None:
    one, other = Damaged(label="a", losses=losses(*range(9))), Damaged(label="b", losses=losses(*range(9)))
    (said,) = between(outcomes.told(outcomes.noise([one, other], eps=(0.7, 0.5))))
    assert said.headline == "a and b are not compared: they differ in eps_in_pixels."
    elsewhere = Damaged(label="b", losses=losses(*range(9)), sample="ffffffffffff")
    (said,) = between(outcomes.told(outcomes.noise([one, elsewhere])))
    assert said.headline == "a and b are not compared: they saw different images."


def test_many_networks_are_raised_together_and_few_pairs_told() -> None:
    models = [Damaged(label=f"net_{index}", losses=losses(*(5.0 + 8 * index,) * 9)) for index in range(5)]
    found = between(outcomes.told(outcomes.noise(models)))
    assert len(found) == 3
    assert all(one.verdict == MODELS_DIFFER for one in found)
    assert {found[0].rows[0][1], found[0].rows[0][2]} == {"net_0", "net_4"}, "those that differ most come first"
    assert "other pairs" not in found[0].detail
    assert found[-1].detail.endswith("7 other pairs of models differ less clearly: see the comparisons in tables/.")


def test_noise_and_fourier_vectors_have_one_place_among_the_main_findings() -> None:
    rings = [Damaged(label=f"net_{index}", losses=losses(*(5.0 + 20 * index,) * 9)) for index in range(2)]
    vectors = {(0, 2): 2.0, (2, 4): 2.0, (14, 0): 10.0, (16, 16): 10.0}
    places = [Damaged(label=f"net_{i}", losses={key: loss + 20 * i for key, loss in vectors.items()}) for i in range(2)]
    answers = answers_of(outcomes.noise(rings) | outcomes.heatmap(places))
    assert len(between([one for answer in answers for one in answer.findings])) == 2
    assert [one.verdict for one in main_findings(answers, 4)[:2]].count(MODELS_DIFFER) == 1


def test_fourier_vectors() -> None:
    vectors = {(0, 0): 1.0, (0, 2): 2.0, (2, 4): 2.0, (8, 8): 5.0, (14, 0): 30.0, (16, 16): 50.0}
    model = Damaged(label="net", losses=vectors)
    (one,) = outcomes.told(outcomes.heatmap([model]))
    assert "the Fourier vector of (16, 16) periods per height and width costs most" in one.headline
    assert (
        "More is lost under high-frequency Fourier vectors (above 2π/3) than under low-frequency Fourier vectors (up "
        "to π/3): accuracy under high minus under low: −38.3"
    ) in one.detail


def test_random_weights_travel_with_every_sentence() -> None:
    model = Damaged(label="net", losses=losses(*range(9)), weights="random, seed 0")
    found = outcomes.told(outcomes.noise([model]))
    assert all("net (random weights)" in one.headline for one in found)


def test_what_is_said_is_what_the_table_of_comparisons_holds() -> None:
    """The raised p of two models are Holm's over all pairs and numbers; p of one model's ends is its own."""
    models = [Damaged(label=f"net_{i}", losses=losses(*(5.0 + i * place for place in range(9)))) for i in range(3)]
    (answer,) = answers_of(outcomes.noise(models))
    rows = answer.tables["comparisons"].to_pylist()
    own, pairs = [row for row in rows if not row["other"]], [row for row in rows if row["other"]]
    assert [row["model"] for row in own] == ["net_0", "net_1", "net_2"]
    assert [row["p_holm"] for row in own] == [row["p"] for row in own]
    assert [row["difference"] for row in own] == pytest.approx([0.0, -6.0, -12.0])
    assert len(pairs) == 6
    assert [row["p_holm"] for row in pairs] == pytest.approx(holm([row["p"] for row in pairs]))
    told = [dict(zip(one.columns, row, strict=True)) for one in answer.findings if not one.model for row in one.rows]
    assert told == [{key: row[key] for key in told[0]} for row in pairs]


def test_networks_without_a_common_ring_are_not_compared() -> None:
    low = Damaged(label="a", losses={0.1: 5.0, 0.2: 5.0, 0.3: 5.0})
    high = Damaged(label="b", losses={0.7: 5.0, 0.8: 5.0, 0.9: 5.0})
    (said,) = between(outcomes.told(outcomes.noise([low, high])))
    assert said.headline == "a and b are not compared: no condition is common to them."
    vectors = [Damaged(label=label, losses={at: 5.0}) for label, at in (("a", (0, 2)), ("b", (0, 16)))]
    (said,) = between(outcomes.told(outcomes.heatmap(vectors)))
    assert said.headline == "a and b are not compared: no condition is common to them."


def test_too_few_rings_have_no_ends() -> None:
    """Two rings have no outer thirds: nothing is said of them, and nothing fails."""
    (one, other) = outcomes.told(
        outcomes.noise([Damaged(label=label, losses={0.2: 5.0, 0.7: 40.0}) for label in ("a", "b")])
    )
    assert (one.model, other.model) == ("a", "b")
    assert "0.70 π rad/pixel costs most: 40.0 percentage points" in one.headline
    assert "accuracy under high" not in one.detail
