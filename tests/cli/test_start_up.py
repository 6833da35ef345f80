"""What a command imports before it needs it: libraries that take seconds, and diagnostics that nobody asked for."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.test_flags import DATA
from running.conftest import NETWORKS
from visionscope.core.registry import diagnostic_names

LATE = ("datasets", "jinja2", "lightning_fabric", "matplotlib", "pandas", "plotly", "pytorch_optimizer", "scipy")
PLANNED = f"""
    import sys
    import torch, timm
    before = set(sys.modules)  # what the two bring along is theirs
    from visionscope.commands.studies import diagnose, diagnose_flags
    from visionscope.flags import Parser
    import visionscope.running.execute

    class FirstImage(Exception):
        pass

    def stop(*given, **named):
        raise FirstImage

    visionscope.running.execute.execute = stop
    parser = Parser()
    diagnose_flags(parser)
    asked = ["cnn={NETWORKS}:convolutions", "--data", "embedded", "--images", "8", "--device", "cpu", "--yes"]
    folder = "visionscope.diagnostics."
    for only in ("fourier", "all"):
        try:
            diagnose(parser.parse_args([*asked, "--out", sys.argv[1], "--only", only]))
        except FirstImage:
            new = set(sys.modules) - before
            late = sorted(set({LATE!r}) & {{name.partition(".")[0] for name in new}})
            print(only, *late, *sorted(name.removeprefix(folder) for name in new if name.startswith(folder)))
"""


def test_planning_imports_neither_what_draws_nor_what_was_not_asked_for(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(PLANNED), str(tmp_path / "run")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120)
    one, everything = (set(line.split()[1:]) for line in found.stdout.splitlines())
    assert one == {"changes", "changes.rows", "fourier", "fourier.question"}  # the rows of points share a type
    assert {f"{name}.question" for name in diagnostic_names()} <= everything
    assert set(LATE) & everything == set()
    assert {name for name in everything if name.endswith((".figure", ".findings"))} == set()


BUDGET = ("--data", "embedded", "--budget")
# Each command in a fork of a process that has imported what most commands need, which takes most of their time.
WITHOUT_TORCH = """
    import json, os, signal, sys, traceback
    for name in ("torch", "timm", "torchvision", "datasets"):
        sys.modules[name] = None  # importing it fails
    from visionscope.cli import main
    import visionscope.commands.studies
    for line in sys.stdin:
        folder, arguments = json.loads(line)
        child = os.fork()
        if child:
            with open(f"{folder}/code", "w") as file:
                file.write(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
            print(flush=True)
            continue
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT), stream)
        code = 1
        signal.alarm(60)
        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
