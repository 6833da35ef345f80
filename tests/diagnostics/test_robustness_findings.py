"""What is said of corruptions and of attacks, on invented outcomes."""

import pyarrow.compute as pc
import pytest

from report import outcomes
from report.outcomes import Damaged
from report.telling import answers_of
from visionscope.core.finding import MODELS_DIFFER, Finding
from visionscope.core.table import tidy


def between(found: list[Finding]) -> list[Finding]:
    return [one for one in found if not one.model]


def test_robustness_is_the_mean_over_types_and_the_origin_is_told() -> None:
    kinds = {"gaussian_noise": 40.0, "fog": 5.0, "glass_blur": 60.0, "contrast": 0.25}
    models = [Damaged(label="net", losses=kinds), Damaged(label="other", losses={kind: 1.0 for kind in kinds})]
    found = outcomes.told(outcomes.corruptions(models))
    (one,) = [one for one in found if one.model == "net"]
    assert "robustness, the mean accuracy over 4 types in 2 severities, is 53.7 %." in one.headline
    assert "Robustness 53.7 % (95 % interval" in one.detail
    assert (one.measure, one.unit, one.n, one.low < one.value < one.high) == ("robustness", "%", outcomes.IMAGES, True)
    assert (
        "It does worst under glass blur (20.0 %), gaussian noise (40.0 %) and fog (75.0 %), best under contrast."
        in one.detail
    )
    assert "made on the fly (torch-uncertainty 0.9): not comparable with published numbers" in one.detail
    (pair,) = between(found)
    assert pair.headline.startswith("other is more robust to corruptions than net")
    published = outcomes.told(outcomes.corruptions(models, origin="published"))
    assert not [one for one in published if "on the fly" in one.text]


def test_published_sets_without_their_clean_images_are_compared_in_robustness_alone() -> None:
    models = [Damaged(label=label, losses={"fog": loss}) for label, loss in (("net", 40.0), ("other", 5.0))]
    found = outcomes.told(outcomes.corruptions(models, origin="published", paired=False))
    assert not [one for one in found if "Against clean images" in one.text]
    (pair,) = between(found)
    assert pair.headline == "other is more robust to corruptions than net."
    assert [row[0] for row in pair.rows] == ["robustness"]


def test_attacks_say_what_is_left_at_each_strength() -> None:
    weak = Damaged(label="weak", losses={("fgsm", 1.0): 20.0, ("pgd", 1.0): 30.0, ("pgd", 4.0): 80.0})
    strong = Damaged(label="strong", losses={("fgsm", 1.0): 2.0, ("pgd", 1.0): 3.0, ("pgd", 4.0): 40.0})
    found = outcomes.told(outcomes.attacks([weak, strong]))
    (one,) = [one for one in found if one.model == "weak" and "PGD" in one.headline]
    assert one.headline == "In weak, PGD leaves an accuracy of 50.0 % at eps 1/255 and 0 % at 4/255."
    assert one.detail.startswith(
        "At the smallest eps: 50.0 % (95 % interval 45.1 to 54.9 %), against clean images −30.0"
    )
    (pair,) = between(found)
    assert pair.headline == "strong keeps more accuracy under FGSM and PGD at eps 1/255 than weak."
    assert pair.rows[0][3] == pytest.approx(-22.5)
    assert pair.verdict == MODELS_DIFFER


def test_published_sets_whose_clean_images_are_not_done_yet_are_not_compared() -> None:
    models = [Damaged(label=label, losses={"fog": loss}) for label, loss in (("net", 40.0), ("other", 5.0))]
    table = outcomes.corruptions(models, origin="published")["corruption"]
    damaged = table.filter(pc.greater(table["severity"], 0))
    found = outcomes.told({"corruption": damaged})
    assert [one.headline for one in found] == [
        "net and other are not compared: their accuracy on clean images is not known."
    ]


def test_many_models_can_be_told_apart_in_robustness() -> None:
    """36 pairs in two numbers: no difference withstands Holm's rule where p can't be small."""
    models = [Damaged(label=f"net_{index}", clean=90.0, losses={"fog": 8.0 * index + 4}) for index in range(9)]
    told = [one for one in outcomes.told(outcomes.corruptions(models)) if not one.model]
    assert told
    assert {one.verdict for one in told} == {MODELS_DIFFER}


def test_networks_asked_about_different_corruptions_or_attacks_are_not_compared() -> None:
    said = "a and b are not compared: no condition is common to them."
    kinds = [Damaged(label=label, losses={kind: 5.0}) for label, kind in (("a", "fog"), ("b", "snow"))]
    assert [one.headline for one in between(outcomes.told(outcomes.corruptions(kinds)))] == [said]
    eps = [Damaged(label=label, losses={("pgd", own): 5.0}) for label, own in (("a", 1.0), ("b", 2.0))]
    assert [one.headline for one in between(outcomes.told(outcomes.attacks(eps)))] == [said]


def test_of_many_strengths_the_ends_are_told_and_all_are_listed() -> None:
    model = Damaged(label="net", losses={("pgd", float(eps)): 10.0 * eps for eps in range(1, 7)})
    (one,) = outcomes.told(outcomes.attacks([model]))
    assert one.headline == "In net, PGD leaves an accuracy of 70.0 % at eps 1/255 and 20.0 % at 6/255."
    assert [row[one.columns.index("eps")] for row in one.rows] == [1, 2, 3, 4, 5, 6]


def test_outcomes_are_a_row_per_image_and_public_tables_hold_one_value_per_cell() -> None:
    model = Damaged(label="net", losses={"fog": 40.0})
    (answer,) = answers_of(outcomes.corruptions([model]))
    images = answer.tables["outcomes"]
    assert images.num_rows == 3 * outcomes.IMAGES
    for row in answer.tables["summary"].to_pylist()[:3]:
        own = images.filter((pc.field("corruption") == row["corruption"]) & (pc.field("severity") == row["severity"]))
        assert own["image"].to_pylist() == list(range(outcomes.IMAGES))
        assert pc.mean(own["right"]).as_py() == pytest.approx(row["accuracy"])
    assert not {"right", "picture"} & set(tidy(answer.tables["rows"]).column_names)
