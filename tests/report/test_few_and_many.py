"""Sentences where few values are there, or half of them, and where many models are compared."""

import pyarrow.compute as pc

from report import outcomes
from report.outcomes import Damaged
from visionscope.core.finding import MODELS_DIFFER
from visionscope.diagnostics.corruption import Corruption
from visionscope.report.summary import findings


def test_published_sets_whose_clean_images_are_not_done_yet_are_compared_in_robustness_alone() -> None:
    models = [Damaged(label=label, losses={"fog": loss}) for label, loss in (("net", 40.0), ("other", 5.0))]
    table = outcomes.corruptions(models, origin="published")["corruption"]
    damaged = table.filter(pc.greater(table["severity"], 0))
    found = findings({"corruption": damaged, "corruption_summary": Corruption().summary(damaged)}, [])
    assert [one.headline for one in found] == ["other is more robust to corruptions than net."]


def test_many_models_can_be_told_apart_in_robustness() -> None:
    """36 pairs in two numbers: no difference withstands Holm's rule where p can't be small."""
    models = [Damaged(label=f"net_{index}", clean=90.0, losses={"fog": 8.0 * index + 4}) for index in range(9)]
    told = [one for one in findings(outcomes.corruptions(models), []) if not one.model]
    assert told
    assert {one.verdict for one in told} == {MODELS_DIFFER}


def test_five_units_in_order_of_depth_are_told_with_the_chance_of_that_order() -> None:
    model = Damaged(label="net", losses={(1, index): 30.0 - 5 * index for index in range(5)})
    (one,) = [one for one in findings(outcomes.lesions([model]), []) if "rank correlation" in one.text]
    assert "(rank correlation of the change with depth 1.0, p = 0.017, over 5 units)" in one.headline
