"""Every study of the `cifar` scale, carried out with its networks as they are, and everything else at toy length."""

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.conftest import carried_out
from visionscope.claims.own import claim_in
from visionscope.experiments.catalogue import PAPER_FIGURES, figures_at, study_of
from visionscope.experiments.merging import merged
from visionscope.experiments.reading import experiment_from, experiment_from_file
from visionscope.experiments.session import outcome

BATCH, STEPS, CLASSES = 8, 2, 4
SHORT: dict[str, dict[str, Any]] = {
    "hessian": {"k": 1, "mini_batches": 1, "max_products": 40, "tolerance": 0.1},
    "landscape": {"points": 3, "draws": 0, "sample_size": 8},
    "lesion": {"sample_size": 8},
    "corruption": {"sample_size": 8, "types": ["gaussian_noise"], "severities": [1]},
    "calibration": {"sample_size": 16, "fit_size": 8},
    "frequency_noise": {"sample_size": 8, "frequencies": [0.5]},
    "similarity": {"group": 4},
    "fourier": {},
    "variance": {},
}
CURVED = ("resnet", "vit", "pit", "swin", "alternet", "convvit_3", "vit_shallow")
"""Networks whose Hessian is asked for, one of each kind and what figures C.5 and C.6 share; the others cost as much."""

KEPT = 16
"""The claims whose every network is asked: 14 without the Hessian, and `vit_negative` and `vit_flatter` with it."""


@pytest.fixture
def few(tmp_path: Path) -> str:
    """As many images as the steps take, of CIFAR's size."""
    random = np.random.default_rng(0)
    for split, count in (("train", BATCH * STEPS // CLASSES), ("test", 4)):
        for name in "abcd"[:CLASSES]:
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 256, (32, 32, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / split / name / f"{index}.png")
    return str(tmp_path / "images")


def at_toy_length(values: dict[str, Any], run: Path, data: str) -> dict[str, Any]:
    """The values with one seed, two steps and as few images as a diagnostic takes."""
    toy = copy.deepcopy(values) | {"out": str(run), "data": data}
    for variant in toy["train"]["variants"].values():
        variant |= {"seeds": [0], "epochs": 1, "batch_size": BATCH, "fraction": 1, "warm_up": 0.5, "data": data}
    for parts in toy["diagnose"].values():
        for part in parts:
            part.pop("images", None)
            asked = part["only"]
            if asked == ["hessian"]:
                part["variants"] = [name for name in part["variants"] if name in CURVED]
            part |= {
                "precision": "fp32",
                **({"images": 8} if {"fourier", "variance", "similarity"} & set(asked) else {}),
            }
            for name in asked:
                part[name] |= SHORT[name]
    results = {
        (snapshot, name, variant)
        for snapshot, parts in toy["diagnose"].items()
        for part in parts
        for name in part["only"]
        for variant in part["variants"]
    }
    written = toy["claims"]  # with the roles that some have
    toy["claims"] = {name: own for name, own in written.items() if needs(name, own, toy) <= results}
    return toy


def needs(name: str, own: Any, values: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Snapshot, diagnostic and variant of each result that a claim is made of, by the study's own names of variants."""
    one = claim_in(name, own, values["train"]["variants"])
    return {(one.snapshot, diagnostic, variant) for diagnostic in one.diagnostics for variant in one.variants}


@pytest.mark.slow
def test_the_cifar_scale_goes_from_its_studies_to_a_page(few: str, tmp_path: Path) -> None:
    studies = [experiment_from_file(study_of(figure, "cifar"), data=few) for figure in figures_at("cifar")]
    whole = merged(studies, title="cifar", out=str(tmp_path / "run"))
    experiment = experiment_from(at_toy_length(dict(whole.values), tmp_path / "run", few))
    plan, driver, tables = carried_out(experiment)
    assert driver.failed == []
    ended = {one.name for one in experiment.variants if not experiment.until(one)}
    assert set(tables["training"]["variant"]) == ended
    assert (tables["training"]["images"] == BATCH * STEPS).all()
    asked = {name for part in experiment.asked for name in (one.name for one in part.diagnostics)}
    assert asked == set(SHORT)
    assert {name for name in asked if f"{name}" in tables or f"{name}_summary" in tables} == asked
    told = outcome(plan, lambda line: None)
    assert told.left == 0
    assert len(told.verdicts) == len(experiment.claims) >= KEPT
    assert {one.verdict for one in told.verdicts} == {"not assessable"}
    page = told.page.read_text() if told.page else ""
    drawn = set(re.findall(r'id="figure-figure_(\w+)"', page))
    assert drawn == {one.name.replace(".", "_") for one in PAPER_FIGURES}
