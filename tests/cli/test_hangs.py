"""What never ends or never fits, in every place where a path can be given: one line, and soon.

Each case runs the real command line in a process of its own, bounded in memory and time.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from reference.endless import (
    CHECKPOINTS,
    DATA,
    FILES,
    STUDIES,
    Make,
    folder_loop,
    published_claim,
    published_pipe,
    repeated,
)
from reference.forking import CommandLine

NETWORKS = Path(__file__).parents[1] / "running" / "networks.py"
SECONDS = 30.0  # of wall time, on a busy machine
PROCESSOR = 8.0  # seconds that an error may take once torch and timm are imported
MEMORY = 900.0  # MiB


@pytest.fixture(scope="module")
def command_line() -> Iterator[CommandLine]:
    with CommandLine() as called:
        yield called


@pytest.fixture(scope="module")
def run_folder(command_line: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one model and one diagnostic; not to be changed."""
    folder = tmp_path_factory.mktemp("done")
    asked = ("--data", "embedded", "--only", "fourier", "--images", "8", "--device", "cpu", "--out", "run")
    ended = command_line("diagnose", f"cnn={NETWORKS}:convolutions", *asked, folder=folder, timeout=120)
    assert ended.code == 0, ended
    return folder / "run"


FAST = {"pipe.safetensors", "bomb.pth", "device.yaml", "laughs.yaml", "image pipe", "many ways", "parquet paths"}


def _marked(names: dict[str, Make]) -> list[object]:
    return [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in names]


def _is_one_line(command_line: CommandLine, *arguments: str, folder: Path, codes: tuple[int, ...] = (2,)) -> str:
    ended = command_line(*arguments, folder=folder, timeout=SECONDS)
    assert ended.code is not None, f"hung: {arguments}"
    assert ended.code in codes, ended
    lines = ended.err.splitlines()
    assert all(line.startswith("visionscope: ") for line in lines), ended.err
    assert len(lines) == 1 or ended.code != 2, ended.err
    assert "Traceback" not in ended.err
    assert ended.seconds < PROCESSOR, ended
    assert ended.peak < MEMORY, ended
    return ended.err


def _diagnose(model: str = f"cnn={NETWORKS}:convolutions", data: str = "embedded", *more: str) -> tuple[str, ...]:
    return ("diagnose", model, "--data", data, "--images", "8", "--only", "fourier", "--device", "cpu", *more)


