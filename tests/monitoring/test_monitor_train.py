"""A monitor in `visionscope train`: the same weights with it and without, also across a stop; rows and trackers."""

import csv
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

import visionscope as vs
from monitoring.test_monitor_plain import SMALL_SHARPNESS, WITH_UPDATES, Passes, check_updates
from training.conftest import SMALL
from training.conftest import data as data  # a fixture of the training's tests
from visionscope.cli import main
from visionscope.models.load import load_model
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
    monitor = vs.Monitor(data, diagnostics=WITH_UPDATES, fields=SMALL_SHARPNESS, at_most=None)
    first = trained(data, tmp_path, until="epoch-0001", monitor=monitor, track=("tensorboard",))
    again = vs.Monitor(data, diagnostics=WITH_UPDATES, fields=SMALL_SHARPNESS, at_most=None)
    watched = trained(data, tmp_path, monitor=again, track=("tensorboard",))
    assert first.checkpoint.parent == watched.checkpoint.parent
    assert watched.checkpoint.parent.name == alone.checkpoint.parent.name  # the same training
    assert weights(watched) == weights(alone)
    rows = pd.read_parquet(watched.checkpoint.with_name("monitor.parquet"))
    assert sorted(rows["step"].unique()) == [0, 3, 6]
    assert sorted(rows["epoch"].unique()) == [0, 1, 2]
    check_updates(rows, [3, 6])
    last = vs.variance(f"{SMALL}@{watched.checkpoint}", data).to_pandas().set_index("point")["variance"]
    told = rows[(rows["step"] == 6) & (rows["diagnostic"] == "variance") & (rows["column"] == "value")].set_index(
        "point"
    )["value"]
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


def test_the_last_network_is_measured_where_epochs_are_no_whole_steps(data: str, tmp_path: Path) -> None:
    monitor = vs.Monitor(data, diagnostics=("variance",), at_most=None)
    ended = vs.train(SMALL, data, tmp_path, epochs=2, batch_size=120, scored="end", monitor=monitor)  # 3.2 steps each
    rows = pd.read_parquet(ended.checkpoint.with_name("monitor.parquet"))
    assert rows.groupby("step")["epoch"].unique().map(list).to_dict() == {0: [0], 4: [1.25], 6: [2]}


@pytest.fixture(scope="module")
def command(data: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = str(tmp_path_factory.mktemp("command"))
    given = ["--data", data, "--out", out, "--epochs", "1", "--batch-size", "128", "--scored", "end"]
    return ["train", SMALL, *given]


def test_the_command_line(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--monitor-every", "2", "--monitor-images", "40", "--monitor-at-most", "1"]
    assert main([*command, "--monitor", "variance,sharpness", "--sharpness.batch_size", "32", *more]) == 0
    (folder,) = (Path(command[5]) / "train").glob("*/monitor.parquet")
    rows = pd.read_parquet(folder)
    assert set(rows["diagnostic"]) == {"variance", "sharpness"}
    assert sorted(rows["step"].unique()) == [0, 2]
    told = rows[(rows["step"] == 0) & (rows["diagnostic"] == "variance") & (rows["column"] == "value")]
    loaded = load_model(f"{SMALL}@{folder.with_name('init.safetensors')}")
    again = vs.Monitor(command[3], diagnostics=("variance",), most_images=40, input=loaded.input, out=tmp_path)
    passes = Passes(loaded.model)
    again.step(loaded.model, 0, 0)
    assert passes.count == 40
    few = pd.read_parquet(tmp_path / "monitor.parquet").query("column == 'value'")
    assert told["value"].tolist() == pytest.approx(few["value"].tolist(), rel=1e-6)  # channels last: other sums
    assert told["value"].nunique() > 1
    capsys.readouterr()
    assert main([*command, "--monitor", "variance"]) == 0
    said = capsys.readouterr().err
    run, training = Path(command[5]), folder.parent
    asked = f"diagnose {training}/*.safetensors --only variance --out {run}"
    assert said == (
        "monitor: this training had ended before, and nothing is measured now; what was measured then is in "
        f"{folder}, and `visionscope {asked}` measures the weights that it kept\n"
    )
    files = sorted(map(str, training.glob("*.safetensors")))
    assert main(["diagnose", *files, *asked.split()[2:], "--images", "16", "--dry-run"]) == 0  # as the line says
    assert capsys.readouterr().out.count(": 16 images left") == len(files) == 3


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--monitor", "varianc"], "--monitor: there is no diagnostic 'varianc'. Did you mean 'variance'?"),
        (["--hessian.k", "3"], "--hessian.k: hessian is not selected; add it to --monitor"),
        (
            ["--monitor", "variance", "--hessian.k", "3"],
            "--hessian.k: hessian is not selected; add it to --monitor",
        ),
        (
            ["--monitor", "hessian", "--hessian.mini_batches", "0"],
            "hessian.mini_batches: must be an integer from 1 to 62500000; got 0",
        ),
        (["--monitor-every", "5"], "--monitor-every: says how --monitor measures; name diagnostics with that"),
        (
            ["--monitor", "variance", "--monitor-every", "step"],
            "monitor_every: must be epoch or a number of steps, 1 or more; got 'step'",
        ),
        (
            ["--monitor", "variance", "--monitor-at-most", "0"],
            "monitor_at_most: must be a number above 0; got 0.0",
        ),
    ],
)
def test_what_the_command_line_refuses(
    command: list[str], flags: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, *flags]) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1


def test_help_shows_the_flags_of_a_diagnostic(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help", "variance"]) == 0
    assert capsys.readouterr().out.startswith("usage: visionscope train MODEL ... --data TEXT --monitor variance")
    assert main(["train", "--monitor"]) == 0
    assert capsys.readouterr().out.split()[0] == "adversarial"
