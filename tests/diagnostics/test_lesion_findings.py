"""What is said of removals, on invented outcomes."""

import dataclasses

import pytest

from report import outcomes
from report.outcomes import Damaged
from visionscope.core.finding import AGAINST_THE_PAPER, AS_THE_PAPER, NO_CLEAR_CHANGE, UNKNOWN


def test_the_removal_that_costs_most_is_named_with_its_interval() -> None:
    model = Damaged(label="net", losses={(1, 0): 30.0, (1, 1): 12.0, (1, 2): 0.25})
    (one,) = outcomes.told(outcomes.lesions([model]))
    assert one.headline == "In net, removing layers.1.0+conv costs most: 30.0 percentage points of accuracy."
    assert "With one branch removed at a time: −30.0 percentage points (95 % interval −34." in one.detail
    assert (one.measure, one.unit, one.n) == ("change in accuracy", "percentage points", outcomes.IMAGES)
    assert one.value == pytest.approx(-30.0)
    assert one.low < -30.0 < one.high
    assert "Next: layers.1.1+conv −12.0 percentage points." in one.detail
    assert "1 of 3 removals has no significant effect." in one.detail
    assert [row[one.columns.index("change")] for row in one.rows] == pytest.approx([-30.0, -12.0, -0.25])


def test_a_network_that_nothing_hurts_is_said_to_be_one() -> None:
    model = Damaged(label="net", losses={(1, 0): 0.25, (1, 1): 0.5})
    (one,) = outcomes.told(outcomes.lesions([model]))
    assert "no removal of one branch lowers accuracy significantly" in one.headline
    assert one.strength == 0


@pytest.mark.parametrize(("falling", "word"), [(True, "earlier"), (False, "later")])
def test_early_and_late_removals(falling: bool, word: str) -> None:
    costs = [40.0, 30.0, 20.0, 12.0, 8.0, 5.0, 3.0]
    values = costs if falling else costs[::-1]
    model = Damaged(label="net", losses={(1, number): loss for number, loss in enumerate(values)})
    (one,) = [one for one in outcomes.told(outcomes.lesions([model])) if "Rank correlation" in one.detail]
    assert f"removing one branch costs more the {word} it is" in one.headline
    assert "over 7 units" in one.detail
    assert one.state == (AS_THE_PAPER if falling else AGAINST_THE_PAPER)


def test_depth_without_a_trend_makes_no_claim() -> None:
    model = Damaged(label="net", losses={(1, number): loss for number, loss in enumerate((9, 2, 8, 3, 7, 5))})
    (one,) = [one for one in outcomes.told(outcomes.lesions([model])) if "Rank correlation" in one.detail]
    assert "the cost of removing one branch has no significant trend with depth" in one.headline
    assert (one.verdict, one.state) == (UNKNOWN, NO_CLEAR_CHANGE)


EARLY, LATE = (2.0, 30.0, 25.0, 3.0), (30.0, 2.0, 3.0, 25.0)


@pytest.mark.parametrize(
    ("costs", "said", "state"),
    [
        (EARLY, "removing MLPs costs more than self-attention at the beginnings of stages, and less at the ends", True),
        (LATE, "removing self-attention costs more than MLPs at the beginnings of stages, and less at the ends", False),
        ((20.0, 2.0) * 2, "removing self-attention costs more than MLPs at the beginnings and ends of stages", False),
        (
            (2.0, 2.0, 20.0, 2.0),
            "removing self-attention costs more than MLPs at the ends of stages; no significant difference at the "
            "beginnings",
            True,
        ),
        (
            (2.0,) * 4,
            "no significant difference between removing self-attention and MLPs at either end of stages",
            None,
        ),
    ],
)
def test_what_matters_more_at_the_ends_of_stages_and_what_the_paper_says(costs, said, state) -> None:
    """In the paper MLPs and convolutions matter more at the beginnings of stages, self-attention at the ends."""
    kinds = {(1, 2 * number + second): ("msa", "mlp")[second] for number in (0, 1) for second in (0, 1)}
    model = Damaged(label="net", kinds=kinds, losses=dict(zip(kinds, costs, strict=True)))
    (one,) = [one for one in outcomes.told(outcomes.lesions([model])) if "stages" in one.headline]
    assert one.headline == f"In net, {said}."
    assert one.state == {True: AS_THE_PAPER, False: AGAINST_THE_PAPER, None: NO_CLEAR_CHANGE}[state]
    random = dataclasses.replace(model, weights="random, seed 0")
    assert {one.state for one in outcomes.told(outcomes.lesions([random]))} == {""}


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
    (one,) = [one for one in outcomes.told(outcomes.lesions([model])) if "stages" in one.headline]
    assert one.headline == (
        "In net, removing MLPs costs more than self-attention at the beginnings of stages, and less at the ends."
    )
    assert one.detail.startswith("2 stages have both. ")
    assert len(one.headline.split()) <= 25
    assert "Ends: accuracy without msa less that without mlp: −17.5 percentage points" in one.detail
    assert len(one.rows) == 8


def test_five_units_in_order_of_depth_are_told_with_the_chance_of_that_order() -> None:
    model = Damaged(label="net", losses={(1, index): 30.0 - 5 * index for index in range(5)})
    (one,) = [one for one in outcomes.told(outcomes.lesions([model])) if "Rank correlation" in one.detail]
    assert "Rank correlation of the change with depth 1.0, p = 0.017, over 5 units." in one.detail
