import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visionscope.config import (
    command_of,
    diagnostic_of,
    study_from,
    study_from_file,
    study_from_flags,
    study_text,
)
from visionscope.core.objective import Objective
from visionscope.diagnostics.corruption.question import Corruption
from visionscope.diagnostics.fourier.question import Fourier
from visionscope.diagnostics.hessian.question import Hessian
from visionscope.diagnostics.landscape.question import Landscape
from visionscope.diagnostics.similarity.question import Similarity
from visionscope.diagnostics.variance.question import Variance
from visionscope.errors import ConfigError
from visionscope.flags import Parser, add_study_flags
from visionscope.running.study import Study


def from_flags(*flags: str) -> Study:
    parser = Parser()
    add_study_flags(parser)
    return study_from_flags(parser.parse_args(flags))


def from_yaml(folder: Path, text: str, **changes: Any) -> Study:
    path = folder / "study.yaml"
    path.write_text(text)
    return study_from_file(path, **changes)


YAML = """
models: [a=resnet18, vit_tiny_patch16_224]
data: embedded:conflict
only: [similarity, fourier]
images: 64
seed: 3
device: cpu
precision: bf16
random_weights: 0
size: [64, 32]
mean: [0.1, 0.2, 0.3]
std: [1, 1, 0.5]
points: [stem, blocks.0+msa]
augmentation: weak
label_smoothing: 0.2
weight_decay: 0
decays: matrices
out: somewhere
fourier: {labelling: paper}
similarity:
  group: 16
"""
FLAGS = (
    "a=resnet18 vit_tiny_patch16_224 --data embedded:conflict --only similarity,fourier --images 64 --seed 3 "
    "--device cpu --precision bf16 --random-weights 0 --size 64 32 --mean 0.1 0.2 0.3 --std 1 1 0.5 "
    "--points stem,blocks.0+msa --augmentation weak --label-smoothing 0.2 --weight-decay 0 --decays matrices "
    "--out somewhere --fourier.labelling paper --similarity.group 16"
)


def test_yaml_and_flags_make_the_same_study(tmp_path):
    study = from_yaml(tmp_path, YAML)
    assert study == from_flags(*FLAGS.split())
    assert study == Study(
        models=("a=resnet18", "vit_tiny_patch16_224"),
        data="embedded:conflict",
        diagnostics=(Similarity(group=16), Fourier(labelling="paper")),
        images=64,
        seed=3,
        device="cpu",
        precision="bf16",
        random_weights=0,
        size=(64, 32),
        mean=(0.1, 0.2, 0.3),
        std=(1.0, 1.0, 0.5),
        points=("stem", "blocks.0+msa"),
        augmentation="weak",
        label_smoothing=0.2,
        weight_decay=0.0,
        decays="matrices",
        out="somewhere",
    )


def test_defaults_are_the_design_s(tmp_path):
    study = from_flags("resnet18", "--data", "embedded")
    assert study == from_yaml(tmp_path, "models: resnet18\ndata: embedded\n")
    assert (study.images, study.batch, study.seed, study.precision) == (256, 32, 0, "fp32")
    assert study.diagnostics == (Fourier(), Variance(), Similarity())
    assert (study.augmentation, study.objective) == ("strong", Objective(label_smoothing=0.1, weight_decay=0.05))


@pytest.mark.parametrize(
    ("flags", "smoothing"),
    [("--augmentation strong", 0.1), ("--augmentation weak", 0.0), ("--augmentation none --label-smoothing 0.3", 0.3)],
)
def test_labels_are_smoothed_as_the_paper_does_with_strong_augmentation_alone(flags, smoothing):
    study = from_flags("resnet18", "--data", "embedded", *flags.split())
    assert study.objective.label_smoothing == smoothing


def test_fields_of_a_diagnostic_that_measures(tmp_path):
    flags = "--only hessian,landscape --hessian.k 3 --hessian.fraction 0.1 --landscape.axes 1 --landscape.points 11"
    study = from_flags("resnet18", "--data", "embedded", *flags.split())
    assert study.diagnostics == (Hessian(k=3, fraction=0.1), Landscape(axes=1, points=11))
    text = "only: [hessian, landscape]\nhessian: {k: 3, fraction: 0.1}\nlandscape: {axes: 1, points: 11}"
    assert study == from_yaml(tmp_path, f"models: resnet18\ndata: embedded\n{text}\n")
    path = tmp_path / "again.yaml"
    path.write_text(study_text(study))
    assert study_from_file(path) == study


def test_files_of_a_plane_are_named_by_flags_and_in_a_study(tmp_path):
    plane = ("--landscape.plane", "checkpoints", "--landscape.checkpoints", "[a.pt, b.pt]")
    study = from_flags("resnet18", "--data", "embedded", "--only", "landscape", *plane)
    assert study.diagnostics == (Landscape(plane="checkpoints", checkpoints=("a.pt", "b.pt")),)
    path = tmp_path / "again.yaml"
    path.write_text(study_text(study))
    assert study_from_file(path) == study


