"""The studies that ship: each reads, names known variants and claims, and means the same training in every file."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from visionscope.building.measure import costs
from visionscope.claims.one_seed import LAST
from visionscope.claims.registry import paper_claims
from visionscope.experiments.catalogue import PAPER_FIGURES, STUDIES, ZOO, figure_named, figures_at, study_of
from visionscope.experiments.experiment import Experiment
from visionscope.experiments.merging import merged
from visionscope.experiments.reading import experiment_from, experiment_from_file
from visionscope.experiments.session import claims_of
from visionscope.models.load import load_model

# The zoo trains nothing, and segmentation has images of its own and no figure.
FILES = sorted(path for path in STUDIES.glob("*/*.yaml") if path.parent.name not in (ZOO, "segmentation"))


def read(path: Path) -> Experiment:
    return experiment_from_file(path, data="embedded")  # the images that any machine has


def all_of(scale: str) -> Experiment:
    studies = [read(study_of(figure, scale)) for figure in figures_at(scale)]
    return merged(studies, title="all", out="run")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_study_reads_and_asks_what_its_claims_need(path: Path) -> None:
    experiment = read(path)
    assert experiment.figures == (path.stem,)
    assert len(claims_of(experiment)) == len(experiment.claims)
    assert experiment.title


def test_laptop_and_cifar_have_every_figure_of_the_list() -> None:
    assert figures_at("laptop") == figures_at("cifar") == PAPER_FIGURES


@pytest.mark.parametrize("scale", ["laptop", "cifar", "imagenet"])
def test_a_name_means_one_training_and_one_question_in_all_studies_of_a_scale(scale: str) -> None:
    everything = all_of(scale)  # refuses two meanings of a name
    assert claims_of(everything)
    for variant in everything.variants:
        asked = [(part.snapshot, one.name) for part in everything.asked_of(variant.name) for one in part.diagnostics]
        assert len(asked) == len(set(asked)), f"{variant.name} is asked the same in two ways"


@pytest.mark.parametrize("scale", ["laptop", "cifar"])
def test_a_scale_tests_every_claim_with_the_seeds_of_its_family(scale: str) -> None:
    everything = all_of(scale)
    assert set(everything.claims) == {claim.name for claim in paper_claims()}
    seeds = {variant.name: len(variant.seeds) for variant in everything.variants}
    for claim in claims_of(everything):
        needed = 9 if claim.family == "primary" else 5
        assert min(seeds[name] for name in claim.variants) >= needed, claim.name
        named = figure_named(claim.figure).name
        assert claim.name in read(study_of(figure_named(named), scale)).claims


@pytest.mark.parametrize("scale", ["laptop", "cifar"])
def test_the_controls_cost_what_alternet_costs(scale: str) -> None:
    models = {one.name: one.model for one in read(study_of(figure_named("12b"), scale)).variants}
    found = {
        name: costs(load_model(models[name], random_weights=0).model, (32, 32))
        for name in ("alternet", "preresnet", "cnn_parameters", "cnn_macs")
    }
    assert found["cnn_parameters"].parameters == pytest.approx(found["alternet"].parameters, rel=0.01)
    assert found["cnn_macs"].macs == pytest.approx(found["alternet"].macs, rel=0.01)
    assert found["preresnet"].macs < found["alternet"].macs


def test_a_variant_is_trained_as_far_as_any_study_needs() -> None:
    variants = {variant.name: variant for variant in all_of("laptop").variants}
    everything = all_of("laptop")
    assert everything.until(variants["vit_heads_6"]) == "warmup"
    assert everything.until(variants["vit"]) == ""
    alone = read(study_of(figure_named("C.5"), "laptop"))
    assert alone.until(next(one for one in alone.variants if one.name == "vit")) == "warmup"


def test_merging_asks_each_variant_what_its_own_studies_ask() -> None:
    both = merged([read(study_of(figure_named(name), "laptop")) for name in ("6", "2a")], title="", out="run")
    asked = {
        variant.name: {(part.snapshot, one.name) for part in both.asked_of(variant.name) for one in part.diagnostics}
        for variant in both.variants
    }
    assert asked["vit"] == {("warmup", "hessian"), (LAST, "fourier")}
    assert asked["vit_gap"] == {("warmup", "hessian")}
    assert asked["swin"] == {(LAST, "fourier")}


def test_what_is_merged_reads_as_a_study_that_is_the_same() -> None:
    everything = all_of("laptop")
    again = experiment_from({**everything.values, "out": "run"})
    assert again.variants == everything.variants
    assert again.claims == everything.claims
    assert again.figures == everything.figures
    asked = {variant.name: everything.asked_of(variant.name) for variant in everything.variants}
    assert {name: again.asked_of(name) for name in asked} == {
        name: tuple(sorted(parts, key=again.asked.index)) for name, parts in asked.items()
    }


def test_merging_refuses_a_name_for_two_trainings() -> None:
    from visionscope.errors import ConfigError

    one = read(study_of(figure_named("6"), "laptop"))
    other = dataclasses.replace(
        one, variants=tuple(dataclasses.replace(variant, fraction=0.5) for variant in one.variants)
    )
    with pytest.raises(ConfigError, match="vit is trained in two ways in the studies; rename one"):
        merged([one, other], title="", out="run")


def test_figures_are_known_by_any_id_and_the_nearest_is_told() -> None:
    from visionscope.errors import ConfigError

    assert figure_named("C.4c") == figure_named("c4c") == figure_named("4") == figure_named("1c")
    with pytest.raises(ConfigError, match=r"there is no study of a figure '2c'\. Did you mean"):
        figure_named("2c")


def test_what_is_asked_of_some_variants_alone_is_checked() -> None:
    from visionscope.errors import ConfigError

    study = yaml.safe_load(study_of(figure_named("1a"), "laptop").read_text())
    study["data"] = "embedded"
    study["diagnose"]["last"]["variants"] = ["resnett"]
    with pytest.raises(ConfigError, match=r"diagnose.last.variants: there is no variant 'resnett'.*'resnet'"):
        experiment_from(study)
    study["diagnose"] = {"warmup": {"only": ["hessian"], "variants": ["resnet", "vit", "vit_large"]}}
    with pytest.raises(ConfigError, match="larger_flatter needs hessian of resnet_large at warmup"):
        claims_of(experiment_from(study))
