"""Families of a study's own claims: Holm's rule goes over those that name one family, and over nothing else."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claims.test_own import GELU, measures
from claims.test_verdict import CLEAR, stated, table
from visionscope.claims.families import check_families, families_of
from visionscope.claims.foreseen import foreseen
from visionscope.claims.own import claim_from
from visionscope.claims.registry import primary_claims
from visionscope.claims.verdict import INCONCLUSIVE, NOT_ASSESSABLE, REPLICATED, judge
from visionscope.errors import ConfigError
from visionscope.numerics.over_seeds import detectable, sign_flip

EIGHT = [3.0, 4.0, 5.0, 3.5, 4.5, 4.2, 3.8, 4.1]
ONE_AGAINST = [-0.1, *EIGHT[1:]]  # p = 4 / 2^8, and an interval beyond zero


def named(name, family, column):
    return stated(name=name, family=family, number_of=lambda one: one.number("training", column, "one"))


def judged(claims, **columns):
    frame = table(EIGHT).assign(**columns)
    return {one.claim: one for one in judge(claims, {"training": frame})}


def raised_slowly(chances):
    """Holm's rule by its definition: p of i is the largest of (number of p at least as large) p_j over p_j <= p_i."""
    return [
        max(min(1.0, sum(other >= p for other in chances) * p) for p in chances if p <= own) for own in chances
    ]  # fmt: skip


def test_four_claims_of_eight_seeds_pass_together_with_all_signs_alike():
    claims = [named(f"c{place}", "best_four", "x") for place in range(4)]
    found = judged(claims)
    assert {one.p_holm for one in found.values()} == {4 * 2 / 2**8}
    assert {one.verdict for one in found.values()} == {REPLICATED}
    assert {one.family for one in found.values()} == {"best_four"}


def test_a_claim_that_passes_alone_does_not_in_a_family_where_p_is_raised():
    alone = judged([named("a", "exploratory", "y")], y=ONE_AGAINST)["a"]
    assert (alone.verdict, alone.p_holm) == (REPLICATED, None)
    family = [named(f"c{place}", "best_four", "y") for place in range(4)]
    found = judged(family, y=ONE_AGAINST)
    assert {one.p_holm for one in found.values()} == {4 * 4 / 2**8}
    assert {one.verdict for one in found.values()} == {INCONCLUSIVE}


def test_families_and_exploratory_claims_leave_each_other_alone():
    claims = [
        named("a1", "a", "x"),
        named("a2", "a", "x"),
        named("b1", "b", "x"),
        named("b2", "b", "x"),
        named("b3", "b", "x"),
        named("free", "exploratory", "x"),
    ]
    found = judged(claims)
    assert [found[name].p_holm for name in ("a1", "b1")] == pytest.approx([2 * 2 / 2**8, 3 * 2 / 2**8])
    assert found["free"].p_holm is None


def test_one_that_can_not_be_assessed_counts_as_p_1_in_its_family():
    lacking = named("lacking", "a", "nowhere")
    found = judged([named("there", "a", "x"), lacking])
    assert found["lacking"].verdict == NOT_ASSESSABLE
    assert found["there"].p_holm == pytest.approx(2 * 2 / 2**8)


def test_too_few_seeds_for_a_family_are_told():
    found = judge([named(f"c{place}", "best_four", "x") for place in range(4)], {"training": table(CLEAR)})
    assert {one.verdict for one in found} == {INCONCLUSIVE}
    assert {one.note for one in found} == {"5 seeds can't reach p < 0.05 by Holm's rule over the family best_four"}


def test_the_primary_family_is_whole_whatever_a_study_adds():
    families = families_of([named("a", "mine", "x"), primary_claims()[0]])
    assert families["primary"] == primary_claims()
    assert [one.name for one in families["mine"]] == ["a"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(-9, 9), min_size=6, max_size=6), min_size=1, max_size=6), st.data())
def test_p_is_holms_of_the_claims_of_each_family(numbers, data):
    places = range(len(numbers))
    names = data.draw(st.lists(st.sampled_from(["a", "b", "exploratory"]), min_size=len(places), max_size=len(places)))
    columns = {f"x{place}": np.asarray(numbers[place]) + 0.5 for place in places}
    frame = table([0.0] * 6).assign(**columns)
    claims = [named(f"c{place}", names[place], f"x{place}") for place in places]
    found = judge(claims, {"training": frame})
    for family in ("a", "b"):
        own = [place for place in places if names[place] == family]
        expected = raised_slowly([sign_flip(list(columns[f"x{place}"])) for place in own])
        assert [found[place].p_holm for place in own] == pytest.approx(expected)
    assert all(found[place].p_holm is None for place in places if names[place] == "exploratory")


def test_the_plan_counts_the_claims_of_a_family():
    claims = [named(f"c{place}", "best_four", "x") for place in range(4)]
    (first, *_) = foreseen(claims, {"one": range(8)}, {})
    assert (first.comparisons, first.deviations) == (4, pytest.approx(detectable(8, comparisons=4)))
    assert first.deviations > detectable(8)
    (few, *_) = foreseen(claims, {"one": range(7)}, {})
    assert few.note == "7 seeds can't reach the family's p; 8 are needed"
    (alone,) = foreseen([stated()], {"one": range(8)}, {})
    assert alone.comparisons == 1


def test_a_study_names_a_family_in_its_own_claims():
    one = claim_from("gelu", {**GELU, "family": "activations"}, ["gelu", "relu"])
    two = claim_from("again", {**GELU, "family": "activations"}, ["gelu", "relu"])
    values = [10.0, 12.0, 11.0, 9.0, 10.0, 11.0]
    found = judge([one, two], measures(values, [value + 6 for value in values]))
    assert [verdict.p_holm for verdict in found] == pytest.approx([2 * 2 / 2**6] * 2)
    assert [verdict.verdict for verdict in found] == [INCONCLUSIVE] * 2
    assert claim_from("alone", GELU).family == "exploratory"


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("primary", "claims.gelu.family: 'primary' is that of the paper's claims; choose another name"),
        ("two words", "claims.gelu.family: must be a name, such as best_four; got 'two words'"),
        (4, "claims.gelu.family: must be a name, such as best_four; got 4"),
    ],
)
def test_what_is_no_name_of_a_family_is_refused_in_one_line(family, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        claim_from("gelu", {**GELU, "family": family})


def test_a_claim_alone_in_its_family_is_refused_since_its_name_may_be_mistyped():
    claims = [named("a", "best_four", "x"), named("b", "best_four", "x"), named("c", "best_for", "x")]
    told = "claims.c.family: must be shared by two claims or more; no other claim has 'best_for'. Did you mean"
    with pytest.raises(ConfigError, match=f"^{re.escape(told)} 'best_four'\\?$"):
        check_families(claims)
    with pytest.raises(ConfigError, match=r"'best_four'\. Leave it out, or name it in another claim$"):
        check_families(claims[:1])
    check_families([*claims[:2], named("free", "exploratory", "x"), *primary_claims()])
