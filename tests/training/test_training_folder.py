"""The folder of a training: what makes two trainings the same, damage, and two processes at once."""

import fcntl
import functools
import json
import multiprocessing
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from reference.warm import started
from running.killing import run_command, run_command_stopped
from training.conftest import SMALL
from training.test_loop import same_bits
from visionscope.cli import main
from visionscope.errors import VisionscopeError
from visionscope.training import train as module
from visionscope.training.snapshots import Keeper, Position
from visionscope.training.train import Trained, train

ASKED = ["--epochs", "0.5", "--batch-size", "32"]


@pytest.fixture
def photos(data: str, tmp_path: Path) -> Path:
    """A few of the images, to be changed."""
    folder = tmp_path / "photos"
    for split in ("train", "test"):
        for name in ("dark", "light"):
            (folder / split / name).mkdir(parents=True)
            for path in sorted((Path(data) / split / name).iterdir())[:16]:
                shutil.copy(path, folder / split / name)
    return folder


def trained(photos: Path | str, run: Path, **more: object) -> Trained:
    return train(SMALL, str(photos), run, **{"epochs": 1, "batch_size": 8, **more})


def folders(run: Path) -> int:
    return len(list((run / "train").iterdir()))


def _invert(photos: Path, split: str) -> None:
    path = sorted((photos / split / "dark").iterdir())[3]
    ImageOps.invert(Image.open(path)).save(path)


def _exchange(photos: Path) -> None:
    """Two images change their labels."""
    one, other = (sorted((photos / "train" / name).iterdir())[0] for name in ("dark", "light"))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


@pytest.mark.parametrize(
    "change",
    [
        lambda photos: _invert(photos, "train"),
        lambda photos: _invert(photos, "test"),
        _exchange,
        lambda photos: (
            (photos / "train" / "dark").rename(photos / "train" / "x")
            and (photos / "test" / "dark").rename(photos / "test" / "x")
        ),
    ],
    ids=["a training image", "a test image", "labels", "the name of a class"],
)
def test_other_images_or_labels_are_another_training(photos: Path, tmp_path: Path, change: object) -> None:
    first = trained(photos, tmp_path)
    change(photos)  # type: ignore[operator]
    second = trained(photos, tmp_path)
    assert first.checkpoint.parent != second.checkpoint.parent
    assert first.checkpoint.exists()


def test_the_same_images_elsewhere_are_the_same_training(photos: Path, tmp_path: Path, monkeypatch) -> None:
    first = trained(photos, tmp_path)
    moved = Path(shutil.move(photos, tmp_path / "moved"))
    monkeypatch.setattr(module, "_Job", None)  # nothing is trained again
    assert trained(moved, tmp_path) == first


def test_the_same_relative_path_of_another_folder_is_another_training(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path(shutil.copytree(photos, tmp_path / "there" / "photos")).parent
    _invert(other / "photos", "train")
    checkpoints = []
    for folder in (tmp_path, other):
        monkeypatch.chdir(folder)
        checkpoints.append(trained("photos", tmp_path / "run").checkpoint)
    assert checkpoints[0] != checkpoints[1]
    assert folders(tmp_path / "run") == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda value: torch.zeros_like(value),
        lambda value: value.flip(0),
        lambda value: torch.where(torch.arange(value.numel()).reshape(value.shape) == 0, value + 1e-3, value),
    ],
    ids=["zeros", "another order", "one number"],
)
def test_other_weights_in_the_place_of_the_last_are_trained_anew(photos: Path, tmp_path: Path, change) -> None:
    first = trained(photos, tmp_path)
    kept = shutil.copy(first.checkpoint, tmp_path / "kept.safetensors")
    with safe_open(first.checkpoint, "pt") as file:
        metadata, name = file.metadata(), max(file.keys())
    state = load_file(first.checkpoint)
    save_file({**state, name: change(state[name])}, first.checkpoint, metadata)
    notes: list[str] = []
    assert trained(photos, tmp_path, note=notes.append) == first
    assert same_bits(first.checkpoint, Path(kept))
    assert notes == [
        f"{first.checkpoint}: its weights are not those that this training ended with; it is trained again"
    ]
    assert trained(photos, tmp_path, note=notes.append) == first
    assert len(notes) == 1


