"""Claims over networks: which networks count, both intervals, and the verdict that follows the more cautious one."""

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from claims.worlds import world
from claims.zoo import ATTENTION, CONVOLUTION, labelled, zoo
from visionscope.claims.networks import network_claim, network_claims
from visionscope.claims.one_seed import OneSeed
from visionscope.claims.over_networks import FEWEST_FAMILIES, Measured, NetworkVerdict, judge_networks, measure_networks
from visionscope.claims.registry import claim
from visionscope.errors import ConfigError
from visionscope.numerics.over_seeds import t_interval
from visionscope.numerics.unpaired import welch_interval

SPREAD = (0.03, 0.05, 0.04, 0.06, 0.05, 0.07)


def judged(name: str, tables: dict[str, pd.DataFrame]) -> NetworkVerdict:
    (verdict,) = judge_networks([network_claim(name)], tables)
    return verdict


def families(*means: float, each: int = 2) -> dict[str, list[float]]:
    return {f"F{place}": [mean + 0.002 * number for number in range(each)] for place, mean in enumerate(means)}


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        (SPREAD, "replicated"),
        ([-one for one in SPREAD], "contradicted"),
        ([0.1 * (one - 0.05) for one in SPREAD], "no effect"),
        ((-0.4, 0.5, -0.3, 0.6, 0.1, -0.2), "inconclusive"),
        (SPREAD[: FEWEST_FAMILIES - 1], "not assessable"),
    ],
)
def test_verdicts_follow_the_table(means: list[float], verdict: str) -> None:
    found = judged("vit_fourier", zoo(families(*means)))
    assert found.verdict == verdict
    assert (found.n, found.n_families, found.n_against) == (2 * len(means), len(means), 0)
    assert found.effect == pytest.approx(np.mean(means) + 0.001)
    assert (found.low, found.high) == pytest.approx(t_interval([m + 0.002 * k for m in means for k in (0, 1)]))
    assert (found.family_low, found.family_high) == pytest.approx(t_interval([m + 0.001 for m in means]))
    assert found.family == "exploratory"
    assert len(found.sentence.split()) <= 25


def test_one_large_family_does_not_replicate_alone() -> None:
    """Twenty networks of one family raise the mean over networks beyond zero, four others do not follow."""
    effects = {"Large": [0.05 + 0.0001 * n for n in range(20)]} | families(-0.03, 0.02, -0.04, 0.03, each=1)
    found = judged("vit_fourier", zoo(effects))
    assert found.low is not None
    assert found.family_low is not None
    assert found.low > 0 > found.family_low
    assert found.verdict == "inconclusive"


def test_many_networks_of_few_families_are_not_assessable_and_shown() -> None:
    found = judged("vit_fourier", zoo(families(0.04, 0.05, each=10)))
    assert (found.verdict, found.note) == (
        "not assessable",
        "2 families of the 5 needed (with attention and MLPs)",
    )
    assert found.low is not None
    assert found.sentence.endswith("not assessable, 20 networks, 2 families.")


def test_only_networks_of_the_kind_count() -> None:
    attention, convolution = zoo(families(*SPREAD)), zoo({"C": [0.3, 0.4]}, kinds=CONVOLUTION)
    both = {name: pd.concat([attention[name], convolution[name]]) for name in attention}
    assert judged("vit_fourier", both).n == 12
    assert judged("conv_fourier", both).n == 2
    assert judged("conv_fourier", both).effect == pytest.approx(0.35)


def test_what_a_network_lacks_costs_it_alone_and_is_told() -> None:
    tables = zoo(families(*SPREAD))
    rows = tables["fourier"]
    tables["fourier"] = rows[~((rows["network"] == "F1-0") & (rows["kind"] == "mlp"))]
    found = judged("vit_fourier", tables)
    assert found.n == 11
    assert found.missing == "F1-0: no fourier"
    tables["failures"] = pd.DataFrame(
        [{"variant": "F2-1", "seed": 0, "snapshot": "last", "diagnostic": "fourier", "reason": "part 0: it broke"}]
    )
    tables["fourier"] = tables["fourier"][tables["fourier"]["network"] != "F2-1"]
    assert judged("vit_fourier", tables).missing.endswith("F2-1: part 0: it broke")


@pytest.mark.parametrize("name", ["vit_fourier", "conv_fourier", "vit_variance", "conv_variance", "variance_peaks"])
def test_a_network_has_the_number_that_its_variant_has(name: str) -> None:
    """The paper's claim, of one training, and the claim over networks agree on the same rows."""
    tables, one = world(holds=True, seeds=[0]), network_claim(name)
    expected = claim(name).number_of(OneSeed(tables, 0))
    (variant,) = claim(name).variants
    renamed = {name: rows[rows["variant"] == variant].assign(variant="net") for name, rows in tables.items()}
    kinds = ("msa", "mlp") if variant == "vit" else ("conv",)
    renamed["points"] = pd.DataFrame([{"network": "net", "kind": k, "stage": s} for k in kinds for s in (1, 2)])
    renamed["networks"] = pd.DataFrame([{"network": "net", "family": "F"}])
    assert measure_networks(one, one.kind, renamed).values == {"net": (pytest.approx(expected),)}


