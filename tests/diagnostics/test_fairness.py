"""Whose losses in accuracy are compared, and what is said of a network that has nothing to lose."""

import dataclasses

import numpy as np
import pytest

from report import outcomes
from report.outcomes import Damaged
from report.telling import answers_of
from visionscope.core.finding import UNKNOWN, Finding
from visionscope.diagnostics.outcomes.fairness import is_within_chance

RINGS = {0.1 * place: 2.0 * place for place in range(1, 10)}
VECTORS = {(0, 2): 2.0, (2, 4): 2.0, (14, 0): 10.0, (16, 16): 10.0}
ASKED = {
    "frequency_noise": (outcomes.noise, RINGS),
    "fourier_heatmap": (outcomes.heatmap, VECTORS),
    "corruption": (outcomes.corruptions, {"fog": 5.0, "snow": 8.0}),
    "adversarial": (outcomes.attacks, {("pgd", 1.0): 8.0, ("fgsm", 1.0): 2.0}),
}
DIFFER = "a and b are not compared: their accuracies on clean images differ by more than 10 percentage points."


def told(name: str, *models: Damaged) -> list[Finding]:
    """The sentences on models that lose what the diagnostic's example loses, the second half of it."""
    make, losses = ASKED[name]
    halves = [
        dataclasses.replace(model, losses={key: loss / (1 + place) for key, loss in losses.items()})
        for place, model in enumerate(models)
    ]
    (answer,) = answers_of(make(halves))
    return list(answer.findings)


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize(("other", "said"), [(80.0, ""), (70.0, ""), (69.5, DIFFER), (30.0, DIFFER)])
def test_networks_of_other_accuracy_are_not_compared(name: str, other: float, said: str) -> None:
    (one,) = [one for one in told(name, Damaged(label="a"), Damaged(label="b", clean=other)) if not one.model]
    if said:
        assert (one.headline, one.verdict, one.value) == (said, UNKNOWN, None)
    else:
        assert "not compared" not in one.headline
        assert one.value is not None
    assert one.models == ("a", "b")


@pytest.mark.parametrize("name", ASKED)
def test_a_network_at_chance_has_nothing_to_lose_and_is_not_compared(name: str) -> None:
    found = told(name, Damaged(label="a", clean=20.0), Damaged(label="b", clean=12.0))
    (own,) = [one for one in found if one.model == "b"]
    assert own.headline == (
        "In b, accuracy is 12.0 %, not significantly above chance (10.0 %): there is nothing to lose."
    )
    assert own.verdict == UNKNOWN
    assert (own.measure, own.value, own.unit, own.n) == ("accuracy", 12.0, "%", outcomes.IMAGES)
    (pair,) = [one for one in found if not one.model]
    assert pair.headline == "a and b are not compared: b is not significantly above chance."


def test_a_network_at_chance_has_no_row_of_high_against_low() -> None:
    model = Damaged(label="b", clean=12.0, losses=RINGS)
    (answer,) = answers_of(outcomes.noise([model]))
    assert "comparisons" not in answer.tables
    (above,) = answers_of(outcomes.noise([dataclasses.replace(model, clean=80.0)]))
    assert above.tables["comparisons"].num_rows == 1


def test_removals_from_a_network_at_chance_are_not_ranked() -> None:
    model = Damaged(label="b", clean=12.0, losses={(1, place): 1.0 + place for place in range(6)})
    (one,) = outcomes.told(outcomes.lesions([model]))
    assert "there is nothing to lose" in one.headline


def test_chance_is_that_of_the_classes_that_the_network_chooses_among() -> None:
    model = Damaged(label="b", clean=12.0, losses=RINGS, classes=1000)
    (one,) = outcomes.told(outcomes.noise([model]))
    assert "nothing to lose" not in one.headline
    assert is_within_chance(12, 100, 0.1)
    assert not is_within_chance(12, 100, 0.001)
    assert is_within_chance(0, 100, 0.1), "worse than chance has nothing to lose either"


def test_losses_are_relative_to_what_there_is_to_lose() -> None:
    """Of two that lose 20 points the one that has less to lose loses more, in fact 1/7 of it."""
    models = [
        Damaged(label="a", clean=80.0, losses={"fog": 20.0}),
        Damaged(label="b", clean=70.0, losses={"fog": 20.0}),
    ]
    (answer,) = answers_of(outcomes.corruptions(models))
    (row,) = [row for row in answer.tables["comparisons"].to_pylist() if row["number"] == "loss against clean images"]
    assert row["unit"] == "% of the accuracy above chance"
    assert row["difference"] == pytest.approx(100 * (20 / 70 - 20 / 60))


@pytest.mark.parametrize(
    ("shape", "texture", "said"),
    [
        ((150, 60), (50, 150), "a goes by shape more than b."),
        ((150, 20), (50, 150), "a goes by shape more than b."),
        (
            (150, 20),
            (50, 100),
            "a and b are not compared: the shares of images that they decide for shape or texture differ by more than "
            "10 percentage points.",
        ),
        ((150, 10), (50, 45), "a and b are not compared: b decides for shape or texture no more often than by chance."),
    ],
)
def test_shape_biases_of_networks_that_decide_about_as_often(
    shape: tuple[int, int], texture: tuple[int, int], said: str
) -> None:
    models = [Damaged(label=label) for label in ("a", "b")]
    found = outcomes.told(outcomes.conflicts(models, shape=shape, texture=texture))
    (one,) = [one for one in found if not one.model]
    assert one.headline == said
    (own,) = [one for one in found if one.model == "b"]
    assert ("no more than by chance (12.5 %): no bias to see" in own.headline) == ("by chance" in said)


def test_two_models_of_other_outcomes_stay_in_one_row_each() -> None:
    """Several pairs that are apart for one reason are told in one sentence."""
    models = [Damaged(label=label, clean=clean, losses=RINGS) for label, clean in (("a", 90), ("b", 60), ("c", 30))]
    (one,) = [one for one in outcomes.told(outcomes.noise(models)) if not one.model]
    assert one.headline.startswith("3 pairs of models are not compared: their accuracies on clean images differ")
    assert one.detail == "a with b, a with c and b with c."
    assert one.models == ("a", "b", "c")
    assert np.shape(one.rows) == (3, 3)