def test_changes_replace_the_file_s_values(tmp_path):
    study = from_yaml(tmp_path, YAML, out="elsewhere", device=None)
    assert (study.out, study.device) == ("elsewhere", "cpu")


def test_all_means_every_diagnostic(tmp_path):
    assert set(from_flags("resnet18", "--data", "embedded", "--only", "all").only) >= {"fourier", "variance"}


names = st.text("abcdefgh_0123456789.+", min_size=1, max_size=12)


@settings(max_examples=10)
@given(
    st.lists(names, min_size=1, max_size=3),
    st.sets(st.sampled_from(["fourier", "variance", "similarity"]), min_size=1),
    st.integers(1, 10**6),
    st.none() | st.integers(0, 2**32 - 1),
    st.none() | st.tuples(st.integers(1, 999), st.integers(1, 999)),
    st.lists(names, max_size=3),
    st.sampled_from([4, 8, 16, 32, 64, 128, 256]),
)
def test_study_file_reads_back_as_the_same_study(tmp_path_factory, models, only, images, seed, size, points, group):
    study = study_from(
        {
            "models": models,
            "data": "embedded",
            "only": sorted(only),
            "images": images,
            "random_weights": seed,
            "size": size,
            "points": points,
            **({"similarity": {"group": group}} if "similarity" in only else {}),
        }
    )
    path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    path.write_text(study_text(study))
    assert study_from_file(path) == study


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("imags: 3", r"study: there is no key 'imags'. Did you mean 'images'\?"),
        ("3: 3", r"study.yaml, line 3: a key must be text"),
        ("fourier: {labeling: paper}", r"fourier.labeling: fourier has no such field. Did you mean 'labelling'\?"),
        ("fourier: {labelling: papr}", r"fourier.labelling.*'papr'. Did you mean 'paper'\?"),
        ("fourier: {radial: 3}", r"fourier.radial: must be true or false; got 3"),
        ("fourier: paper", r"fourier: must hold fields such as 'labelling: value'; got 'paper'"),
        (
            "similarity: {group: 33}",
            r"similarity.group: must be a power of two from 4 to 256; got 33. Did you mean 32\?",
        ),
        ("similarity: {group: many}", r"similarity.group: must be a power of two from 4 to 256; got 'many'"),
        ("only: [forier]", r"only: there is no diagnostic 'forier'. Did you mean 'fourier'\?"),
        ("only: [fourier, fourier]", r"only: fourier is named twice; name it once"),
        ("only: 3", r"only: must be a list of diagnostics, such as fourier,lesion; got 3"),
        ("images: 0", r"images: must be an integer from 1 to 1000000000; got 0"),
        ("images: 1.5", r"images: must be an integer from 1 to 1000000000; got 1.5"),
        ("images: true", r"images: must be an integer from 1 to 1000000000; got True"),
        ("batch: -1", r"batch: must be an integer from 1 to 65536; got -1"),
        ("seed: -1", r"seed: must be an integer from 0 to 4294967295; got -1"),
        ("random_weights: -1", r"random_weights: must be an integer from 0 to 4294967295; got -1"),
        ("precision: fp23", r"precision: must be one of fp32, fp64, bf16; got 'fp23'. Did you mean 'fp32'\?"),
        ("augmentation: stong", r"augmentation: must be one of .*; got 'stong'. Did you mean 'strong'\?"),
        ("label_smoothing: 1", r"label_smoothing: must be a number of at least 0 and below 1; got 1"),
        ("label_smoothing: much", r"label_smoothing: must be a number of at least 0 and below 1; got 'much'"),
        ("weight_decay: -0.1", r"weight_decay: must be a number from 0 to 1000; got -0.1"),
        ("decays: matrixes", r"decays: must be one of all, matrices; got 'matrixes'. Did you mean 'matrices'\?"),
        ("size: [3]", r"size: must be height and width in pixels, each an integer from 1 to 16384; got \[3\]"),
        ("size: 32", r"size: must be height and width in pixels.*; got 32"),
        ("std: [0, 1, 1]", r"std: each must be a number from 1e-06 to 10000; got 0"),
        ("mean: [a, b]", r"mean: each must be a number from -10000 to 10000; got 'a'"),
        ("device: 3", r"device: must be auto, cpu, cuda or cuda:N; got 3"),
        ("data: ''", r"data: must be a data spec, such as embedded .*; got ''"),
        ("models: []", r"models: must be a list of model specs, one or more; got \[\]"),
        ("models: [3]", r"models: each must be text that is not empty; got 3"),
        ("out: ''", r"out: must be a run folder; got ''"),
        ("points: [[]]", r"points: each must be text that is not empty; got \[\]"),
    ],
)
def test_bad_values_name_parameter_rule_and_value(tmp_path, change, message):
    key = change.split(":")[0]
    kept = [line for line in ("models: [resnet18]", "data: embedded") if line.split(":")[0] != key]
    with pytest.raises(ConfigError, match=message) as caught:
        from_yaml(tmp_path, "\n".join([*kept, change]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "models: [",
            r"study: .*study.yaml is not valid YAML \(did not find expected node content, line 2, col",
        ),
        ("- resnet18", r"study: .*study.yaml must hold keys and values such as"),
        ("models: [a]", r"data: must be given"),
    ],
)
def test_bad_files(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        from_yaml(tmp_path, text)


def test_absent_and_binary_files(tmp_path):
    with pytest.raises(ConfigError, match=r"study: .*absent.yaml can't be read \(No such file or directory\)"):
        study_from_file(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(ConfigError, match=r"study: .*binary.yaml is not valid YAML .* at byte 0\); save it as UTF-8"):
        study_from_file(tmp_path / "binary.yaml")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", r"MODEL: must be given"),
        ("resnet18", r"^data: must be given, such as --data photos/"),
        ("resnet18 --data embedded --imgs 3", r"--imgs: there is no such flag. Did you mean '--images'\?"),
        ("resnet18 --data embedded --image 3", r"--image: there is no such flag. Did you mean '--images'\?"),
        ("resnet18 --data embedded --images x", r"images: must be an integer from 1 to 1000000000; got 'x'"),
        ("resnet18 --data embedded --images", r"--images: needs a value: an integer from 1 to"),
        ("resnet18 --data embedded --fourier.labelling papr", r"fourier.labelling.*'papr'. Did you mean 'paper'\?"),
        (
            "resnet18 --data embedded --fourier.label paper",
            r"fourier.label: fourier has no such field. Did you mean 'labelling'\?",
        ),
        ("resnet18 --data embedded --augmentation week", r"got 'week'. Did you mean 'weak'\?"),
        ("resnet18 --data embedded --label-smoothin 0", r"there is no such flag. Did you mean '--label-smoothing'\?"),
        ("resnet18 --data embedded --size 3", r"--size: needs 2 values with a space .*\. Did you mean '--size 3 3'\?"),
    ],
)
def test_bad_flags(flags, message):
    with pytest.raises(ConfigError, match=message) as caught:
        from_flags(*flags.split())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["1,3", "[1, 3]", " 1 , 3 "])
