"""The zoo's studies that ship, and its list of networks."""

import importlib
import re
from pathlib import Path

import pytest
import timm

from visionscope.claims.networks import network_claims
from visionscope.commands.zoo import MODELS
from visionscope.experiments.catalogue import ZOO, figures_at, study_of
from visionscope.experiments.zoo.asking import ZooStudy, study_from_file, zoo_of
from visionscope.experiments.zoo.listing import read_networks

TESTED = Path(__file__).parents[2] / "docs" / "models_tested.md"
FIGURES = figures_at(ZOO)


def study(name: str) -> ZooStudy:
    return study_from_file(next(study_of(figure, ZOO) for figure in FIGURES if figure.name == name))


def names() -> list[str]:
    return [one.spec.name for one in read_networks(MODELS)]


def kinds_by_module() -> dict[str, set[str]]:
    """What the table of tested models says of the branches of each of timm's modules."""
    rows = re.findall(
        r"^\| (\w+) \| \S+ \| (?:sums|blocks) \|(?:[^|]*\|){4} ([^|]+) \|", TESTED.read_text(), re.MULTILINE
    )
    return {module: set(re.findall(r"[a-z_]+", kinds)) for module, kinds in rows}


def test_the_figures_that_need_no_training_have_a_study() -> None:
    assert [figure.name for figure in FIGURES] == ["2a", "2b", "9", "10a", "10b"]


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_each_study_asks_what_its_claims_need(figure) -> None:  # type: ignore[no-untyped-def]
    read = study_from_file(study_of(figure, ZOO))
    asked = {one.name for part in read.asked for one in part.diagnostics}
    assert read.figures == (figure.name,)
    assert read.claims
    for claim in read.claims:
        assert set(claim.claim.diagnostics) <= asked


def test_the_studies_have_all_claims_and_share_their_passes() -> None:
    zoo = zoo_of([study_from_file(study_of(one, ZOO)) for one in FIGURES], (), title="", data="embedded", out="run")
    assert sorted(one.name for one in zoo.claims) == sorted(one.name for one in network_claims())
    assert len(zoo.asked) == 1
    assert [name for name, _ in zoo.questions] == ["fourier", "frequency_noise", "variance", "similarity", "lesion"]


def test_noise_is_equal_in_pixels_for_networks_that_normalise_differently() -> None:
    ((part,),) = [study("2b").asked]
    (noise,) = part.diagnostics
    assert (noise.space, noise.energy) == ("pixel", "equal_energy")


def test_timm_has_the_weights_of_all_forty() -> None:
    assert len(names()) == len(set(names())) == 40
    for name in names():
        assert name in timm.list_pretrained(f"{name.partition('.')[0]}.*"), name
        assert timm.get_pretrained_cfg(name).num_classes == 1000, name


def test_all_forty_are_of_modules_that_were_measured_and_both_kinds_are_there() -> None:
    known, attention, convolution = kinds_by_module(), set(), set()
    for name in names():
        module = timm.model_entrypoint(name).__module__.rpartition(".")[2]
        assert known.get(module), f"{name}: {module} is not in {TESTED.name}"
        if {"msa", "mlp"} <= known[module]:
            attention.add(name)
        elif "conv" in known[module]:
            convolution.add(name)
    assert len(attention) >= 15
    assert len(convolution) >= 15


@pytest.mark.slow  # builds forty networks
def test_all_forty_are_traced_and_of_five_families_or_more_of_each_kind() -> None:
    torch = importlib.import_module("torch")
    load = importlib.import_module("visionscope.models.load")
    trace = importlib.import_module("visionscope.tracing").trace
    families: dict[str, set[str]] = {"attention": set(), "convolution": set()}
    for name in names():
        loaded = load.load_model(name, random_weights=0)
        found = trace(loaded.model, torch.zeros(2, len(loaded.input.mean), *loaded.input.size), points_needed=True)
        kinds, family = {str(point.kind) for point in found.points}, type(loaded.model).__name__
        if {"msa", "mlp"} <= kinds and "conv" not in kinds:
            families["attention"].add(family)
        elif "conv" in kinds and "msa" not in kinds:
            families["convolution"].add(family)
    assert min(map(len, families.values())) >= 5, families
