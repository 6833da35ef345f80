"""Kills, torn files and full disks: what was stopped goes on and ends with the same bits."""

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from reference.warm import started
from running.killing import run_command
from training.conftest import SMALL
from training.test_loop import rows_of, same_bits
from visionscope.errors import VisionscopeError
from visionscope.models.load import load_model
from visionscope.training import loop, snapshots
from visionscope.training.plan import Training
from visionscope.training.train import train

# Everything that has a state: dropout, drop path, Mixup, the average, the optimizer's moments, a best.
ASKED = {
    "recipe": "paper-cifar",
    "epochs": 2,
    "batch_size": 32,
    "learning_rate": 2e-3,
    "ema": 0.9,
    "drop_path": 0.2,
    "validation": 0.25,
    "snapshots": (1,),
}
NETWORK = "vit_nano?depth=2&embed_dim=48&proj_drop_rate=0.1"


def _train(data: str, folder: Path, sam: float = 0.0) -> None:
    torch.set_num_threads(1)
    train(NETWORK, data, folder, save_seconds=0.0, sam=sam, **ASKED)


def _folder(run: Path) -> Path:
    (folder,) = (run / "train").iterdir()
    return folder


def _finish(data: str, run: Path, kills: int, sam: float = 0.0) -> None:
    """Kills the training at random moments, then lets it end."""
    dice = random.Random(0)
    for _ in range(kills):
        process = started(_train, data, run, sam)
        while not list(run.glob("train/*/resume.pt")):
            time.sleep(0.01)
        time.sleep(dice.uniform(0, 0.3))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert not list(run.glob("train/*/last.safetensors"))
    process = started(_train, data, run, sam)
    process.join()
    assert process.exitcode == 0


def _equal_but_for_times(one: Path, other: Path) -> bool:
    timed = {"seconds", "images_per_second"}
    left, right = ([{k: v for k, v in row.items() if k not in timed} for row in rows_of(at)] for at in (one, other))
    return left == right