@pytest.mark.parametrize("name", _marked(CHECKPOINTS))
def test_files_of_weights(name: str, command_line: CommandLine, tmp_path: Path) -> None:
    CHECKPOINTS[name](tmp_path / name)
    told = _is_one_line(command_line, *_diagnose(f"resnet_nano@{name}"), folder=tmp_path)
    assert name in told


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_files_of_factories(kind: str, command_line: CommandLine, tmp_path: Path) -> None:
    FILES[kind](tmp_path / "own.py")
    _is_one_line(command_line, *_diagnose("own.py:make"), folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_folders_of_hugging_face_models(name: str, kind: str, command_line: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "hub").mkdir()
    if name != "config.json":
        config = {"model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
        (tmp_path / "hub" / "config.json").write_text(json.dumps({**config, "image_size": 32, "patch_size": 16}))
    FILES[kind](tmp_path / "hub" / name)
    _is_one_line(command_line, *_diagnose("hf:./hub"), folder=tmp_path)


@pytest.mark.parametrize("name", _marked(DATA))
def test_data(name: str, command_line: CommandLine, tmp_path: Path) -> None:
    DATA[name](tmp_path / name)
    # An image that can't be used costs its part alone.
    _is_one_line(command_line, *_diagnose(data=name), folder=tmp_path, codes=(1, 2))


@pytest.mark.slow
def test_a_value_repeated_in_parquet(command_line: CommandLine, tmp_path: Path) -> None:
    repeated(tmp_path / "data")
    ended = command_line(*_diagnose(data="data"), folder=tmp_path, timeout=2 * SECONDS, memory=8000)
    assert ended.code == 1, ended
    assert "unpacks to" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("make", [published_pipe, published_claim, folder_loop, os.mkfifo])
@pytest.mark.parametrize("field", ["corruption", "shape_bias"])
def test_published_sets(field: str, make: Make, command_line: CommandLine, tmp_path: Path) -> None:
    make(tmp_path / "set")
    more = (
        "--only",
        field,
        f"--{field}.folder",
        "set",
        *(("--corruption.types", "fog") if field == "corruption" else ()),
    )
    asked = ("diagnose", f"cnn={NETWORKS}:convolutions", "--data", "embedded", "--device", "cpu", *more)
    _is_one_line(command_line, *asked, folder=tmp_path)


@pytest.mark.parametrize("name", _marked(STUDIES))
def test_files_of_studies(name: str, command_line: CommandLine, tmp_path: Path) -> None:
    STUDIES[name](tmp_path / name)
    _is_one_line(command_line, "run", name, folder=tmp_path)


def _file_of(run: Path, name: str) -> Path:
    (job,) = (run / "fourier").iterdir()
    (part,) = job.glob("*.parquet")
    places = {"job.json": job / "job.json", "part": part, "error": part.with_suffix(".error.json")}
    return places.get(name, run / name)


RUN_FILES = (
    "job.json",
    "part",
    "error",
    "study.yaml",
    "log.txt",
    "environment.json",
    "report.html",
    "studies",
    "fourier",
)
FAST_RUN = {("job.json", "pipe"), ("part", "device")}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(name, kind, marks=() if (name, kind) in FAST_RUN else pytest.mark.slow)
        for name in RUN_FILES
        for kind in ("pipe", "device", "loop", "huge")
    ],
)
def test_files_of_a_run(name: str, kind: str, command_line: CommandLine, run_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    path = _file_of(run, name)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    FILES[kind](path)
    for command in ("status", "report"):
        _is_one_line(command_line, command, "run", folder=tmp_path, codes=(0, 1, 2))
    again = _diagnose(f"cnn={NETWORKS}:convolutions", "embedded", "--out", "run")
    _is_one_line(command_line, *again, folder=tmp_path, codes=(0, 1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "huge"])
@pytest.mark.parametrize("command", ["status", "report", "diagnose", "train", "buildup"])
def test_folders_of_runs(command: str, kind: str, command_line: CommandLine, tmp_path: Path) -> None:
    FILES[kind](tmp_path / "run")
    if command == "diagnose":
        asked = _diagnose(f"cnn={NETWORKS}:convolutions", "embedded", "--out", "run")
    elif command == "train":
        asked = ("train", "resnet_nano", "--data", "embedded", "--out", "run")
    elif command == "buildup":
        asked = ("buildup", "resnet_nano", "--data", "embedded", "--budget", "1h", "--out", "run")
    else:
        asked = (command, "run")
    _is_one_line(command_line, *asked, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_checkpoints_of_a_plane(kind: str, command_line: CommandLine, tmp_path: Path) -> None:
    FILES[kind](tmp_path / "other.pth")
    more = ("--only", "landscape", "--landscape.checkpoints", "other.pth", "--landscape.points", "3")
    asked = ("diagnose", "resnet_nano", "--random-weights", "0", "--data", "embedded", "--device", "cpu", *more)
    _is_one_line(command_line, *asked, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_a_file_to_write(kind: str, command_line: CommandLine, tmp_path: Path) -> None:
    """A pipe or a link may give way to a file; a folder may not, and nothing may wait."""
    FILES[kind](tmp_path / "out.safetensors")
    asked = ("harmonize", "resnet_nano", "--msa", "0,1,1", "--random-weights", "0", "--device", "cpu", "--batch", "1")
    _is_one_line(command_line, *asked, "--out", "out.safetensors", folder=tmp_path, codes=(0, 2))


def test_the_bounds_hold(command_line: CommandLine, tmp_path: Path) -> None:
    """The server itself: a call that hangs is killed, and one that eats memory fails alone."""
    (tmp_path / "slow.py").write_text("import time\ndef make():\n    time.sleep(60)\n")
    (tmp_path / "wide.py").write_text("def make():\n    bytes(2**40)\n")
    assert command_line(*_diagnose("slow.py:make"), folder=tmp_path, timeout=3).code is None
    assert command_line(*_diagnose("wide.py:make"), folder=tmp_path).code == 2
    assert command_line("models", "resnet_nano", folder=tmp_path).out == "resnet_nano\n"
