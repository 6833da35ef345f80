"""The rule, on tables built to replicate, contradict, show nothing, be too noisy and be too few."""

import dataclasses
import functools
import math

import numpy as np
import pandas as pd
import pytest

from claims.worlds import world
from reference.plain_words import MOST_WORDS
from visionscope.claims.claim import Beside, Claim
from visionscope.claims.published import Published
from visionscope.claims.registry import claim, paper_claims, primary_claims
from visionscope.claims.verdict import (
    CONTRADICTED,
    INCONCLUSIVE,
    NO_EFFECT,
    NOT_ASSESSABLE,
    REPLICATED,
    VERDICTS,
    Verdict,
    judge,
    ruled,
)
from visionscope.core.table import schema_of, to_table
from visionscope.numerics.over_seeds import sign_flip, t_interval
from visionscope.numerics.paired import holm

CLEAR = [3.0, 4.0, 5.0, 3.5, 4.5]
WIDE = [9.0, -7.0, 5.0, -6.0, 4.0]
NOTHING = [0.3, -0.2, 0.1, -0.3, 0.2]


def stated(**more):
    given = {
        "name": "stated", "number": 0, "family": "exploratory", "text": "One is more than the other", "source": "",
        "figure": "", "variants": ("one",), "diagnostics": (),
        "number_of": lambda one: one.number("training", "x", "one"),
        "meaning": "", "unit": "points", "direction": 1, "smallest": 1.0, "reason": "",
    }  # fmt: skip
    return Claim(**{**given, **more})


@functools.cache
def in_world(holds, seeds=9):
    """Verdicts on all claims of the paper, which several tests look at."""
    return judge(paper_claims(), world(holds=holds, seeds=range(seeds)))


def table(values, seeds=None):
    seeds = range(len(values)) if seeds is None else seeds
    return pd.DataFrame({"variant": "one", "seed": list(seeds), "snapshot": "last", "x": values})


def judged(values, *, tables=None, paper_data="", **more) -> Verdict:
    return judge([stated(**more)], {"training": table(values), **(tables or {})}, paper_data=paper_data)[0]


def test_replicated():
    found = judged(CLEAR)
    assert found.verdict == REPLICATED
    assert found.effect == pytest.approx(4.0)
    assert (found.low, found.high) == pytest.approx(t_interval(CLEAR))
    assert found.low < found.bca_low < 4.0 < found.bca_high < found.high
    assert found.p == pytest.approx(2 / 2**5)
    assert found.p_holm is None
    assert found.n == 5


def test_contradicted_is_the_same_on_the_other_side():
    assert judged([-one for one in CLEAR]).verdict == CONTRADICTED
    assert judged(CLEAR, direction=-1).verdict == CONTRADICTED
    assert judged([-one for one in CLEAR], direction=-1).verdict == REPLICATED


def test_nothing_to_be_seen_is_no_effect_and_noise_is_inconclusive():
    assert judged(NOTHING).verdict == NO_EFFECT
    assert judged(WIDE).verdict == INCONCLUSIVE


def test_four_seeds_are_too_few_whatever_they_say():
    found = judged(CLEAR[:4])
    assert found.verdict == NOT_ASSESSABLE
    assert found.note == "4 of the 5 seeds needed"
    assert (found.n, found.p) == (4, None)
    assert judged(NOTHING[:4]).verdict == NOT_ASSESSABLE


def test_a_clear_effect_smaller_than_what_matters_is_no_effect():
    """The order of the rule: no effect comes before replicated."""
    assert judged([0.5, 0.52, 0.48, 0.51, 0.49]).verdict == NO_EFFECT
    assert judged([0.5, 0.52, 0.48, 0.51, 0.49], smallest=0.4).verdict == REPLICATED


def test_verdicts_stand_in_the_order_in_which_they_are_tried():
    assert VERDICTS == ("not assessable", "no effect", "replicated", "contradicted", "inconclusive")


@pytest.mark.parametrize(
    ("interval", "direction", "p_holm", "expected"),
    [
        ((-0.9, 0.9), 1, 0.001, NO_EFFECT),
        ((0.1, 0.9), 1, 0.001, NO_EFFECT),
        ((-1.0, 0.9), 1, None, INCONCLUSIVE),  # the edge itself still matters
        ((0.1, 1.0), 1, None, REPLICATED),
        ((0.1, 2.0), -1, None, CONTRADICTED),
        ((-2.0, -0.1), -1, None, REPLICATED),
        ((-2.0, -0.1), 1, None, CONTRADICTED),
        ((0.0, 2.0), 1, None, INCONCLUSIVE),
        ((0.1, 2.0), 1, 0.049, REPLICATED),
        ((0.1, 2.0), 1, 0.05, INCONCLUSIVE),
        ((-2.0, -0.1), 1, 0.05, INCONCLUSIVE),
        ((-2.0, -0.1), 1, 0.03, CONTRADICTED),
    ],
)
def test_the_rule_case_by_case(interval, direction, p_holm, expected):
    assert ruled(interval, direction, 1.0, p_holm) == expected


