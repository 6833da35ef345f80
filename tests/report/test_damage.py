import pytest

from report import outcomes, samples
from report.outcomes import Damaged
from visionscope.core.finding import MODELS_DIFFER, UNKNOWN
from visionscope.report.compare import capital, chance
from visionscope.report.summary import Finding, findings, main_findings

RINGS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def losses(*values: float) -> dict[object, float]:
    return dict(zip(RINGS, values, strict=True))


def between(found: list[Finding]) -> list[Finding]:
    return [one for one in found if not one.model]


def test_the_removal_that_costs_most_is_named_with_its_interval() -> None:
    model = Damaged(label="net", losses={(1, 0): 30.0, (1, 1): 12.0, (1, 2): 0.25})
    (one,) = findings(outcomes.lesions([model]), [])
    assert one.headline.startswith(
        "In net, of all removals of the branch of one block, that of layers.1.0+conv costs most"
    )
    assert "most: −30.0 percentage points (95 % interval −34." in one.headline
    assert "Next: layers.1.1+conv −12.0 percentage points." in one.detail
    assert "1 of 3 removals makes no difference that can be told from chance." in one.detail
    assert [row[one.columns.index("change")] for row in one.rows] == pytest.approx([-30.0, -12.0, -0.25])


def test_a_network_that_nothing_hurts_is_said_to_be_one() -> None:
    model = Damaged(label="net", losses={(1, 0): 0.25, (1, 1): 0.5})
    (one,) = findings(outcomes.lesions([model]), [])
    assert "no removal of the branch of one block lowers accuracy by more than chance could" in one.headline
    assert one.strength == 0


@pytest.mark.parametrize(("falling", "word"), [(True, "earlier"), (False, "later")])
def test_early_and_late_removals(falling: bool, word: str) -> None:
    costs = [40.0, 30.0, 20.0, 12.0, 8.0, 5.0, 3.0]
    values = costs if falling else costs[::-1]
    model = Damaged(label="net", losses={(1, number): loss for number, loss in enumerate(values)})
    (one,) = [one for one in findings(outcomes.lesions([model]), []) if "rank correlation" in one.text]
    assert f"removing the branch of one block costs more the {word} it is" in one.headline
    assert "over 7 units" in one.headline


def test_depth_without_a_trend_makes_no_claim() -> None:
    model = Damaged(label="net", losses={(1, number): loss for number, loss in enumerate((9, 2, 8, 3, 7, 5))})
    (one,) = [one for one in findings(outcomes.lesions([model]), []) if "rank correlation" in one.text]
    assert "whether early removals of the branch of one block hurt more than late ones can't be told" in one.headline
    assert one.verdict == UNKNOWN


def test_ends_of_stages_compare_attention_with_what_is_beside_it() -> None:
    kinds = {
        (stage, 2 * number + second): ("msa", "mlp")[second]
        for stage in (1, 2)
        for number in (0, 1)
        for second in (0, 1)
    }
    values = {1: (2.0, 30.0, 25.0, 3.0), 2: (2.0, 20.0, 15.0, 2.0)}
    model = Damaged(
        label="net", kinds=kinds, losses={(stage, number): values[stage][number] for stage, number in kinds}
    )
    (one,) = [one for one in findings(outcomes.lesions([model]), []) if "stages" in one.headline]
    assert "at the beginning of its 2 stages that have both, removing mlp costs more than removing msa" in one.headline
    assert "at the end of its 2 stages that have both, removing msa costs more than removing mlp" in one.headline
    assert "End: accuracy without msa less that without mlp: −17.5 percentage points" in one.detail
    assert len(one.rows) == 8


def test_noise_names_the_worst_ring_and_compares_its_ends() -> None:
    model = Damaged(label="net", losses=losses(0.25, 2, 3, 4, 5, 6, 20, 40, 30))
    (one,) = findings(outcomes.noise([model]), [])
    assert one.headline.startswith("In net, noise around 0.80 pi rad/pixel costs most: accuracy changes by −40.0")
    assert "hurt more than low frequencies (0.1 to 0.3 pi): accuracy under high minus under low: −28.2" in one.detail
    assert "1 of 9 rings makes no difference" in one.detail
    assert [row[0] for row in one.rows] == list(RINGS)