def noisy(count: int, *, convolution: tuple[float, float], attention: tuple[float, float]) -> dict[str, pd.DataFrame]:
    random = np.random.default_rng(3)
    rows, kinds = {}, {}
    for kind, means in ((CONVOLUTION, convolution), (ATTENTION, attention)):
        for place in range(count):
            name = f"{kind[0]}{place}"
            rows[name] = tuple(mean + random.normal() for mean in means)
            kinds[name] = kind
    return labelled(rows, kinds)


def test_two_kinds_are_compared_as_welch_does() -> None:
    tables = noisy(6, convolution=(10, 50), attention=(30, 40))
    found, one = judged("noise", tables), network_claim("noise")
    assert one.against is not None
    conv, attention = (measure_networks(one, kind, tables).by_network for kind in (one.kind, one.against))
    ends = []
    for half in (0, 1):
        told = stats.ttest_ind(conv[:, half], attention[:, half], equal_var=False).confidence_interval()
        ends.append((told.low, told.high))
    assert found.verdict == "replicated"
    assert (found.low, found.high) == pytest.approx(tuple(map(min, zip(*ends, strict=True))))
    assert (found.n, found.n_against, found.n_families, found.n_families_against) == (12, 6, 12, 6)
    assert found.effect == pytest.approx(min((conv - attention).mean(axis=0)))


def test_one_half_that_fails_contradicts_and_one_without_effect_does_not_replicate() -> None:
    assert judged("noise", noisy(6, convolution=(40, 50), attention=(20, 30))).verdict == "contradicted"
    assert judged("noise", noisy(6, convolution=(20, 50), attention=(20, 30))).verdict in ("no effect", "inconclusive")
    assert judged("noise", noisy(4, convolution=(10, 50), attention=(30, 40))).verdict == "not assessable"


def test_networks_at_chance_are_left_out() -> None:
    tables = noisy(6, convolution=(10, 50), attention=(30, 40))
    rows = tables["frequency_noise_summary"]
    rows.loc[rows["network"] == "conv1", ["accuracy", "change"]] = [0.105, 0.0]
    found = judged("noise", tables)
    assert found.n == 11
    assert found.missing == "conv1: its accuracy, 10.5 %, is not above chance, 10 %"


def test_the_interval_over_families_covers_and_that_over_networks_does_not() -> None:
    """Six families of 2 to 12 networks; effects of families and of networks in them are equally large."""
    random, sizes, rounds = np.random.default_rng(0), (2, 2, 3, 4, 7, 12), 1000
    covered = np.zeros(2)
    for _ in range(rounds):
        own = {family: random.normal() + random.normal(size=size) for family, size in enumerate(sizes)}
        numbers = {f"{family}-{place}": (value,) for family, all in own.items() for place, value in enumerate(all)}
        measured = Measured(numbers, {name: name[0] for name in numbers}, {})
        for place, values in enumerate((measured.by_network, measured.by_family)):
            low, high = t_interval(values[:, 0].tolist())
            covered[place] += low <= 0 <= high
    assert 0.93 <= covered[1] / rounds <= 0.97
    assert covered[0] / rounds < 0.8


@pytest.mark.parametrize("sizes", [(5, 5), (3, 12)])
def test_welch_is_scipys(sizes: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    first, second = random.normal(1, 1, sizes[0]), random.normal(0, 4, sizes[1])
    told = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    assert welch_interval(first.tolist(), second.tolist()) == pytest.approx((told.low, told.high))


def test_welch_of_groups_without_spread_is_the_difference() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert welch_interval([2, 2], [1, 1, 1]) == (1, 1)


@pytest.mark.parametrize(
    ("first", "message"),
    [([1], "first: must be at least 2 numbers; got 1"), ([1, np.nan], "first: must be finite; got nan")],
)
def test_welch_refuses_what_has_no_interval(first: list[float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        welch_interval(first, [1, 2])


def test_the_smaller_of_two_halves_needs_claims_that_hold_above_zero() -> None:
    assert {one.claim.direction for one in network_claims()} == {1}
    assert len(network_claims()) == 9
    for one in network_claims():
        assert (
            len(f"{one.text}: inconclusive (+0.01, interval -0.001 to +0.002, 20 networks, 6 families).".split()) <= 25
        )


def test_an_unknown_claim_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no claim 'vit_fourie' over networks\. Did you mean 'vit_fourier'"):
        network_claim("vit_fourie")


def test_columns_of_verdicts_say_what_they_mean() -> None:
    assert all(field.metadata for field in dataclasses.fields(NetworkVerdict))
