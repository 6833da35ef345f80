import re

import pandas as pd
import pytest

from claims.worlds import world
from visionscope.claims.own import claim_from, claim_in
from visionscope.claims.registry import claim
from visionscope.claims.verdict import CONTRADICTED, NOT_ASSESSABLE, REPLICATED, judge
from visionscope.errors import ConfigError

GELU = {
    "text": "GELU makes the loss more convex than ReLU",
    "compare": ["gelu", "relu"],
    "measure": "hessian: NEP",
    "snapshot": "warmup",
    "direction": "lower",
    "smallest": 2,
}


def measures(gelu, relu, name="NEP"):
    rows = [
        {"variant": variant, "seed": seed, "snapshot": "warmup", "diagnostic": "hessian", "measure": name,
         "value": value, "unit": "%"}
        for variant, values in (("gelu", gelu), ("relu", relu))
        for seed, value in enumerate(values)
    ]  # fmt: skip
    return {"measures": pd.DataFrame(rows)}


def test_the_number_is_the_first_variants_measure_less_the_seconds():
    one = claim_from("gelu", GELU, ["gelu", "relu"])
    assert one.estimand(measures([10.0, 12.0], [15.0, 20.0])) == {0: -5.0, 1: -8.0}
    assert (one.direction, one.smallest, one.snapshot, one.family, one.number) == (-1, 2.0, "warmup", "exploratory", 0)
    assert (one.variants, one.diagnostics) == (("gelu", "relu"), ("hessian",))


def test_pairs_are_compared_by_their_relative_differences():
    """0.9 of the second's in the first pair, 0.8 in the other: 10 percentage points less is lost."""
    names = ("gelu", "relu", "wide_gelu", "wide_relu")
    rows = pd.concat(
        [measures([9.0, 6.0], [10.0, 4.0])["measures"], measures([80.0, 50.0], [100.0, 200.0])["measures"]]
    )
    rows["variant"] = [name for name in names for _ in range(2)]
    one = claim_from("more", {**GELU, "than": ["wide_gelu", "wide_relu"]}, names)
    assert one.estimand({"measures": rows}) == {0: pytest.approx(10.0), 1: pytest.approx(125.0)}
    assert (one.variants, one.unit) == (names, "percentage points")
    assert one.meaning == ("NEP (hessian) of gelu relative to relu, less that of wide_gelu relative to wide_relu")
    rows.loc[(rows["variant"] == "wide_relu") & (rows["seed"] == 1), "value"] = 0.0
    numbers, missing = one.measured({"measures": rows})
    assert list(numbers) == [0]
    assert missing[1] == "wide_relu: its NEP is 0, so nothing is relative to it"


def test_an_epoch_has_the_name_that_it_has_in_tables():
    one = claim_from("gelu", {**GELU, "snapshot": "epoch-3"}, ["gelu", "relu"])
    tables = {"measures": measures([10.0], [15.0])["measures"].assign(snapshot="epoch-0003")}
    assert (one.snapshot, one.estimand(tables)) == ("epoch-0003", {0: -5.0})


def test_its_verdict_has_the_unit_of_the_measure():
    one, values = claim_from("gelu", GELU), [10.0, 12.0, 11.0, 9.0, 10.0]
    (found,) = judge([one], measures(values, [value + 6 for value in values]))
    assert (found.verdict, found.unit, found.effect) == (REPLICATED, "percentage points", pytest.approx(-6.0))
    (found,) = judge([one], measures(values, [value - 6 for value in values]))
    assert found.verdict == CONTRADICTED
    (found,) = judge([claim_from("gelu", {**GELU, "direction": "higher"})], measures(values, [3.0] * 5))
    assert found.verdict == REPLICATED