def test_lists_are_written_with_commas(text: str) -> None:
    study = from_flags("resnet18", "--data", "embedded", "--only", "corruption", "--corruption.severities", text)
    assert study.diagnostics == (Corruption(severities=(1, 3)),)


def test_an_item_of_a_list_is_checked_as_the_field_is() -> None:
    with pytest.raises(ConfigError, match=r"corruption.severities: each must be one of 1, 2, 3, 4, 5; got 'one'"):
        from_flags("resnet18", "--data", "embedded", "--only", "corruption", "--corruption.severities", "1,one")


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("hessian", {"fraction": "ten"}, r"hessian.fraction: must be a number above 0 and at most 1; got 'ten'$"),
        (
            "density",
            {"parameters": "trainble"},
            r"density.parameters: must be one of trainable, all; got 'trainble'. Did you mean 'trainable'\?",
        ),
    ],
)
def test_a_field_that_may_be_left_out_says_its_rule_like_any_other(name, fields, message):
    with pytest.raises(ConfigError, match=message):
        diagnostic_of(name, fields)


@pytest.mark.parametrize(
    "flags",
    [
        ("resnet18", "--data", "embedded"),
        ("a=resnet18?num_classes=7", "vit_tiny_patch16_224", "--data", "embedded:conflict", "--out", "a folder/run's"),
        ("resnet18", "--data", "embedded", "--size", "64", "32", "--mean", "0.1", "0.2", "-0.3", "--seed", "7"),
        ("resnet18", "--data", "embedded", "--points", "stem,layer1.0", "--weight-decay", "0", "--decays", "matrices"),
        ("resnet18", "--data", "embedded", "--only", "fourier", "--fourier.radial", "true", "--random-weights", "0"),
        ("resnet18", "--data", "embedded", "--only", "hessian,adversarial", "--hessian.fraction", "0.1"),
        (
            "resnet18",
            "--data",
            "embedded",
            "--only",
            "adversarial",
            "--adversarial.eps",
            "1,2",
            "--output-is",
            "logits",
        ),
    ],
)
def test_a_study_becomes_the_command_that_asked_for_it(tmp_path: Path, flags: tuple[str, ...]) -> None:
    study = from_flags(*flags)
    path = tmp_path / "study.yaml"
    path.write_text(study_text(study))
    program, command, *words = shlex.split(command_of(path))
    assert (program, command) == ("visionscope", "diagnose")
    assert from_flags(*words) == study
    assert len(words) <= len(flags) + 2  # no flag says what is the default anyway


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "models: [a]\ndata: embedded\nonly: [hessian]\nhessian: {no_such: 1}\n",
            r"hessian\.no_such: there is no such",
        ),
        ("models: [a]\ndata: embedded\npoints: ['a,b']\n", "--points: no flag says"),
        ("data: embedded\n", "models: must be"),
        ("models: [a]\ndata: embedded\nonly: [nothing]\n", "nothing"),
    ],
)
def test_what_no_flag_can_say_has_no_command(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        command_of(path)
