"""Every claim of the paper, on tables where it holds and where it does not, with numbers computed by hand."""

import json
import math
from importlib.resources import files

import numpy as np
import pytest
from scipy.stats import linregress, spearmanr

from claims.worlds import world
from visionscope.claims.one_seed import MissingError, OneSeed
from visionscope.claims.published import figure
from visionscope.claims.registry import claim, paper_claims, primary_claims
from visionscope.core.registry import diagnostic_names
from visionscope.errors import ConfigError

HALF, HEADS = math.log(0.5), math.log2(6) / 2  # log2 of 1, 2, 3 and 6 lies around log2(6) / 2
BY_HAND = {
    "vit_negative": 28,
    "gap_negative": -10,
    "fractions_fit": 1,
    "vit_fourier": 0.1,  # MLPs raise by 0.2
    "vit_variance": math.log(1 / 0.8),  # MLPs raise by log(1.5)
    "noise": 20,  # high: 30/60 - 5/50 = 40 %; low: 15/50 - 6/60 = 20 %
    "early_removals": (8 + 6 + 10) / 3,
    "alternet_wins": 2,
    "vit_flatter": math.log(0.4),
    "less_data_negative": 15,
    "local_attention": -10,
    "models_fit": 1,
    "conv_fourier": 0.3,
    "conv_variance": (math.log(2) + math.log(4)) / 2,
    "variance_peaks": math.log(2),  # falls to 1.25 and to 1; the rises are a third larger
    "cka_blocks": (0.4 + 0.3) / 2 - 0.1,
    "attention_late": 16,  # (8 - 2) - (10 - 20)
    "attention_helps": 4,
    "alternet_eigenvalues": -25,
    "strong_confidence": -9,  # plain networks are over-confident by 4
    "strong_flatter": HALF,
    "strong_negative": 10,
    "heads_flatter": -1,
    "heads_convex": -(7.5 * HEADS + 2.5 * (HEADS - 1)) / (HEADS**2 + (HEADS - 1) ** 2),
    "larger_flatter": HALF,
}
NAMES = [one.name for one in paper_claims()]


def test_claims_are_numbered_and_the_eight_primary_ones_come_first():
    assert [one.number for one in paper_claims()] == list(range(1, len(BY_HAND) + 1))
    assert list(BY_HAND) == NAMES
    assert [one.family for one in paper_claims()] == ["primary"] * 8 + ["exploratory"] * 17
    assert primary_claims() == paper_claims()[:8]


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_says_what_it_is(name):
    one = claim(name)
    assert one.name == name
    assert one.smallest > 0
    assert one.unit
    assert one.variants
    assert set(one.diagnostics) <= set(diagnostic_names())
    assert one.source.startswith("Fig.")
    assert one.meaning
    assert one.reason.endswith(".")
    assert one.reason.count(". ") == 0
    assert not one.text.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_a_claim_by_hand(name):
    found = claim(name).estimand(world(holds=True, seeds=(0, 3)))
    assert found == {0: pytest.approx(BY_HAND[name]), 3: pytest.approx(BY_HAND[name])}


@pytest.mark.parametrize("name", [one for one in NAMES if claim(one).diagnostics])
def test_a_claim_needs_what_it_says_it_needs(name):
    """Without the diagnostic's tables, or at another snapshot, it has no number; without the other tables it has."""
    one, tables = claim(name), world(holds=True, seeds=(0,))
    own = {key: table for key, table in tables.items() if key.startswith(one.diagnostics)}
    assert one.estimand(own) == {0: pytest.approx(BY_HAND[name])}
    assert one.estimand({key: table for key, table in tables.items() if key not in own}) == {}
    assert one.estimand({key: table.assign(snapshot="init") for key, table in own.items()}) == {}


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_needs_its_variants_and_no_others(name):
    one, tables = claim(name), world(holds=True, seeds=(0,))
    own = {key: table[table["variant"].isin(one.variants)] for key, table in tables.items()}
    assert one.estimand(own) == {0: pytest.approx(BY_HAND[name])}
    for variant in one.variants:
        assert one.estimand({key: table[table["variant"] != variant] for key, table in own.items()}) == {}