@pytest.mark.parametrize(("holds", "expected"), [(True, REPLICATED), (False, CONTRADICTED)])
def test_every_claim_is_replicated_where_it_holds_and_contradicted_where_it_does_not(holds, expected):
    verdicts = in_world(holds)
    assert {one.claim: one.verdict for one in verdicts} == {one.name: expected for one in paper_claims()}
    assert {one.n for one in verdicts} == {9}
    assert [one.p_holm for one in verdicts] == [pytest.approx(8 * 2 / 512)] * 8 + [None] * 17


def test_a_primary_claim_of_eight_seeds_is_not_replicated_however_clear():
    found = in_world(True, seeds=8)[:8]
    assert {one.verdict for one in found} == {INCONCLUSIVE}
    assert {one.p_holm for one in found} == {8 * 2 / 2**8}
    assert {one.note for one in found} == {"8 seeds can't reach p < 0.05 by Holm's rule over the primary claims"}


def test_holms_family_is_all_eight_whichever_are_asked_for():
    alone = judge([claim("noise")], world(holds=True))
    assert alone == in_world(True)[5:6]
    assert alone[0].p_holm == pytest.approx(8 * 2 / 2**9)


def test_a_claim_that_can_not_be_assessed_counts_as_p_1_in_holms_family():
    """One seed of nine against it: p = 20/512, which is too much whether it is multiplied by 8 or by 7."""
    tables = world(holds=True)
    del tables["fourier"]
    found = {one.claim: one for one in judge(primary_claims(), tables)}
    assert found["vit_fourier"].verdict == NOT_ASSESSABLE
    assert found["vit_fourier"].p_holm is None
    assert found["vit_fourier"].note == "0 of the 5 seeds needed"
    assert found["vit_fourier"].missing == "seeds 0, 1, 2, 3, 4, 5, 6, 7, 8: vit: no table 'fourier'"
    assert found["noise"].p_holm == pytest.approx(8 * 2 / 512)
    assert found["noise"].verdict == REPLICATED


def test_what_was_not_run_is_named():
    tables = world(holds=True)
    tables["training"] = tables["training"][tables["training"]["variant"] != "cnn_macs"]
    found = judge([claim("alternet_wins"), claim("attention_helps")], tables)
    assert (found[0].verdict, found[0].note, found[0].missing) == (NOT_ASSESSABLE, "not run: cnn_macs", "")
    assert found[1].verdict == REPLICATED


def test_nothing_run_at_all():
    found = judge(paper_claims(), {})
    assert {one.verdict for one in found} == {NOT_ASSESSABLE}
    assert found[0].note == "not run: vit, resnet"
    assert found[0].effect is None


def test_a_training_that_failed_is_named_and_the_others_go_on():
    failed = pd.DataFrame(
        [
            {
                "variant": "one",
                "seed": 2,
                "snapshot": "last",
                "diagnostic": "",
                "reason": "the loss became NaN in epoch 3",
            }
        ]
    )
    found = judge([stated()], {"training": table([*CLEAR], seeds=[0, 1, 3, 4, 5]), "failures": failed})[0]
    assert found.verdict == REPLICATED
    assert found.n == 5
    assert found.missing == "seed 2: one: the loss became NaN in epoch 3"


def test_a_second_number_is_told_beside_and_decides_nothing():
    slope = Beside(
        name="slope",
        number_of=lambda one: one.number("training", "s", "one"),
        meaning="",
        unit="points per nat",
        published=Published(39.5, "CIFAR-10", ""),
    )

    def with_slopes(slopes):
        return judge([stated(beside=slope)], {"training": table(CLEAR[: len(slopes)]).assign(s=slopes)})[0]

    plain, found = judged(CLEAR), with_slopes([30.0, 40.0, 50.0, 40.0, 40.0])
    # Student's t of 4: 2.776 * sqrt(200 / 4 / 5) = 8.78
    assert found.beside == "slope 40 (31.2 to 48.8) points per nat; published: 39.5 (CIFAR-10)"
    assert dataclasses.replace(found, beside="") == plain
    assert with_slopes([30.0, math.nan, 50.0, 40.0, 40.0]).beside.startswith("slope 40 (27 to 53) ")
    assert with_slopes([30.0]).beside == "slope 30 points per nat; published: 39.5 (CIFAR-10)"
    assert with_slopes([math.nan] * 5).beside == plain.beside == ""


def test_a_diagnostic_that_failed_at_the_snapshot_is_told_and_one_at_another_is_not():
    failed = pd.DataFrame(
        [
            {"variant": "one", "seed": 0, "snapshot": "init", "diagnostic": "variance", "reason": "of the start"},
            {"variant": "one", "seed": 1, "snapshot": "last", "diagnostic": "lesion", "reason": "of another question"},
            {"variant": "one", "seed": 1, "snapshot": "last", "diagnostic": "variance", "reason": "no memory"},
            {"variant": "one", "seed": 2, "snapshot": "last", "diagnostic": "", "reason": "killed"},
            {"variant": "one", "seed": 2, "snapshot": "last", "diagnostic": "variance", "reason": "follows from it"},
            {"variant": "two", "seed": 3, "snapshot": "last", "diagnostic": "", "reason": "another one's"},
        ]
    )
    one = stated(number_of=lambda one: one.number("variance", "x", "one"))
    tables = {"variance": table(CLEAR, seeds=range(4, 9)), "failures": failed}
    assert judge([one], tables)[0].missing == (
        "seed 0: one: no variance at last; seed 1: one: no memory; seed 2: one: killed"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, None])
