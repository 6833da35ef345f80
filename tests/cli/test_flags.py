"""What the command line refuses, and how it ends whatever happens."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from visionscope import cli
from visionscope.cli import main
from visionscope.errors import ConfigError
from visionscope.flags import Parser, add_study_flags

DATA = ["diagnose", "resnet18", "--data", "embedded"]
BUILDUP = ["buildup", "resnet_pico", "--data", "embedded", "--budget", "1h"]


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr of a command that ends with exit code 2."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert all(one.isprintable() for one in said.err[:-1])
    assert len(said.err) < 300
    return said.err


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--images", "3", "--images", "4"], "--images: is given twice"),
        (["--hessian.k", "3", "--hessian.k=3", "--only", "hessian"], "--hessian.k: is given twice"),
        (["--images="], "images: must be an integer from 1 to 1000000000; got ''"),
        (["--images", ""], "images: must be an integer from 1 to 1000000000; got ''"),
        (["--images"], "--images: needs a value: an integer from 1"),
        (["--images", "--seed", "3"], "--images: needs a value"),
        (["--imag", "3"], "--imag: there is no such flag. Did you mean '--images'?"),
        (["–images", "3"], "begins with a long dash; flags begin with two short ones. Did you mean '--images'?"),
        (["—seed=3"], "begins with a long dash"),
        (["--images 3"], "'--images 3': there is no such flag"),
        (["--images\n3"], r"'--images\n3': there is no such flag"),
        (["-x"], "-x: there is no such flag"),
        (["--print_config"], "--print_config: there is no such flag"),
        (["--config", "x.yaml"], "--config: there is no such flag"),
        (["--yes=3"], "--yes: takes no value; got '3'"),
        (["--size"], "--size: needs 2 values with a space between them: height and width in pixels, each an integer"),
        (["--size", "--seed", "3"], "height and width in pixels, each an integer from 1 to 16384\n"),
        (["--size", "224"], "from 1 to 16384; got '224'. Did you mean '--size 224 224'?\n"),
        (["--size", "64,32"], "from 1 to 16384; got '64,32'. Did you mean '--size 64 32'?\n"),
        (["--size=64,32", "--seed", "3"], "got '64,32'. Did you mean '--size 64 32'?\n"),
        (["--size", "64x32"], "got '64x32'. Did you mean '--size 64 32'?\n"),
        (["--size", "64,0"], "from 1 to 16384; got '64,0'\n"),
        (["--size", "1,2,3"], "from 1 to 16384; got '1,2,3'\n"),
        (["--size", "0", "0"], "size: each must be an integer from 1 to 16384; got 0"),
        (["--size", "224", "1e3"], "size: each must be an integer from 1 to 16384; got '1e3'"),
        (["--mean", "-1", "nan", "1"], "mean: each must be a number from -10000 to 10000; got 'nan'"),
        (["--std", "inf"], "std: each must be a number from 1e-06 to 10000; got 'inf'"),
        (["--mean", "0", "0", "0", "--std", "1"], "std: must have as many values as mean, 3; got [1.0]"),
        (["--weight-decay", "-1e-3"], "weight_decay: must be a number from 0 to 1000; got -0.001"),
        (["--weight-decay", "1e400"], "weight_decay: must be a number from 0 to 1000; got inf"),
        (["--weight-decay", "0x10"], "weight_decay: must be a number from 0 to 1000; got '0x10'"),
        (["--weight-decay", "[1]"], "got '[1]'"),
        (["--label-smoothing", "null"], "label_smoothing: must be a number of at least 0 and below 1; got 'null'"),
        (["--images", "1_000"], "got '1_000'"),
        (["--images", "٣"], "got '٣'"),
        (["--images", "2.0"], "got '2.0'"),
        (["--images", "9" * 5000], "images: must be an integer from 1 to 1000000000; got '99"),
        (["--seed", str(2**32)], "seed: must be an integer from 0 to 4294967295; got 4294967296"),
        (["--seed", "@seed.txt"], "got '@seed.txt'"),
        (["--batch", "{1: 2}"], "got '{1: 2}'"),
        (["--device", "meta"], "device: must be auto, cpu, cuda or cuda:N; got 'meta'"),
        (["--device", "cuda:-1"], "device: must be auto, cpu, cuda or cuda:N; got 'cuda:-1'"),
        (["--out", ""], "out: must be a run folder; got ''"),
        (["--out", "a" * 300], "out: a name in a path has at most 255 bytes"),
        (["--out", "~nobody-of-that-name/run"], "there is no home folder '~nobody-of-that-name'"),
        (["--points", "stem,,"], "points: each must be text that is not empty; got ''"),
        (["--only", ""], "only: must be a list of diagnostics, such as fourier,lesion; got []"),
        (["--only", "all,lesion"], "only: there is no diagnostic 'all'"),
        (["--lesion.mode", "conv"], "--lesion.mode: lesion is not selected; add it to --only"),
        (["--lession.mode", "conv"], "--lession.mode: there is no diagnostic 'lession'. Did you mean 'lesion'?"),
        (["--only", "lesion", "--lesion.mod", "conv"], "lesion.mod: lesion has no such field. Did you mean 'mode'?"),
        (["--only", "lesion", "--lesion.mode"], "--lesion.mode: needs a value"),
        (["--fourier.radial", "yes"], "fourier.radial: must be true or false; got 'yes'"),
        (["--points", "caf\udce9"], r"points: each must be text in UTF-8; got 'caf\udce9'"),
        (["--output", "a\0b"], r"output: must be text without NUL characters; got 'a\x00b'"),
    ],
)
def test_one_line_says_what_is_wrong(flags: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert line in told(capsys, *DATA, *flags)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["diagnose", "--data", "embedded"], "MODEL: must be given"),
        (["diagnose", "--", "resnet18", "--data", "embedded"], "data: must be given"),
        (
            ["diagnose", "a=resnet18", "a=resnet34", "--data", "embedded"],
            "have one label, 'a'; write 'a-2=resnet34'",
        ),
        (["diagnose", "resnet18?x", "--data", "embedded"], "model spec 'resnet18?x': arguments are written"),
        ([*DATA, "--size", "16384", "16384"], "size: must be 16,777,216 pixels at most, such as 4096 x 4096; got"),
        (["points", "resnet18", "--size", "4097", "4096"], "size: must be 16,777,216 pixels at most"),
        (["harmonize", "resnet18", "--msa", "1", "--size", "9999", "9999"], "size: must be 16,777,216 pixels at most"),
        (["points", "resnet18", "resnet34"], "'resnet34': is an argument too many"),
        (["points", "resnet18", "--lesion.mode", "conv"], "--lesion.mode: there is no such flag"),
        (
            ["train", "resnet18", "--data", "embedded", "--dat", "x"],
            "--dat: there is no such flag. Did you mean '--data'",
        ),
        (["train", "resnet18", "--data", "embedded", "--rand-augment", "aug"], "rand_augment: must be a recipe like"),
        (["train", "resnet18", "--data", "embedded", "--sam", "0.1", "--precision", "fp16"], "sam: does not work with"),
        (["train", "resnet18", "--data", "embedded", "--mixup", "1e-320"], "mixup: must be 0 or at least 1e-06"),
        (["train", "resnet18", "--data", "embedded", "--epochs", "nan"], "epochs: must be a number above 0"),
        (["train", "resnet18", "--data", "embedded", "--track", "mlflow,mlflow"], "track: must not repeat an item"),
        (["train", "resnet18", "--data", "embedded", "--snapshots", "9999"], "snapshots: must be epochs from 1 to 20"),
        (["demo", "--seed", "-1"], "seed: must be an integer from 0 to 4294967295; got -1"),
        (
            ["models", "--source", "tim"],
            "source: must be one of timm, torchvision, hf; got 'tim'. Did you mean 'timm'?",
        ),
        (["harmonize", "resnet18"], "msa: must be given"),
        (["harmonize", "resnet18", "--msa", "1,1,1,1", "--heads", "3"], "num_heads: must have as many numbers as msa"),
        (["harmonize", "resnet18", "--msa", "1", "--window", "0"], "window: must be an integer from 1 to 16384; got 0"),
        (["buildup", "resnet_pico", "--data", "embedded"], "budget: must be given"),
        ([*BUILDUP, "--at-most-ms", "nan"], "at_most_ms: must be a number above 0"),
        ([*BUILDUP, "--from-pretrain"], "--from-pretrain: there is no such flag. Did you mean '--from-pretrained'"),
        (["report", ".", "--published", "ViT"], "published: each must be one of ResNet-50, ViT-Ti; got 'ViT'. Did you"),
        (["report", ".", "--outcomes", "cvs"], "outcomes: must be one of parquet, csv; got 'cvs'. Did you mean 'csv'?"),
        (["run", "."], "study: . is a folder"),
        (["\x1b[31mrun"], r"there is no command '\x1b[31mrun'. Did you mean 'run'?"),
    ],
)
def test_every_command_obeys_the_rules(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert line in told(capsys, *arguments)


def test_a_run_folder_in_place_of_its_study_is_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.yaml").write_text("models: [resnet18]\n")
    assert f"is a folder; name the file in it, {tmp_path}/study.yaml" in told(capsys, "run", str(tmp_path))


def test_environment_variables_and_files_set_no_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IMAGES", "VISIONSCOPE_IMAGES", "DIAGNOSE_IMAGES"):
        monkeypatch.setenv(name, "3")
    parser = Parser()
    add_study_flags(parser)
    assert parser.parse_args(["resnet18", "--data", "embedded"]).images is None


def test_values_that_begin_with_a_dash_are_values() -> None:
    parser = Parser()
    add_study_flags(parser)
    parsed = parser.parse_args(["--mean", "-1", "-.5", "-1e-3", "--weight-decay=0", "--", "resnet18"])
    assert parsed.mean == [-1.0, -0.5, -0.001]
    assert parsed.models == ["resnet18"]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (MemoryError("too much"), 2, "visionscope: not enough memory; close other programs (too much)\n"),
        (MemoryError(), 2, "visionscope: not enough memory; close other programs\n"),
        (OSError(12, "Cannot allocate memory"), 2, "visionscope: not enough memory; close other programs"),
        (ImportError("x.so: failed to map segment from shared object"), 2, "visionscope: not enough memory; close"),
        (ImportError("no such thing"), 1, "visionscope: this is a bug in visionscope: ImportError: no such thing"),
        (
            RecursionError("maximum recursion depth exceeded"),
            2,
            "visionscope: the input is nested too deep",
        ),
        (OSError(28, "No space left on device", "/x"), 2, "visionscope: No space left on device: /x"),
        (KeyError("x\n\x1b[31my"), 1, r"visionscope: this is a bug in visionscope: KeyError: 'x\n\x1b[31my'; run it"),
        (ConfigError("a\nb\x1b[31m\u202e"), 2, r"visionscope: a b\x1b[31m\u202e"),
        (ConfigError("x" * 5000), 2, "visionscope: xxx"),
        (SystemExit(7), 2, "visionscope: a network's or a library's own code ended the program (exit 7)"),
        (KeyboardInterrupt(), 130, "visionscope: stopped"),
    ],
)
def test_whatever_happens_ends_in_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(given: list[str]) -> int:
        raise error

    monkeypatch.delenv(cli.DEBUG, raising=False)
    monkeypatch.setattr(cli, "_run", fail)
    assert main(["status"]) == code
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1
    assert len(said) < 1100


@pytest.mark.parametrize(
    ("command", "advice"),
    [("diagnose", "a smaller --batch or --size"), ("train", "a smaller --batch-size"), ("points", "a smaller --size")],
)
def test_advice_names_flags_that_the_command_has(
    command: str, advice: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(given: list[str]) -> int:
        raise MemoryError

    monkeypatch.setattr(cli, "_run", fail)
    assert main([command]) == 2
    assert capsys.readouterr().err.startswith(f"visionscope: not enough memory; {advice}")


@pytest.mark.parametrize("kilobytes", [60_000, 150_000, 400_000])
def test_a_shell_that_gives_no_memory_is_told(kilobytes: int, tmp_path: Path) -> None:
    """Wherever the memory ends; a library that ends the process by itself says so itself."""
    shell = f"ulimit -v {kilobytes}; exec '{sys.executable}' -m visionscope.cli status nowhere"
    ended = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode in (1, 2)
    assert "Traceback" not in ended.stderr
    told = r"^visionscope: (not enough memory; a limit of 0\.\d GiB .*ulimit -v|.*nowhere).*\n$|^OpenBLAS error: Memory"
    assert re.search(told, ended.stderr), ended.stderr


def test_a_fault_of_our_own_shows_its_traceback_when_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(given: list[str]) -> int:
        raise KeyError("inside")

    monkeypatch.setattr(cli, "_run", fail)
    monkeypatch.setenv(cli.DEBUG, "1")
    assert main(["status"]) == 1
    said = capsys.readouterr().err
    assert "Traceback (most recent call last)" in said
    assert said.endswith("visionscope: this is a bug in visionscope: KeyError: 'inside'\n")


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ("PYTHONIOENCODING=ascii visionscope diagnöze", 2, r"no command 'diagn\xf6ze'. Did you mean 'diagnose'?"),
        ("LC_ALL=C visionscope $(printf 'st\\377tus')", 2, r"no command 'st\udcfftus'. Did you mean 'status'?"),
        ("visionscope --help >&-", 0, ""),
        ("visionscope diagnoze >&-", 2, "Did you mean 'diagnose'?"),
        ("visionscope diagnoze 2>&-", 2, ""),
        ("visionscope diagnoze >&- 2>&-", 2, ""),
    ],
)
def test_streams_that_hold_little_or_are_closed(given: str, code: int, said: str) -> None:
    shell = f"visionscope() {{ '{sys.executable}' -m visionscope.cli \"$@\"; }}; {given}"
    found = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60)
    assert found.returncode == code
    assert said in found.stderr
    assert found.stderr.count("\n") == (1 if said else 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["--help"], ["status", "--help"]])
def test_a_full_disk_behind_stdout_is_told(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "visionscope.cli", *arguments]
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (found.returncode, found.stderr) == (2, "visionscope: No space left on device\n")


def test_a_reader_that_leaves_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "visionscope.cli", "--help"]
    found = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert (found.returncode, found.stderr) == (0, "")