@pytest.mark.parametrize("name", NAMES)
def test_a_number_that_is_not_finite_is_refused_where_it_arises(name):
    one, tables = claim(name), world(holds=True, seeds=(0, 1))
    column = {
        "training": "nll_train" if "nll" in one.meaning.lower() else "top_1", "hessian_summary": "negative_share",
        "hessian": "eigenvalue", "fourier": "change", "variance": "variance", "similarity": "cka",
        "lesion_summary": "change", "frequency_noise_summary": "change", "calibration_summary": "signed_ece",
    }  # fmt: skip
    broken = {}
    for key, table in tables.items():
        lost = (table["seed"] == 1) & (table["variant"] == one.variants[0])
        broken[key] = table.assign(**{column[key]: table[column[key]].where(~lost, math.inf).astype(float)})
    broken["hessian_summary"]["positive_mean"] = broken["hessian_summary"]["negative_share"] * 100
    numbers, missing = one.measured(broken)
    assert set(numbers) == {0}
    assert set(missing) == {1}
    assert one.variants[0] in missing[1]
    assert "not finite" in missing[1]


def test_an_unknown_claim_is_named_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"claims: there is no claim 'vit_negativ'\. Did you mean 'vit_negative'\?"):
        claim("vit_negativ")


def test_noise_of_another_strength_is_not_compared():
    tables = world(holds=True, seeds=(0,))
    noise = tables["frequency_noise_summary"]
    noise.loc[noise["variant"] == "vit", "eps_in_pixels"] = 0.2
    assert claim("noise").measured(tables) == ({}, {0: "resnet, vit: noise of another strength in pixels"})


def _paper():
    return json.loads((files("visionscope.claims") / "published" / "paper_figures.json").read_text(encoding="utf-8"))