def test_a_factory_that_changes_is_another_training(photos: Path, tmp_path: Path) -> None:
    net = tmp_path / "net.py"
    net.write_text(
        "from torch import nn\n\ndef make():\n    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
        "nn.Linear(3, 2))\n    model.pretrained_cfg = {'input_size': (3, 16, 16), 'mean': (0, 0, 0), 'std': (1, 1, 1)}"
        "\n    return model\n"
    )
    first = train(f"{net}:make", str(photos), tmp_path, epochs=1, batch_size=8)
    net.write_text(net.read_text().replace("'std': (1, 1, 1)", "'std': (2, 2, 2)"))
    second = train(f"{net}:make", str(photos), tmp_path, epochs=1, batch_size=8)
    assert first.checkpoint != second.checkpoint


def test_an_image_that_cannot_be_read_is_told(photos: Path, tmp_path: Path) -> None:
    path = sorted((photos / "train" / "dark").iterdir())[0]
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(VisionscopeError, match=re.escape(path.name)):
        trained(photos, tmp_path)


def test_last_weights_of_another_training_are_not_taken_for_it(photos: Path, tmp_path: Path) -> None:
    first, other = (trained(photos, tmp_path, seed=seed) for seed in (0, 1))
    kept = Path(shutil.copy(first.checkpoint, tmp_path))
    shutil.copy(other.checkpoint, first.checkpoint)
    assert trained(photos, tmp_path) == first
    assert same_bits(first.checkpoint, kept)


@pytest.mark.parametrize("name", ["last.safetensors", "resume.pt", "log.csv", "train.json", ".lock"])
def test_a_folder_in_the_place_of_a_file_is_told_before_anything_is_trained(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    first = trained(photos, tmp_path)
    for path in first.checkpoint.parent.iterdir():
        path.unlink()
    (first.checkpoint.parent / name).mkdir()
    monkeypatch.setattr(module, "fit", None)
    with pytest.raises(VisionscopeError, match=r"move it away"):
        trained(photos, tmp_path)


@pytest.mark.parametrize("name", ["last.safetensors", "resume.pt"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(photos: Path, tmp_path: Path, name: str) -> None:
    first = trained(photos, tmp_path)
    first.checkpoint.unlink()
    os.mkfifo(first.checkpoint.parent / name)
    with pytest.raises(VisionscopeError, match=r"it is a named pipe, not a file|move it away"):
        trained(photos, tmp_path)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"training": "another", "position": {}},
        [1, 2],
        {"training": "this", "position": 3},
    ],
)
def test_a_state_that_is_no_state_of_this_training_is_passed_over(tmp_path: Path, state: object) -> None:
    keeper = Keeper(tmp_path, None, 3, training="this", metadata={})  # type: ignore[arg-type]
    torch.save(state, tmp_path / "resume.pt")
    assert keeper.step() is None
    assert keeper.resume({}) is None


def test_a_state_that_does_not_fit_is_told_with_a_remedy(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, None, 3, training="this", metadata={})  # type: ignore[arg-type]
    keeper.save(Position(step=1), {"network": torch.nn.Linear(2, 2)})
    with pytest.raises(VisionscopeError, match=r"resume.pt: its state does not fit this training .* to begin anew"):
        keeper.resume({"network": torch.nn.Linear(3, 2)})
    with pytest.raises(VisionscopeError, match=r"to begin anew"):
        keeper.resume({"optimizer": torch.nn.Linear(2, 2)})


def test_a_second_process_is_refused_in_a_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = trained(photos, tmp_path)
    first.checkpoint.unlink()
    lock = first.checkpoint.parent / ".lock"
    ready, done = multiprocessing.Event(), multiprocessing.Event()
    holder = multiprocessing.get_context("fork").Process(target=_hold, args=(lock, ready, done))
    holder.start()
    ready.wait()
    arguments = ["train", SMALL, "--data", str(photos), "--out", str(tmp_path), "--epochs", "1", "--batch-size", "8"]
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("another process is at this training; wait for it, or name another folder with --out")
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()
    assert main(arguments) == 0  # the killed one has left nothing behind
    assert not lock.exists()