def test_two_networks_that_break_at_opposite_ends() -> None:
    cnn = Damaged(label="resnet_nano", losses=losses(2, 3, 4, 5, 6, 10, 30, 35, 40))
    vit = Damaged(label="vit_nano", losses=losses(40, 35, 30, 10, 6, 5, 4, 3, 2))
    found = findings(outcomes.noise([cnn, vit]), [])
    (one,) = between(found)
    assert one.verdict == MODELS_DIFFER
    assert one.headline == (
        "Under noise of high (0.7 to 0.9 pi) frequencies resnet_nano loses more accuracy than vit_nano; under noise of "
        "low (0.1 to 0.3 pi) frequencies vit_nano loses more accuracy than resnet_nano."
    )
    told = {row[0]: row[3:6] for row in one.rows}
    assert told["loss under noise of high (0.7 to 0.9 pi) frequencies"][0] == pytest.approx(32.0)
    assert told["loss under noise of low (0.1 to 0.3 pi) frequencies"][0] == pytest.approx(-32.0)
    assert main_findings(found)[0] is one


def test_networks_that_lose_alike_are_not_told_apart() -> None:
    models = [Damaged(label=f"net_{index}", losses=losses(*(5.0 + index * 0.25,) * 9)) for index in range(2)]
    (one,) = between(findings(outcomes.noise(models), []))
    assert one.verdict == UNKNOWN
    assert one.strength == 0
    assert one.headline == (
        "net_0 and net_1 can't be told apart in loss under noise of high (0.7 to 0.9 pi) frequencies or loss under "
        "noise of low (0.1 to 0.3 pi) frequencies."
    )


def test_networks_with_other_images_or_settings_are_not_compared() -> None:
    one, other = Damaged(label="a", losses=losses(*range(9))), Damaged(label="b", losses=losses(*range(9)))
    (said,) = between(findings(outcomes.noise([one, other], eps=(0.7, 0.5)), []))
    assert said.headline == "a with b can't be compared: they differ in eps_in_pixels."
    elsewhere = Damaged(label="b", losses=losses(*range(9)), sample="ffffffffffff")
    (said,) = between(findings(outcomes.noise([one, elsewhere]), []))
    assert said.headline == "a with b can't be compared: they saw different images."


def test_many_networks_are_raised_together_and_few_pairs_told() -> None:
    models = [Damaged(label=f"net_{index}", losses=losses(*(5.0 + 8 * index,) * 9)) for index in range(5)]
    found = between(findings(outcomes.noise(models), []))
    assert len(found) == 3
    assert all(one.verdict == MODELS_DIFFER for one in found)
    assert {found[0].rows[0][1], found[0].rows[0][2]} == {"net_0", "net_4"}, "those that differ most come first"
    assert "other pairs" not in found[0].detail
    assert found[-1].detail.endswith("7 other pairs of models differ less clearly: see the figure.")


def test_noise_and_fourier_vectors_have_one_place_among_the_main_findings() -> None:
    rings = [Damaged(label=f"net_{index}", losses=losses(*(5.0 + 20 * index,) * 9)) for index in range(2)]
    vectors = {(0, 2): 2.0, (2, 4): 2.0, (14, 0): 10.0, (16, 16): 10.0}
    places = [Damaged(label=f"net_{i}", losses={key: loss + 20 * i for key, loss in vectors.items()}) for i in range(2)]
    found = findings(outcomes.noise(rings) | outcomes.heatmap(places), [])
    assert len(between(found)) == 2
    assert [one.verdict for one in main_findings(found, 4)[:2]].count(MODELS_DIFFER) == 1


def test_fourier_vectors() -> None:
    vectors = {(0, 0): 1.0, (0, 2): 2.0, (2, 4): 2.0, (8, 8): 5.0, (14, 0): 30.0, (16, 16): 50.0}
    model = Damaged(label="net", losses=vectors)
    (one,) = findings(outcomes.heatmap([model]), [])
    assert "the Fourier vector of (16, 16) periods per height and width costs most" in one.headline
    words = "Vectors of high frequency (above 2 pi / 3) hurt more than vectors of low frequency (up to pi / 3)"
    assert words in one.detail


