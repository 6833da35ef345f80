"""A monitor in `visionscope train`: the same weights with it and without, also across a stop; rows and trackers."""

import csv
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

import visionscope as vs
from training.conftest import SMALL
from training.conftest import data as data  # a fixture of the training's tests
from visionscope.cli import main
from visionscope.training.train import Trained

ASKED = {"epochs": 2, "batch_size": 128, "learning_rate": 4e-3, "ema": 0.9, "snapshots": (1,)}


def trained(data: str, out: Path, **more: object) -> Trained:
    return vs.train(SMALL, data, out, **ASKED, **more)


def weights(one: Trained) -> dict[str, bytes]:
    files = [one.checkpoint.with_name(f"{name}.safetensors") for name in ("epoch-0001", "ema", "last")]
    return {f"{path.stem} {key}": value.numpy().tobytes() for path in files for key, value in load_file(path).items()}


@pytest.fixture(scope="module")
def alone(data: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(data, tmp_path_factory.mktemp("alone"))


def test_a_training_ends_with_the_same_bits(data: str, tmp_path: Path, alone: Trained) -> None:
    monitor = vs.Monitor(data, diagnostics=("variance",), at_most=None)
    first = trained(data, tmp_path, until="epoch-0001", monitor=monitor, track=("tensorboard",))
    again = vs.Monitor(data, diagnostics=("variance",), at_most=None)
    watched = trained(data, tmp_path, monitor=again, track=("tensorboard",))
    assert first.checkpoint.parent == watched.checkpoint.parent
    assert watched.checkpoint.parent.name == alone.checkpoint.parent.name  # the same training
    assert weights(watched) == weights(alone)
    rows = pd.read_parquet(watched.checkpoint.with_name("monitor.parquet"))
    assert sorted(rows["step"].unique()) == [0, 3, 6]
    assert sorted(rows["epoch"].unique()) == [0, 1, 2]
    last = vs.variance(f"{SMALL}@{watched.checkpoint}", data).to_pandas().set_index("point")["variance"]
    told = rows[(rows["step"] == 6) & (rows["column"] == "value")].set_index("point")["value"]
    pd.testing.assert_series_equal(told, last, check_names=False, rtol=1e-6)
    with watched.checkpoint.with_name("log.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2  # the monitor's numbers go to the other trackers alone
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(watched.checkpoint.with_name("tensorboard")))
    events.Reload()
    shown = [(one.step, one.value) for one in events.Scalars("variance/variance_after_conv")]
    medians = rows[rows["column"] == "variance after conv"]
    assert shown == [
        (step, pytest.approx(value)) for step, value in zip(medians["step"], medians["value"], strict=True)
    ]


def test_the_command_line(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", SMALL, "--data", data, "--out", str(tmp_path), "--epochs", "1", "--batch-size", "128"]
    assert main([*command, "--monitor", "variance,similarity", "--scored", "end"]) == 0
    (folder,) = (tmp_path / "train").glob("*/monitor.parquet")
    rows = pd.read_parquet(folder)
    assert set(rows["diagnostic"]) == {"variance", "similarity"}
    assert sorted(rows["step"].unique()) == [0, 3]
    capsys.readouterr()
    assert main([*command, "--monitor", "varianc"]) == 2
    assert (
        capsys.readouterr().err
        == "visionscope: --monitor: there is no diagnostic 'varianc'. Did you mean 'variance'?\n"
    )