def test_published_values_are_those_of_the_figures():
    """Each with arithmetic of its own, straight from the file."""
    paper = _paper()
    vit, resnet = paper["fig2b_noise"]["ViT"], paper["fig2b_noise"]["ResNet"]
    low = (resnet[0] + resnet[1] + resnet[2]) / 3 / 78.04 - (vit[0] + vit[1] + vit[2]) / 3 / 69.53
    high = (vit[6] + vit[7] + vit[8]) / 3 / 69.53 - (resnet[6] + resnet[7] + resnet[8]) / 3 / 78.04
    networks = list(paper["figC1a_cifar10"].values())
    high_vit = paper["figD2_fourier"]["ViT"]["delta_log_amp_high"]
    high_resnet = paper["figD2_fourier"]["ResNet"]["delta_log_amp_high"]
    variance, heads, lesions = paper["figD1_feature_variance"], paper["figC5a_heads"], paper["figD4_lesion"]
    v, r = np.log(variance["ViT"]), np.log(variance["ResNet"])
    msa, mlp = range(9, 25, 2), range(10, 25, 2)  # points 1, 3, ... follow attention, 2, 4, ... MLPs
    inside = (6, 7, 9, 10, 11, 12, 13, 15, 16)  # past a third of 16 and not the first of a stage: 4, 8, 14
    cost = [-one for one in lesions["ResNet_3x3conv_per_block_stages_3_4_6_3"]]
    units = [-one for one in lesions["ViT_units_MSA_MLP_alternating"]]
    swin = [-np.array(lesions["Swin_units"][f"stage{stage}"]) for stage in (2, 3, 4)]
    halves = [len(stage) // 2 for stage in swin]
    staged = [
        cost[0] - cost[2], (cost[3] + cost[4] - cost[5] - cost[6]) / 2, (sum(cost[7:10]) - sum(cost[10:13])) / 3,
        cost[13] - cost[15],
    ]  # fmt: skip
    early = [
        np.mean(staged),
        (sum(units[:12]) - sum(units[12:])) / 12,
        np.mean([(stage[:half].sum() - stage[half:].sum()) / half for stage, half in zip(swin, halves, strict=True)]),
    ]
    expected = {
        "fractions_fit": 1.0,
        "vit_fourier": min(
            np.median([high_vit[k - 1] - high_vit[k] for k in msa]),
            np.median([high_vit[k] - high_vit[k - 1] for k in mlp]),
        ),
        "vit_variance": min(np.median([v[k - 1] - v[k] for k in msa]), np.median([v[k] - v[k - 1] for k in mlp])),
        "noise": 100 * min(low, high),
        "early_removals": np.mean(early),
        "alternet_wins": 84.02 - 82.48,
        "models_fit": spearmanr([one["nll_train"] for one in networks], [one["error"] for one in networks]).statistic,
        "conv_fourier": np.median([high_resnet[k] - high_resnet[k - 1] for k in inside]),
        "conv_variance": np.median([r[k] - r[k - 1] for k in inside]),
        "variance_peaks": min(
            (r[3] - r[1] + r[7] - r[4] + r[13] - r[8] + r[16] - r[14]) / 4,
            (r[3] - r[4] + r[7] - r[8] + r[13] - r[14]) / 3,
        ),
        "attention_late": np.mean([stage[-2] - stage[-1] - stage[0] + stage[1] for stage in swin]),
        "attention_helps": 84.02 - 82.48,
        "heads_flatter": np.polyfit(np.log(heads["heads"]), np.log(heads["APE"]), 1)[0],
        "heads_convex": np.polyfit(np.log2(heads["heads"]), heads["NEP_percent"], 1)[0],
    }
    published = {one.name: one.published for one in paper_claims() if one.published}
    assert {name: one.value for name, one in published.items()} == pytest.approx(expected)
    assert {one.data for one in published.values()} == {"CIFAR-10", "CIFAR-100", "ImageNet"}


@pytest.mark.parametrize("name", ["models_fit", "fractions_fit"])
def test_a_slope_stands_beside_the_rank_correlation(name):
    one, paper = claim(name), _paper()
    tables = world(holds=True, seeds=(0, 1))
    noise = np.random.default_rng(0)
    scored = tables["training"]
    tables["training"] = scored.assign(nll_train=scored["nll_train"] + noise.normal(0, 0.1, len(scored)))
    for seed, rows in tables["training"].groupby("seed"):
        own = rows[rows["variant"].isin(one.variants)]
        assert len(own) == len(one.variants)
        wanted = linregress(own["nll_train"], 100 - 100 * own["top_1"]).slope
        assert one.beside.number_of(OneSeed(tables, seed)) == pytest.approx(wanted)
    read = paper["figC1a_cifar10"].values() if name == "models_fit" else paper["fig5b_vit_ti_cifar100_dataset_size"]
    losses, errors = [
        [value[key] for value in read] if name == "models_fit" else read[key] for key in ("nll_train", "error")
    ]
    assert one.beside.published.value == pytest.approx(linregress(losses, errors).slope)
    assert one.beside.published.data == one.published.data
    assert one.beside.unit == "percentage points per nat"
    assert [other.name for other in paper_claims() if other.beside] == ["fractions_fit", "models_fit"]


def test_trainings_of_one_loss_have_no_slope():
    tables = world(holds=True, seeds=(0,))
    tables["training"] = tables["training"].assign(nll_train=1.5)
    with pytest.raises(MissingError, match="all trainings have the same NLL on augmented training images"):
        claim("models_fit").beside.number_of(OneSeed(tables, 0))


def test_the_papers_own_numbers_lie_on_the_claimed_side_and_matter():
    for one in paper_claims():
        if one.published:
            assert one.direction * one.published.value > one.smallest, one.name


def test_an_unknown_figure_is_named_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"figure: there is no 'fig2b_nois'\. Did you mean 'fig2b_noise'\?"):
        figure("fig2b_nois")