"""


@pytest.fixture(scope="module")
def without_torch() -> Iterator[subprocess.Popen[str]]:
    """Carries out commands, one a line: a folder for what it says and its arguments."""
    command = [sys.executable, "-c", textwrap.dedent(WITHOUT_TORCH)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        yield started
        assert started.stdin is not None
        started.stdin.close()
        assert started.wait(60) == 0


def carried_out(process: subprocess.Popen[str], folder: Path, arguments: list[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    assert process.stdin is not None
    assert process.stdout is not None
    said = folder / "said"
    said.mkdir()
    process.stdin.write(json.dumps([str(said), arguments]) + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "\n"
    code, *texts = ((said / name).read_text() for name in ("code", "stdout", "stderr"))
    return int(code), texts[0], texts[1]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([*DATA, "--images", "-5"], "images: must be an integer from 1"),
        ([*DATA, "--only", "forier"], "Did you mean 'fourier'?"),
        ([*DATA, "--lesion.mode", "conv"], "lesion is not selected"),
        (["diagnose", "resnet18", "--data", "/nowhere"], "there is no /nowhere"),
        (["diagnose", "resnet18?x", "--data", "embedded"], "arguments are written"),
        (["train", "resnet18", "--data", "embedded", "--epochs", "-1"], "epochs: must be a number above 0"),
        (["train", "resnet18", "--data", "embedded", "--fraction", "2"], "fraction: must be a number above 0"),
        (["harmonize", "resnet18", "--msa", "x"], "msa: each must be an integer from 0"),
        (["buildup", "resnt18", *BUDGET, "1h"], "timm has no model 'resnt18'. Did you mean 'resnet18'?"),
        (["buildup", "resnet18", *BUDGET, "soon"], "budget: must be a time such as 2h, 1.5h or 45min"),
        (["buildup", "resnet18@nowhere.pt", *BUDGET, "1h"], "checkpoint nowhere.pt: there is no such file"),
        (["points", "resnet18", "--size", "0", "0"], "size: each must be an integer from 1"),
        (["run", "/nowhere.yaml"], "study: /nowhere.yaml can't be read"),
        (["status", "/nowhere"], "/nowhere: is not a run folder"),
        (["report", "/nowhere"], "/nowhere: is not a run folder"),
        (["demo", "--seed", "x"], "seed: must be an integer"),
        (["diagnose", "--help", "hesian"], "Did you mean 'hessian'?"),
        (["diagnose", "resnt18", "--data", "embedded"], "timm has no model 'resnt18'. Did you mean 'resnet18'?"),
        (
            ["diagnose", "alternet_5O", "--data", "embedded"],
            "timm has no model 'alternet_5O'. Did you mean 'alternet_5",
        ),
        (
            ["points", "torchvision:resnet19"],
            "torchvision has no image model 'resnet19'. Did you mean 'resnet1",
        ),
        (["train", "vit_nanno", "--data", "embedded"], "timm has no model 'vit_nanno'. Did you mean 'vit_nano'?"),
        (["harmonize", "resnt50", "--msa", "0,1"], "timm has no model 'resnt50'"),
        (["diagnose", "resnet18@nowhere.pt", "--data", "embedded"], "checkpoint nowhere.pt: there is no such file"),
        (["points", "resnet18@/tmp"], "checkpoint /tmp: it can't be read: it is a folder, not a file"),
        (["diagnose", "nowhere.py:net", "--data", "embedded"], "model 'nowhere.py:net': there is no file"),
        (["points", "hf:./nowhere"], "hf:./nowhere: there is no such folder or file"),
        (["points", "resnet18", "--mean", "0", "--std", "1", "1"], "std: must have as many values as mean, 1; got"),
        (
            ["train", "resnet18", "--data", "embedded:test"],
            "--data must have a train and a test split and name neither",
        ),
        ([*DATA, "--only", "hessian", "--hessian.kk", "3"], "hessian.kk: hessian has no such field. Did you mean 'k'?"),
        ([*DATA, "--only", "lesion", "--lesion.mode", "blok"], "got 'blok'. Did you mean 'block'?"),
        ([*DATA, "--only", "hessian", "--precision", "bf16"], "precision: hessian is measured in fp32 or fp64 only"),
        (
            [*DATA, "--only", "corruption", "--corruption.folder", "/nowhere"],
            "corruption.folder: data '/nowhere': there is no",
        ),
        ([*DATA, "--out", "/dev/null/run"], "/dev/null: a file stands where a folder should be; move it away"),
        (["train", "resnet18", "--data", "embedded", "--out", "/dev/null"], "/dev/null: a file stands where"),
        (["demo", "--out", "/dev/null"], "/dev/null: a file stands where a folder should be"),
        ([*DATA, "--only", "all", "--calibration.bins", "0"], "calibration.bins: must be an integer from"),
    ],
)
def test_what_needs_no_torch_imports_none(
    arguments: list[str], line: str, without_torch: subprocess.Popen[str], tmp_path: Path
) -> None:
    code, said, refused = carried_out(without_torch, tmp_path, arguments)
    assert (code, said) == (2, "")
    assert line in refused
    assert refused.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        *(["diagnose", "--help"], ["diagnose", "--help", "all"], ["train", "-h"], ["harmonize", "-h"], ["run", "-h"]),
        ["buildup", "-h"],
    ],
)
def test_help_imports_no_torch(arguments: list[str], without_torch: subprocess.Popen[str], tmp_path: Path) -> None:
    code, said, refused = carried_out(without_torch, tmp_path, arguments)
    assert (code, refused) == (0, "")
    assert said.startswith(f"usage: visionscope {arguments[0]}")


def test_status_of_a_build_up_imports_no_torch(without_torch: subprocess.Popen[str], tmp_path: Path) -> None:
    told = {"asked": {"model": "resnet_pico", "data": "embedded"}, "seeds": 4, "command": "visionscope buildup x"}
    (tmp_path / "buildup.json").write_text(json.dumps(told))
    code, said, refused = carried_out(without_torch, tmp_path, ["status", str(tmp_path)])
    assert (code, refused) == (0, "")
    assert "go on with: visionscope buildup x" in said