@pytest.fixture(scope="module")
def whole(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Never stopped."""
    run = tmp_path_factory.mktemp("whole")
    threads = torch.get_num_threads()
    _train(data, run)
    torch.set_num_threads(threads)
    return _folder(run)


def test_a_training_that_was_killed_ends_with_the_same_bits(data: str, tmp_path: Path, whole: Path) -> None:
    _finish(data, tmp_path, kills=2)
    killed = _folder(tmp_path)
    names = sorted(path.name for path in whole.glob("*.safetensors"))
    assert names == [f"{name}.safetensors" for name in ("best", "ema", "epoch-0001", "init", "last", "warmup")]
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in whole.iterdir())
    for name in names:
        assert same_bits(whole / name, killed / name), name
    assert _equal_but_for_times(whole, killed)


@pytest.mark.slow
def test_sharpness_aware_minimization_too(data: str, tmp_path: Path) -> None:
    _finish(data, tmp_path / "whole", kills=0, sam=0.05)
    _finish(data, tmp_path / "killed", kills=4, sam=0.05)
    assert same_bits(*(_folder(tmp_path / name) / "last.safetensors" for name in ("whole", "killed")))


class _StopError(Exception):
    pass


def _stopped_after(steps: int, data: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a training that an exception ended."""
    count = 0
    step = loop._step

    def counted(*arguments: object) -> torch.Tensor:
        nonlocal count
        count += 1
        if count > steps:
            raise _StopError
        return step(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "_step", counted)
        patched.setattr(loop, "CHECK_EVERY", 2)
        with pytest.raises(_StopError):
            _train(data, run)
    return _folder(run)


def test_a_torn_state_is_passed_over_for_the_one_before(
    data: str, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _stopped_after(11, data, tmp_path, monkeypatch)
    content = (folder / "resume.pt").read_bytes()
    (folder / "resume.pt").write_bytes(content[: len(content) // 2])
    steps = []
    step = loop._step
    monkeypatch.setattr(loop, "_step", lambda *given: (steps.append(given[-1]), step(*given))[1])
    _train(data, tmp_path)
    assert steps[0] == 9  # saved every two steps and at the epoch's end after nine; the one of step 11 is torn
    assert same_bits(whole / "last.safetensors", folder / "last.safetensors")


def test_without_any_complete_state_it_begins_anew(
    data: str, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _stopped_after(5, data, tmp_path, monkeypatch)
    for name in ("resume.pt", "resume-before.pt"):
        (folder / name).write_bytes(b"torn")
    _train(data, tmp_path)
    assert same_bits(whole / "last.safetensors", folder / "last.safetensors")
    assert _equal_but_for_times(whole, folder)


def test_a_full_disk_leaves_the_last_good_state(
    data: str, tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _stopped_after(7, data, tmp_path, monkeypatch)
    good = (folder / "resume.pt").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing fails as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) // 2, hard))
    try:
        with pytest.raises(VisionscopeError, match=r"can't be written \(.*\); the last good state is .*resume\.pt"):
            _train(data, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert (folder / "resume.pt").read_bytes() == good
    assert not list(folder.glob(".*"))
    _train(data, tmp_path)
    assert same_bits(whole / "last.safetensors", folder / "last.safetensors")


def test_weights_on_a_full_disk_are_refused_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model("resnet_nano", random_weights=0)
    keeper = snapshots.Keeper(tmp_path, loaded, 10, metadata={})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(
            VisionscopeError, match=r"init\.safetensors can't be written \(.*\); no state had been saved"
        ):
            keeper.keep("init", loaded.model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite_are_never_saved(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = loop._step

    def broken(training: Training, *arguments: object) -> torch.Tensor:
        loss = step(training, *arguments)
        if arguments[-1] == 12:
            with torch.no_grad():
                next(training.network.parameters()).fill_(float("inf"))
        return loss

    monkeypatch.setattr(loop, "_step", broken)
    monkeypatch.setattr(loop, "CHECK_EVERY", 1)
    with pytest.raises(VisionscopeError, match=r"weights are not finite after step 13; the last good state is"):
        _train(data, tmp_path)
    state = torch.load(_folder(tmp_path) / "resume.pt", weights_only=True)
    assert state["position"]["step"] == 12
    assert all(value.isfinite().all() for value in state["network"].values())


def test_a_torn_last_file_is_made_again(data: str, tmp_path: Path) -> None:
    first = train(SMALL, data, tmp_path, epochs=0.5)
    kept = Path(shutil.copy(first.checkpoint, tmp_path))
    content = kept.read_bytes()
    first.checkpoint.write_bytes(content[: len(content) // 2])
    again = train(SMALL, data, tmp_path, epochs=0.5)
    assert again == first
    assert same_bits(again.checkpoint, kept)


def test_a_loss_that_breaks_midway_names_the_last_good_state(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = loop._step

    def broken(*arguments: object) -> torch.Tensor:
        return step(*arguments) * (float("nan") if arguments[-1] == 12 else 1)

    monkeypatch.setattr(loop, "_step", broken)
    monkeypatch.setattr(loop, "CHECK_EVERY", 2)
    message = r"loss is nan at step 13, on the training images (\d+, ){31}\d+; the last good state is .*resume\.pt"
    with pytest.raises(VisionscopeError, match=message):
        _train(data, tmp_path)
    state = torch.load(_folder(tmp_path) / "resume.pt", weights_only=True)
    assert state["position"]["step"] == 11


def test_a_write_that_is_killed_midway_leaves_a_complete_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = snapshots.Keeper(tmp_path, None, 3, metadata={})  # type: ignore[arg-type]
    part = torch.nn.Linear(2, 2)
    keeper.save(snapshots.Position(step=1), {"part": part})
    keeper.save(snapshots.Position(step=2), {"part": part})
    (tmp_path / "resume.pt").rename(tmp_path / "resume-before.pt")  # the moment between the two renames
    assert keeper.step() == 2
    assert keeper.resume({"part": part}) == snapshots.Position(step=2)


LAUNCHED = """
import sys, torch
torch.set_num_threads(1)
from visionscope.cli import main
sys.exit(main(sys.argv[1:]))
"""


def _run_as(script: Path, folder: Path, arguments: list[str]) -> None:
    """The command line as if it were started by a script, which is started again for every process but the first."""
    sys.argv = [str(script), *arguments]
    run_command(folder, arguments)


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(data: str, tmp_path: Path) -> None:
    # With SGD: the gradient of a key's bias is zero but for rounding, which AdamW divides by itself.
    asked = ["--data", data, "--epochs", "2", "--fraction", "1/4", "--precision", "fp32", "--optimizer", "sgd"]
    asked += ["--learning-rate", "0.05", "--clip-norm", "5", "--decays", "all"]
    script = tmp_path / "launch.py"
    script.write_text(LAUNCHED)
    (tmp_path / "net.py").write_text(TRANSFORMER)
    results = {}
    for processes, batch in ((1, 32), (2, 16)):
        out = tmp_path / str(processes)
        out.mkdir()
        arguments = ["train", f"{tmp_path}/net.py:make", "--out", str(out), *asked]
        process = started(_run_as, script, out, [*arguments, "--batch-size", str(batch), "--devices", str(processes)])
        process.join(300)
        assert process.exitcode == 0, (out / "stderr").read_text()
        assert (out / "stdout").read_text().count("test images right") == 1
        results[processes] = out
    one, two = (_folder(results[processes]) for processes in (1, 2))
    assert json.loads((two / "train.json").read_text())["processes"] == 2
    left, right = (load_file(folder / "last.safetensors") for folder in (one, two))
    for name, value in left.items():
        torch.testing.assert_close(right[name], value, rtol=1e-5, atol=1e-6, msg=name)
    rows = [rows_of(folder) for folder in (one, two)]
    assert len(rows[0]) == len(rows[1]) == 2
    for name in ("top_1", "top_5", "nll", "nll_train"):
        assert rows[0][-1][name] == pytest.approx(rows[1][-1][name], rel=1e-5), name


TRANSFORMER = """
import timm

def make(num_classes=3):
    # timm's own patch embedding: vit_nano's has batch normalisation, which differs by nature.
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=4, embed_dim=48, depth=2, num_heads=3, num_classes=num_classes
    )
    model.pretrained_cfg = {"input_size": (3, 16, 16), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    return model

"""