def test_a_measure_that_the_diagnostic_does_not_have_is_named_with_the_nearest_one():
    one = claim_from("gelu", {**GELU, "measure": "hessian: NEPP"})
    (found,) = judge([one], measures([1.0] * 5, [2.0] * 5))
    assert found.verdict == NOT_ASSESSABLE
    assert found.missing.startswith("seeds 0, 1, 2, 3, 4: gelu: hessian has no measure 'NEPP'. Did you mean 'NEP'?")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"compare": ["gelu", "relo"]}, "claims.mine.compare: there is no variant 'relo'. Did you mean 'relu'?"),
        ({"compare": ["gelu", "gelu"]}, "claims.mine.compare: must be two different variants; got 'gelu' twice"),
        ({"compare": ["gelu"]}, "claims.mine.compare: must be"),
        ({"than": ["gelu"]}, "claims.mine.than: must be two variants, as compare is; got gelu"),
        ({"than": ["relu", "relu"]}, "claims.mine.than: must be two different variants; got 'relu' twice"),
        ({"than": ["gelu", "relu"]}, "claims.mine.than: must be another pair than compare; got gelu, relu in both"),
        ({"than": ["gelu", "rel"]}, "claims.mine.than: there is no variant 'rel'. Did you mean 'relu'?"),
        ({"measure": "hesian: NEP"}, "claims.mine.measure: there is no diagnostic 'hesian'. Did you mean 'hessian'?"),
        ({"measure": "NEP"}, "claims.mine.measure: must be DIAGNOSTIC: MEASURE, such as 'hessian: NEP'; got 'NEP'"),
        (
            {"direction": "lowr"},
            "claims.mine.direction: must be one of higher, lower; got 'lowr'. Did you mean 'lower'?",
        ),
        ({"smallest": 0}, "claims.mine.smallest: must be a number above 0; got 0"),
        ({"smallest": "two"}, "claims.mine.smallest: must be a number above 0; got 'two'"),
        ({"text": ""}, "claims.mine.text: must be text that is not empty; got ''"),
        (
            {"snapshot": "lats"},
            "claims.mine.snapshot: a snapshot must be init, warmup, last or an epoch such as epoch-5; got 'lats'. Did "
            "you mean 'last'?",
        ),
        ({"snapshots": "last"}, "claims.mine: there is no key 'snapshots'. Did you mean 'snapshot'?"),
    ],
)
def test_what_breaks_its_rule_is_refused_in_one_line(change, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}") as raised:
        claim_from("mine", {**GELU, **change}, ["gelu", "relu"])
    assert "\n" not in str(raised.value)


def test_a_key_that_is_missing_is_named():
    with pytest.raises(ConfigError, match=r"^claims\.mine\.smallest: is missing$"):
        claim_from("mine", {key: value for key, value in GELU.items() if key != "smallest"})


def test_what_is_no_mapping_is_refused():
    with pytest.raises(ConfigError, match=r"^claims\.mine: must have the keys text, compare, .*; got 'GELU is best'$"):
        claim_from("mine", "GELU is best")


def test_names_of_the_papers_claims_are_taken():
    with pytest.raises(ConfigError, match="claims: 'noise' is the name of one of the paper's claims; choose another"):
        claim_from("noise", GELU)


def test_a_claim_of_the_paper_is_made_of_the_variants_that_stand_for_its_own():
    tables = {
        name: frame.assign(variant=frame["variant"].replace({"vit": "mine", "resnet": "vit"}))
        for name, frame in world(holds=True, seeds=(0, 1)).items()
        if "variant" in frame
    }
    one = claim_in("vit_negative", {"roles": {"vit": "mine", "resnet": "vit"}}, ["mine", "vit"])
    assert one.variants == ("mine", "vit")
    assert (claim("vit_negative").family, one.family) == ("primary", "exploratory")
    found = claim("vit_negative").estimand(world(holds=True, seeds=(0, 1)))
    assert one.estimand(tables) == found
    assert found[0] > 0
    swapped = claim_in("vit_negative", {"roles": {"vit": "vit", "resnet": "mine"}}, ["mine", "vit"])
    assert swapped.estimand(tables)[0] == -found[0]
    without = {name: frame[frame["variant"] != "mine"] for name, frame in tables.items()}
    assert one.measured(without)[0] == {}


def test_a_role_without_rows_is_told_by_the_studys_name():
    tables = world(holds=True, seeds=(0,))
    named = {name: frame.replace({"variant": {"vit": "mine"}}) for name, frame in tables.items()}
    for name in ("hessian", "hessian_summary"):
        named[name] = named[name][named[name]["variant"] != "mine"]
    one = claim_in("vit_negative", {"roles": {"vit": "mine"}}, ["mine", "resnet"])
    numbers, missing = one.measured(named)
    assert numbers == {}
    assert missing[0].startswith("mine: no hessian")


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"vitt": "mine"}, "claims.vit_negative.roles: the claim has no variant 'vitt'. Did you mean 'vit'?"),
        ({"vit": "mien"}, "claims.vit_negative.roles.vit: there is no variant 'mien'. Did you mean 'mine'?"),
        ({"vit": "resnet"}, "claims.vit_negative.roles: each variant must stand for one; got resnet, resnet"),
        ({}, "claims.vit_negative.roles: must say which variant stands for which, such as {vit: my_vit}; got {}"),
        ("vit", "claims.vit_negative.roles: must say which variant stands for which, such as {vit: my_vit}; got 'vit'"),
    ],
)
def test_roles_that_break_their_rule_are_refused_in_one_line(roles, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        claim_in("vit_negative", {"roles": roles}, ["mine", "resnet"])


def test_only_the_papers_claims_have_roles():
    with pytest.raises(ConfigError, match=r"^claims: there is no claim 'vit_negativ'\. Did you mean 'vit_negative'\?$"):
        claim_in("vit_negativ", {"roles": {"vit": "mine"}}, ["mine"])