def test_robustness_is_the_mean_over_types_and_the_origin_is_told() -> None:
    kinds = {"gaussian_noise": 40.0, "fog": 5.0, "glass_blur": 60.0, "contrast": 0.25}
    models = [Damaged(label="net", losses=kinds), Damaged(label="other", losses={kind: 1.0 for kind in kinds})]
    found = findings(outcomes.corruptions(models), [])
    (one,) = [one for one in found if one.model == "net"]
    assert "robustness, the mean accuracy over 4 types in 2 severities, is 53.7 % (95 % interval" in one.headline
    assert (
        "It does worst under glass blur (20.0 %), gaussian noise (40.0 %) and fog (75.0 %), best under contrast."
        in one.detail
    )
    assert "made on the fly (torch-uncertainty 0.9): not comparable with published numbers" in one.detail
    (pair,) = between(found)
    assert pair.headline.startswith("other is more robust to corruptions than net")
    published = findings(outcomes.corruptions(models, origin="published"), [])
    assert not [one for one in published if "on the fly" in one.text]


def test_published_sets_without_their_clean_images_are_compared_in_robustness_alone() -> None:
    models = [Damaged(label=label, losses={"fog": loss}) for label, loss in (("net", 40.0), ("other", 5.0))]
    found = findings(outcomes.corruptions(models, origin="published", paired=False), [])
    assert not [one for one in found if "Against clean images" in one.text]
    (pair,) = between(found)
    assert pair.headline == "other is more robust to corruptions than net."
    assert [row[0] for row in pair.rows] == ["robustness"]


def test_attacks_say_what_is_left_at_each_strength() -> None:
    weak = Damaged(label="weak", losses={("fgsm", 1.0): 20.0, ("pgd", 1.0): 30.0, ("pgd", 4.0): 80.0})
    strong = Damaged(label="strong", losses={("fgsm", 1.0): 2.0, ("pgd", 1.0): 3.0, ("pgd", 4.0): 40.0})
    found = findings(outcomes.attacks([weak, strong]), [])
    (one,) = [one for one in found if one.model == "weak" and "PGD" in one.headline]
    assert one.headline == "In weak, PGD leaves an accuracy of 50.0 % at eps 1/255 and 0 % at eps 4/255."
    assert one.detail.startswith(
        "At the smallest eps: 50.0 % (95 % interval 45.1 to 54.9 %), against clean images −30.0"
    )
    (pair,) = between(found)
    assert pair.headline == "strong keeps more accuracy under FGSM and PGD at eps 1/255 than weak."
    assert pair.rows[0][3] == pytest.approx(-22.5)
    assert pair.verdict == MODELS_DIFFER


def test_random_weights_travel_with_every_sentence() -> None:
    model = Damaged(label="net", losses=losses(*range(9)), weights="random, seed 0")
    found = findings(outcomes.noise([model]), [])
    assert all("net (random weights)" in one.headline for one in found)


def test_main_findings_of_many_diagnostics_speak_of_many_themes() -> None:
    models = [samples.vit(), samples.resnet()]
    damaged = [
        Damaged(label="vit_nano", losses=losses(40, 35, 30, 10, 6, 5, 4, 3, 2)),
        Damaged(label="resnet_nano", losses=losses(2, 3, 4, 5, 6, 10, 30, 35, 40)),
    ]
    attacked = [
        Damaged(label="vit_nano", losses={("pgd", 1.0): 60.0}),
        Damaged(label="resnet_nano", losses={("pgd", 1.0): 10.0}),
    ]
    trusted = outcomes.calibrations(damaged, confidence=(0.95, 0.7), scaled=(0.8, 0.8))
    found = findings(
        {**samples.tables(models), **outcomes.noise(damaged), **outcomes.attacks(attacked), **trusted},
        samples.jobs(models),
    )
    main = main_findings(found)
    assert len(main) == 6
    assert [one.verdict for one in main[:3]] == [MODELS_DIFFER] * 3
    assert {one.diagnostic for one in main[:3]} == {"frequency_noise", "adversarial", "calibration"}
    assert len({one.diagnostic for one in main}) == 6


@pytest.mark.parametrize(
    ("text", "said"),
    [("noise costs", "Noise costs"), ("vit_nano loses", "vit_nano loses"), ("whether vit", "Whether vit")],
)
def test_names_keep_their_small_letters(text: str, said: str) -> None:
    assert capital(text, ["vit_nano", "net"]) == said


@pytest.mark.parametrize(("p", "said"), [(1e-9, "p < 0.001"), (0.0312, "p = 0.031"), (1.0, "p = 1.0")])
def test_chances_are_told_plainly(p: float, said: str) -> None:
    assert chance(p) == said
