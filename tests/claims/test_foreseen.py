import pandas as pd
import pytest

from claims.test_verdict import stated, table
from claims.worlds import world
from visionscope.claims.foreseen import Foreseen, foreseen
from visionscope.claims.registry import claim, paper_claims
from visionscope.core.table import to_table
from visionscope.numerics.over_seeds import detectable

BEFORE: dict[str, pd.DataFrame] = {}


def test_before_anything_ran_the_effect_is_told_in_deviations():
    (found,) = foreseen([stated()], {"one": range(5)}, BEFORE)
    assert found.deviations == pytest.approx(detectable(5))
    assert (found.n, found.effect, found.note) == (5, None, "")


def test_with_three_seeds_it_is_told_in_the_claims_unit():
    (found,) = foreseen([stated()], {"one": range(5)}, {"training": table([1.0, 2.0, 3.0])})
    assert found.effect == pytest.approx(detectable(5) * 1.0)
    (found,) = foreseen([stated()], {"one": range(5)}, {"training": table([1.0, 2.0])})
    assert found.effect is None


def test_seeds_are_those_that_all_variants_have():
    seeds = {"vit": range(9), "resnet": [0, 2, 4, 6, 8, 10]}
    (found,) = foreseen([claim("vit_flatter")], seeds, BEFORE)
    assert (found.n, found.deviations) == (5, pytest.approx(detectable(5)))


def test_a_primary_claim_needs_nine_seeds():
    (nine,) = foreseen([claim("vit_negative")], {"vit": range(9), "resnet": range(9)}, BEFORE)
    assert nine.deviations == pytest.approx(detectable(9, comparisons=8))
    (eight,) = foreseen([claim("vit_negative")], {"vit": range(9), "resnet": range(8)}, BEFORE)
    assert eight.deviations is None
    assert eight.note == "8 seeds can't reach the family's p; 9 are needed"


def test_what_stands_in_the_way_is_told():
    (few,) = foreseen([stated()], {"one": [0]}, BEFORE)
    assert (few.note, few.deviations) == ("1 seed, 5 are needed", None)
    (lacking,) = foreseen([claim("vit_negative")], {"vit": range(9)}, BEFORE)
    assert (lacking.note, lacking.n) == ("the study has no resnet", 0)


def test_all_claims_are_foreseen_as_a_table():
    seeds = {variant: range(9) for one in paper_claims() for variant in one.variants}
    rows = foreseen(paper_claims(), seeds, world(holds=True))
    assert to_table(Foreseen, rows).num_rows == 25
    assert [one.effect for one in rows] == pytest.approx([0.0] * 25, abs=1e-9)
