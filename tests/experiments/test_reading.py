"""From YAML to an experiment: what stands in it, and one line for whatever is wrong."""

from pathlib import Path
from typing import Any

import pytest

from experiments.conftest import changed
from training.conftest import SMALL
from visionscope.core.documents import document_text
from visionscope.errors import ConfigError, DataError
from visionscope.experiments.merging import merged
from visionscope.experiments.reading import experiment_from, experiment_from_file, with_seeds

VARIANT = "train/variants/wide"


def test_variants_take_what_is_common_and_replace_it(values: dict[str, Any]) -> None:
    own = {"model": SMALL, "fraction": "1/4", "epochs": 3, "mixup": 0.5, "seeds": [7, 3]}
    small, wide = experiment_from(changed(values, VARIANT, own)).variants
    assert (small.seeds, wide.seeds) == ((0, 1), (7, 3))
    assert (small.fraction, wide.fraction) == (1.0, 0.25)
    assert (small.trained_by.epochs, wide.trained_by.epochs) == (2.0, 3.0)
    assert (small.trained_by.mixup, wide.trained_by.mixup) == (0.0, 0.5)
    assert small.trained_by.batch_size == wide.trained_by.batch_size == 32


def test_images_are_held_out_of_one_variant_also_where_studies_are_merged(values: dict[str, Any]) -> None:
    read = experiment_from(changed(values, VARIANT, {"model": SMALL, "validation": "1/10"}))
    for found in (read, experiment_from(merged([read], title="both", out=read.out).values)):
        small, wide = found.variants
        assert (small.validation, wide.validation) == (0.0, 0.1)
        assert wide.terms(0).validation == 0.1


def test_a_file_says_the_same(values: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(document_text(values))
    assert experiment_from_file(tmp_path / "study.yaml") == experiment_from(values)


def test_an_epoch_that_is_asked_about_is_kept(values: dict[str, Any]) -> None:
    found = experiment_from(changed(values, "diagnose/epoch-1", "fourier"))
    assert [one.snapshot for one in found.asked] == ["warmup", "last", "epoch-0001"]
    assert all(variant.trained_by.snapshots == (1,) for variant in found.variants)


@pytest.mark.parametrize(
    ("asked", "until"),
    [({"warmup": "hessian"}, "warmup"), ({"epoch-1": "fourier", "warmup": "hessian"}, "epoch-0001"), ({}, "")],
)
def test_a_training_ends_with_the_last_moment_that_is_asked_about(
    asked: dict[str, Any], until: str, values: dict[str, Any]
) -> None:
    found = experiment_from(changed(values, "diagnose", asked))
    assert {found.until(variant) for variant in found.variants} == {until}


def test_the_first_seeds_alone(values: dict[str, Any]) -> None:
    found = with_seeds(experiment_from(values), 1)
    assert [variant.seeds for variant in found.variants] == [(0,), (1,)]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("trian", {}, r"^study: there is no key 'trian'\. Did you mean 'train'"),
        ("train/epoch", 3, r"^train: there is no key 'epoch'\. Did you mean 'epochs'"),
        ("train/variants", {}, r"^train\.variants: must name one variant or more"),
        ("train/variants", None, r"^train\.variants: must hold keys and values such as .*; got None"),
        ("train/seeds", 0, r"^train\.variants\.small\.seeds: must be how many, 1 to 1000, or a list .* got 0"),
        ("train/seeds", [1, 2, 1], r"small\.seeds: .* 1 is given twice, name it once"),
        ("train/seeds", [1, -2], r"small\.seeds: .*; got -2 among them"),
        ("train/recipe", "laptopp", r"small\.recipe: must be .* got 'laptopp'\. Did you mean 'laptop'"),
        (f"{VARIANT}/mixup", -1, r"^train\.variants\.wide\.mixup: must be .*; got -1"),
        (f"{VARIANT}/mixupp", 1, r"^train\.variants\.wide: there is no key 'mixupp'\. Did you mean 'mixup'"),
        (f"{VARIANT}/validation", 1, r"wide\.validation: must be .*below 1; got 1"),
        (f"{VARIANT}/fraction", "3/2", r"wide\.fraction: must be .*; got 1\.5"),
        (f"{VARIANT}/model", None, r"^train\.variants\.wide\.model: must be given"),
        ("train/variants", {"a b": SMALL}, r"^train\.variants\.a b: a name must be letters, digits"),
        ("data", None, r"^train\.variants\.small\.data: must be given"),
        (
            "diagnose/warm-up",
            "hessian",
            r"^diagnose: a snapshot must be init, warmup, last or an epoch such as epoch-5",
        ),
        (
            "diagnose/last/only",
            ["fourierr"],
            r"^diagnose\.last\.only: there is no diagnostic 'fourierr'\. Did you mean",
        ),
        ("diagnose/last/variance", {}, r"^diagnose\.last\.variance: variance is not selected; add it to only"),
        ("diagnose/warmup/hessian", {"kk": 2}, r"^hessian\.kk: hessian has no such field"),
        ("diagnose/last/image", 2, r"^diagnose\.last: there is no key 'image'\. Did you mean 'images'"),
        ("diagnose/last/images", 0, r"^diagnose\.last\.images: must be .*; got 0"),
        ("diagnose/epoch-9", "fourier", r"small: snapshots: must be epochs from 1 to 2; got"),
        ("claims", 3, r"^claims: must be names of claims, or claims by name; got 3"),
        ("slurm", 3, r"^slurm: must hold keys and values"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(key: str, value: Any, message: str, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        experiment_from(changed(values, key, value))
    assert "\n" not in str(caught.value)


def test_data_must_be_there_with_both_splits_and_apart_from_the_run_folder(values: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="nowhere"):
        experiment_from(changed(values, "data", "nowhere/"))
    with pytest.raises(ConfigError, match="train"):
        experiment_from(changed(values, "data", f"{values['data']}:train"))
    with pytest.raises(ConfigError, match=r"out: .* lies in the data folder"):
        experiment_from(changed(values, "out", f"{values['data']}/run"))
