"""How help pages read."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from cli.test_flags import DATA, told
from visionscope.cli import main
from visionscope.commands import COMMANDS
from visionscope.core.docstrings import summary_of
from visionscope.core.registry import diagnostic_class, diagnostic_names
from visionscope.core.rules import values_of
from visionscope.running.study import Study


def test_help_of_diagnose_reads_without_python(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "--help"]) == 0
    said = capsys.readouterr().out
    assert [odd for odd in ("function", "class '", "typing", "None", "jsonargparse", "<") if odd in said] == []
    assert said.startswith("usage: visionscope diagnose MODEL [MODEL ...] [--FLAG VALUE ...]\n")
    words = " ".join(said.split())
    assert "--size INT INT height and width of the input in pixels; by default the model's own --mean" in words
    assert "--label-smoothing NUMBER share of each target that is spread over all classes; by default" in words
    assert "(at least 0 and below 1)" in words
    assert "--out TEXT run folder; the same command resumes it (default visionscope-run)" in words
    places = [words.index(flag) for flag in ("--data", "--only", "--images", "--out ", "--random-weights", "--dry-run")]
    assert places == sorted(places)
    assert "--diagnostics" not in words
    assert [name for name in values_of(Study) if f"--{name.replace('_', '-')} " not in words] == [
        "models",
        "diagnostics",
    ]
    _, _, listed = said.partition("which visionscope diagnose --help NAME shows:\n")
    assert re.findall(r"^  (\w+) ", listed, re.MULTILINE) == list(diagnostic_names())
    assert all(f" {name} {summary_of(name).replace('`', '')}" in words for name in diagnostic_names())
    assert "--hessian." not in words


@pytest.mark.parametrize(
    "arguments", [["--help", "hessian"], ["--help=hessian"], ["resnet18", "--yes", "-h", "hessian"]]
)
def test_help_of_a_diagnostic_is_its_own(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", *arguments]) == 0
    said = capsys.readouterr().out
    words = " ".join(said.split())
    assert words.startswith(
        "usage: visionscope diagnose MODEL ... --data TEXT --only hessian [--FLAG VALUE ...] hessian: "
    )
    assert summary_of("hessian") in words
    assert "--hessian.k INT eigenvalues per mini-batch (from 1 to 1000; default 5)" in words
    assert "--hessian.batch_norm {eval,train} eval keeps the running statistics" in words
    assert "--images" not in words


def test_help_of_several_and_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "--help", "frequency_noise,variance"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "--frequency_noise.noise {sign,gaussian}" in words
    assert "variance: Variance of the feature maps over space." in words
    assert "It has no flags." in words
    assert main(["diagnose", "--help", "all"]) == 0
    said = capsys.readouterr().out
    assert [name for name in diagnostic_names() if f"\n{name}:\n" not in said] == []
    for name in diagnostic_names():
        assert [field for field in values_of(diagnostic_class(name)) if f"--{name}.{field} " not in said] == []


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ("hesian", "help: there is no diagnostic 'hesian'. Did you mean 'hessian'?"),
        ("lesion,forier", "help: there is no diagnostic 'forier'. Did you mean 'fourier'?"),
        ("al", "help: there is no diagnostic 'al'. Did you mean 'all'?"),
        ("all,lesion", "help: there is no diagnostic 'all'. Choose from: adversarial, attention, "),
        ("", "help: there is no diagnostic ''. Choose from"),
        ("lesion.mode", "help: there is no diagnostic 'lesion.mode'. Did you mean 'lesion'?"),
    ],
)
def test_help_of_what_there_is_not_is_refused(named: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert line in told(capsys, "diagnose", f"--help={named}")
    assert line in told(capsys, *DATA, "--help", named)


def test_help_of_run_shows_no_default_since_the_file_has_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    assert "default" not in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: visionscope {command}")


@pytest.mark.parametrize(
    ("command", "most"), [("", 18), ("diagnose", 105), ("train", 125), ("points", 26), ("run", 20), ("buildup", 40)]
)
def test_help_is_short(
    command: str, most: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*command.split(), "--help"]) == 0
    assert len(capsys.readouterr().out.splitlines()) <= most


def test_the_help_of_diagnose_tells_of_snapshots(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for command, is_told in (("diagnose", True), ("points", False), ("train", False)):
        assert main([command, "--help"]) == 0
        assert ("what train wrote, RUN/train/*/*.safetensors" in capsys.readouterr().out) == is_told


def test_only_without_a_value_lists_the_diagnostics_in_a_line_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for arguments in (["--only"], ["resnet18", "--data", "embedded", "--only"]):
        assert main(["diagnose", *arguments]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == list(diagnostic_names())
        assert [line for line in lines if not line.endswith(".")] == []


def test_every_flag_says_what_it_does(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    for command in [*([name, "--help"] for name in COMMANDS), ["diagnose", "--help", "all"]]:
        assert main(command) == 0
        lines = capsys.readouterr().out.splitlines()
        for line, following in pairwise([*lines, ""]):
            if line.startswith("  --"):
                text = line.strip().partition("  ")[2] or following  # a long flag has its text below
                assert len(text.split()) >= 2, line


@pytest.mark.parametrize(
    ("command", "given", "meant"),
    [
        ("train", "32", "fp32"),
        ("train", "bfloat16", "bf16"),
        ("train", "fp64", "fp32"),
        ("train", "16-mixed", "fp16"),
        ("diagnose", "32", "fp32"),
        ("diagnose", "float64", "fp64"),
        ("diagnose", "fp16", "bf16"),
        ("diagnose", "auto", "fp32"),
        ("diagnose", "half", "bf16"),
    ],
)
def test_one_vocabulary_for_precision(command: str, given: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = told(capsys, command, "resnet18", "--data", "embedded", "--precision", given)
    assert "precision: must be one of " in line
    assert f"; got {given!r}. Did you mean {meant!r}?" in line


def test_a_path_that_is_not_close_is_no_suggestion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    line = told(capsys, "diagnose", "resnet18", "--data", "photoz")
    assert line.endswith("there is no photoz. Did you mean 'photos'?\n")
    line = told(capsys, "diagnose", "resnet18", "--data", "pictures")
    assert line.endswith("there is no pictures. Data are a folder, or embedded, torch/NAME or hfds/NAME.\n")
    line = told(capsys, "diagnose", "resnet18", "--data", f"{tmp_path}/pictures")
    assert line.endswith(f"there is no {tmp_path}/pictures.\n")