def _hold(lock: Path, ready: object, done: object) -> None:
    with lock.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        ready.set()  # type: ignore[attr-defined]
        done.wait()  # type: ignore[attr-defined]


def test_a_file_system_without_locks_keeps_nobody_out(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    assert trained(photos, tmp_path).checkpoint.exists()


def test_files_are_for_whom_the_user_says(photos: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        folder = trained(photos, tmp_path).checkpoint.parent
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert set(modes.values()) == {0o640}, modes


def arguments_of(data: str, run: Path, *more: str) -> list[str]:
    return ["train", SMALL, "--data", data, "--out", str(run), "--batch-size", "16", "--epochs", "4", *more]


@pytest.fixture(scope="module")
def whole(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training by the command line that nothing disturbed."""
    run = tmp_path_factory.mktemp("whole")
    process = started(run_command, run, arguments_of(data, run))
    process.join()
    assert process.exitcode == 0, (run / "stderr").read_text()
    (folder,) = (run / "train").iterdir()
    return folder


def _has_learned(run: Path) -> bool:
    """Whether the log has an epoch."""
    return any(len(log.read_text().splitlines()) > 1 for log in run.glob("train/*/log.csv"))


def _stopped(data: str, run: Path, number: int) -> int | None:
    """Stops a training once it has learned for an epoch."""
    process = started(
        run_command_stopped, run, arguments_of(data, run), functools.partial(_has_learned, run), int(number)
    )
    process.join()
    return process.exitcode


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_a_training_that_is_stopped_goes_on_to_the_same_bits(
    data: str, tmp_path: Path, whole: Path, number: int, code: int
) -> None:
    assert _stopped(data, tmp_path, number) == code
    (folder,) = (tmp_path / "train").iterdir()
    said = (tmp_path / "stderr").read_text()
    if code > 0:
        assert said.endswith("\nStopped. The same command goes on from the last minute.\n")
        before = said.splitlines()[:-2]  # where a training takes long, it tells how far it is
        assert all(line.startswith("visionscope: training: ") for line in before)
        assert not list(folder.glob(".*"))
    assert not (folder / "last.safetensors").exists()
    process = started(run_command, tmp_path, arguments_of(data, tmp_path))
    process.join()
    assert process.exitcode == 0, (tmp_path / "stderr").read_text()
    assert same_bits(whole / "last.safetensors", folder / "last.safetensors")
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in whole.iterdir())


def test_two_trainings_at_once_end_right_or_are_refused(data: str, tmp_path: Path, whole: Path) -> None:
    """The same one twice and another, in one run folder."""
    asked = [arguments_of(data, tmp_path), arguments_of(data, tmp_path), arguments_of(data, tmp_path, "--seed", "1")]
    processes = []
    for number, arguments in enumerate(asked):
        (tmp_path / str(number)).mkdir()
        processes.append(started(run_command, tmp_path / str(number), arguments))
    for process in processes:
        process.join()
    codes = [process.exitcode for process in processes]
    assert codes[2] == 0
    assert sorted(codes[:2]) in ([0, 0], [0, 2])  # one may have ended before the other began
    for number in (0, 1):
        said = (tmp_path / str(number) / "stderr").read_text()
        assert codes[number] == 0 or "another process is at this training" in said
        assert "Traceback" not in said
    digests = {json.loads(path.read_text())["training"] for path in tmp_path.glob("train/*/train.json")}
    assert len(digests) == 2
    assert same_bits(whole / "last.safetensors", tmp_path / "train" / whole.name / "last.safetensors")
    rows = (tmp_path / "train" / whole.name / "log.csv").read_text().splitlines()
    assert len(rows) == len((whole / "log.csv").read_text().splitlines())


@pytest.mark.slow
def test_many_kills_end_with_the_same_bits(data: str, tmp_path: Path, whole: Path) -> None:
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        _stopped(data, tmp_path, number)
    process = started(run_command, tmp_path, arguments_of(data, tmp_path))
    process.join()
    assert process.exitcode == 0
    assert same_bits(whole / "last.safetensors", tmp_path / "train" / whole.name / "last.safetensors")
