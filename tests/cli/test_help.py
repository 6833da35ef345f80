"""How help pages read."""

import re

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
    assert (
        "--size INT INT height and width of the input in pixels instead of the model's own (from 1 to 16384)" in words
    )
    assert "--out TEXT run folder; the same command resumes it (default visionscope-run)" in words
    assert words.index("--data") < words.index("--only") < words.index("--images") < words.index("--seed")
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
    assert "variance: Feature-map variance" in words
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
