"""Scores of trainings as measures, which a study's own claim compares."""

import re

import pandas as pd
import pytest

from visionscope.claims.own import claim_from
from visionscope.claims.scores import with_scores
from visionscope.claims.verdict import REPLICATED, judge
from visionscope.errors import ConfigError

WINS = {
    "text": "The one is right more often than the other",
    "compare": ["one", "other"],
    "measure": "training: accuracy",
    "direction": "higher",
    "smallest": 0.5,
}


def trained(one, other):
    rows = [
        {"variant": name, "seed": seed, "snapshot": "last", "top_1": value, "nll": 1 - value}
        for name, values in (("one", one), ("other", other))
        for seed, value in enumerate(values)
    ]
    return {"training": pd.DataFrame(rows)}


def test_accuracy_is_compared_in_percentage_points_and_nll_in_nat():
    tables = with_scores(trained([0.61, 0.62, 0.63, 0.62, 0.60], [0.59, 0.60, 0.60, 0.61, 0.58]))
    one = claim_from("wins", WINS, ["one", "other"])
    assert one.estimand(tables) == pytest.approx({0: 2.0, 1: 2.0, 2: 3.0, 3: 1.0, 4: 2.0})
    (found,) = judge([one], tables)
    assert (found.verdict, found.unit, found.effect) == (REPLICATED, "percentage points", pytest.approx(2.0))
    assert one.diagnostics == ()
    (lower,) = judge([claim_from("nll", {**WINS, "measure": "training: NLL", "direction": "lower"})], tables)
    assert (lower.effect, lower.unit) == (pytest.approx(-0.02), "nat")


def test_other_measures_stay_and_tables_without_trainings_are_left_alone():
    measures = pd.DataFrame([{"variant": "one", "seed": 0, "diagnostic": "lesion", "measure": "x", "value": 1.0}])
    found = with_scores({**trained([0.6], [0.5]), "measures": measures})["measures"]
    assert list(found["diagnostic"]) == ["lesion"] + ["training"] * 4
    assert with_scores({"measures": measures})["measures"] is measures
    assert with_scores({}) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"measure": "training: acuracy"},
            "claims.wins.measure: training has no measure 'acuracy'. Did you mean 'accuracy'?",
        ),
        ({"snapshot": "warmup"}, "claims.wins.snapshot: a training is scored at last alone; got 'warmup'"),
    ],
)
def test_what_a_training_does_not_have_is_refused_in_one_line(change, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        claim_from("wins", {**WINS, **change})
