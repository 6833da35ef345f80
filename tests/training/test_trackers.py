"""Trackers: what they keep, what they keep after a stop, and that none of them can stop a training."""

import csv
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from visionscope.errors import ConfigError
from visionscope.training import trackers
from visionscope.training.trackers import open_trackers

SETTINGS = {"model": "resnet_nano", "recipe": {"epochs": 3}, "seed": 0}


def log(folder: Path, steps: range, resumed_at: int | None = None, names: tuple[str, ...] = ()) -> None:
    opened = open_trackers(names, folder, SETTINGS, resumed_at)
    for step in steps:
        for tracker in opened:
            tracker.log(step, {"loss": 1 / step, "top_1": step / 10})
    for tracker in opened:
        tracker.close()


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("DO_NOT_TRACK", "true")  # MLflow reports its use else
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "0123456789ab"
    run.mkdir()
    return run


def test_every_row_is_on_the_disk_at_once_with_all_its_digits(folder: Path) -> None:
    (log_csv,) = open_trackers([], folder, SETTINGS, None)
    log_csv.log(3, {"loss": 1 / 3, "top_1": float("nan")})
    assert (folder / "log.csv").read_text() == f"step,loss,top_1\n3,{1 / 3!r},nan\n"
    log_csv.log(6, {"loss": 0.1, "top_1": 0.5})
    assert [row["step"] for row in rows(folder)] == ["3", "6"]
    log_csv.close()


@pytest.mark.parametrize("torn", ["", "5,0.2", "5,0.2,", "5,0.2\n", "\x00\x00\x00"])
def test_a_log_that_goes_on_has_each_step_once(folder: Path, torn: str) -> None:
    log(folder, range(1, 5))
    with (folder / "log.csv").open("a", newline="") as file:
        file.write(torn)
    log(folder, range(3, 7), resumed_at=2)
    log(folder.parent, range(1, 7))
    assert (folder / "log.csv").read_bytes() == (folder.parent / "log.csv").read_bytes()


def test_a_training_that_stopped_before_its_first_row_goes_on(folder: Path) -> None:
    for beginning in (None, "", "st", "step,lo"):
        if beginning is not None:
            (folder / "log.csv").write_text(beginning)
        log(folder, range(1, 3), resumed_at=0)
        assert [row["step"] for row in rows(folder)] == ["1", "2"]


def test_a_training_that_begins_anew_has_a_log_of_its_own(folder: Path) -> None:
    log(folder, range(1, 5))
    log(folder, range(1, 3))
    assert len(rows(folder)) == 2


def test_a_tracker_that_fails_warns_once_and_the_training_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing:
        def __init__(self, folder: Path, settings: Mapping[str, Any], resumed_at: int | None) -> None:
            pass

        def log(self, step: int, values: Mapping[str, float]) -> None:
            raise OSError("no connection\nand more")

        def close(self) -> None:
            raise OSError("still none")

    monkeypatch.setattr(trackers, "TRACKERS", {"failing": Failing})
    with pytest.warns(UserWarning, match="failing") as caught:
        log(folder, range(1, 4), names=("failing",))
    expected = "failing didn't take the values of step 1: no connection; the training goes on"
    assert [str(warning.message) for warning in caught] == [expected]
    assert len(rows(folder)) == 3


def test_a_tracker_that_can_t_be_opened_is_refused_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("not logged in\nrun login")

    monkeypatch.setattr(trackers, "TRACKERS", {"broken": broken})
    with pytest.raises(ConfigError, match=r"^--track: broken can't be opened: not logged in$"):
        open_trackers(["broken"], folder, SETTINGS, None)


def test_an_unknown_tracker_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"--track: must be among .*; got 'wandbb'\. Did you mean 'wandb'\?"):
        open_trackers(["wandbb"], folder, SETTINGS, None)


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_package_is_named(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    needs = rf"^--track {name} needs further packages: pip install 'visionscope\[track\]'"
    with pytest.raises(ConfigError, match=needs):
        open_trackers([name], folder, SETTINGS, None)


def test_tensorboard_has_each_step_once_after_a_stop(folder: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log(folder, range(1, 5), names=("tensorboard",))
    log(folder, range(3, 7), resumed_at=2, names=("tensorboard",))
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [(event.step, round(event.value, 6)) for event in events.Scalars("top_1")] == [
        (step, step / 10) for step in range(1, 7)
    ]
    (text,) = {event.tensor_proto.string_val[0].decode() for event in events.Tensors("settings/text_summary")}
    assert json.loads(text.strip("`\n")) == SETTINGS


def test_wandb_writes_its_offline_run_without_a_word(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("wandb")
    log(folder, range(1, 4), names=("wandb",))
    assert capfd.readouterr() == ("", "")
    (run,) = folder.glob("wandb/offline-run-*/run-0123456789ab.wandb")
    until = time.monotonic() + 30
    while run.read_bytes().count(b"top_1") < 3 and time.monotonic() < until:
        time.sleep(0.1)  # its service writes after the run was closed
    content = run.read_bytes()
    assert content.count(b"top_1") >= 3
    assert b"0.3" in content
    assert b"resnet_nano" in content


@pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow's use of SQLAlchemy
def test_mlflow_goes_on_in_the_same_run(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    from mlflow.tracking import MlflowClient

    log(folder, range(1, 5), names=("mlflow",))
    log(folder, range(3, 7), resumed_at=2, names=("mlflow",))
    assert capfd.readouterr() == ("", "")
    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("visionscope").experiment_id])
    assert run.info.run_name == folder.name
    assert run.info.status == "FINISHED"
    assert {name: run.data.params[name] for name in SETTINGS} == {
        "model": "resnet_nano",
        "recipe": '{"epochs": 3}',
        "seed": "0",
    }
    history = client.get_metric_history(run.info.run_id, "top_1")
    assert {(metric.step, metric.value) for metric in history} == {(step, step / 10) for step in range(1, 7)}
    assert {path.name for path in folder.parent.iterdir()} == {folder.name}