def test_a_number_that_is_not_finite_counts_as_missing(value):
    found = judged([*CLEAR, value])
    assert (found.n, found.verdict) == (5, REPLICATED)
    assert found.missing == "seed 5: one: x is not finite"


def test_tables_of_another_shape_cost_their_claim_alone():
    wrong = stated(name="wrong", number_of=lambda one: one.number("training", "y", "one"))
    found = judge([wrong, stated()], {"training": table(CLEAR)})
    assert found[0].verdict == NOT_ASSESSABLE
    assert "a table lacks the column 'y'" in found[0].note
    assert found[1].verdict == REPLICATED


def test_two_rows_of_one_seed_are_refused():
    found = judged([*CLEAR, 4.0], tables={"training": table([*CLEAR, 4.0], seeds=[0, 1, 2, 3, 4, 4])})
    assert found.verdict == NOT_ASSESSABLE
    assert "the table 'training' must have one row of one, seed 4; got 2" in found.note


def test_the_prediction_interval_is_told_at_equal_data_alone():
    published = Published(4.2, "CIFAR-100", "Fig. 1")
    assert judged(CLEAR, published=published).note == ""
    assert judged(CLEAR, published=published, paper_data="CIFAR-10").note == ""
    told = judged(CLEAR, published=published, paper_data="CIFAR-100")
    assert told.note == "the published value lies in our prediction interval, 1.6 to 6.4"
    assert (told.published, told.published_data) == (4.2, "CIFAR-100")
    outside = judged(CLEAR, published=Published(7.0, "CIFAR-100", ""), paper_data="CIFAR-100")
    assert outside.note.startswith("the published value lies outside our prediction interval")


def test_verdicts_become_a_table_whose_columns_are_told():
    assert to_table(Verdict, in_world(True)).num_rows == 25
    assert all(field.metadata[b"meaning"] for field in schema_of(Verdict))


@pytest.mark.parametrize("holds", [True, False])
def test_sentences_are_short_and_end(holds):
    lacking = world(holds=holds, seeds=[0])
    for one in (
        *judge(paper_claims(), world(holds=holds)),
        *judge(paper_claims(), lacking),
        *judge(paper_claims(), {}),
    ):
        assert len(one.sentence.split()) <= MOST_WORDS, one.sentence
        assert one.sentence.endswith(".")
        assert one.verdict in one.sentence


def test_a_sentence_word_by_word():
    told = "One is more than the other: replicated (+4 points, interval +3.02 to +4.98, 5 seeds)."
    assert judged(CLEAR).sentence == told
    longer = "One is more than the other: replicated (+4, interval +3.02 to +4.98, 5 seeds)."
    assert judged(CLEAR, unit="points per doubling").sentence == longer
    assert judged(CLEAR[:1]).sentence == "One is more than the other: not assessable, 1 seed."


def test_a_false_verdict_in_the_primary_family_is_rare():
    """4,000 families of 8 claims of 9 seeds without any effect: Monte Carlo error sqrt(0.031 * 0.969 / 4,000) = 0.003.

    Where no number has a side, one of 8 is by chance all on one side with 1 - (1 - 2/512)^8 = 0.0308, and an interval
    beyond zero goes with it nearly always.
    """
    random = np.random.default_rng(0)
    flips = 1 - 2 * (np.arange(512)[:, None] >> np.arange(9) & 1)
    false = 0
    for _ in range(4_000):
        drawn = random.normal(0, 1, (8, 9))
        chances = (np.abs(flips @ drawn.T) >= np.abs(drawn.sum(1)) - 1e-9).mean(0)
        raised = holm(chances.tolist())
        false += any(
            ruled(t_interval(values), 1, 0.01, p) in (REPLICATED, CONTRADICTED)
            for values, p in zip(drawn, raised, strict=True)
            if p < 0.05
        )
    assert chances[0] == pytest.approx(sign_flip(drawn[0]))
    assert false / 4_000 == pytest.approx(0.0308, abs=3 * 0.003)


def test_a_false_verdict_on_an_exploratory_claim_is_one_in_twenty():
    """10,000 claims of 5 seeds without effect: Monte Carlo error sqrt(0.05 * 0.95 / 10,000) = 0.0022."""
    drawn = np.random.default_rng(1).normal(0, 1, (10_000, 5))
    false = np.mean([ruled(t_interval(values), 1, 0.01, None) in (REPLICATED, CONTRADICTED) for values in drawn])
    assert false == pytest.approx(0.05, abs=3 * 0.0022)
