"""The snapshots of a training, measured as bare files: labels, order, data, and what the page tells of the way."""

import json
from pathlib import Path

import pandas as pd
import pytest

from visionscope.cli import main
from visionscope.running.moments import MonitorRow, Rows
from visionscope.training.train import Trained

MOMENTS = {"init": 0, "epoch 2": 18, "epoch 5": 45, "last": 72}


def test_a_training_is_followed_from_its_files(
    short: Trained, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = short.checkpoint.parent
    files = sorted(map(str, folder.glob("*.safetensors")))
    asked = ["--only", "variance", "--images", "16", "--out", str(tmp_path)]
    assert main(["diagnose", *files, *asked]) == 0
    said = capsys.readouterr()
    assert f"visionscope: note: --data {data}, which these were trained on" in said.err
    records = [json.loads(path.read_text()) for path in tmp_path.glob("variance/*/job.json")]
    moments = {record["model"]["label"]: record["model"]["moment"] for record in records}
    steps = {label.removeprefix("resnet_nano "): moment["step"] for label, moment in moments.items()}
    own = {name: step for name, step in steps.items() if name in MOMENTS}
    assert own == MOMENTS
    assert steps["ema"] == MOMENTS["last"]
    assert moments["resnet_nano epoch 5"]["epoch"] == 5
    study = (tmp_path / "study.yaml").read_text()
    order = sorted(MOMENTS, key=lambda name: study.index(f"resnet_nano {name}="))
    assert order == list(MOMENTS)

    long = pd.read_csv(tmp_path / "tables" / "variance_over_training.csv")
    measured = pd.read_csv(tmp_path / "tables" / "variance.csv")
    values = long[long["column"] == "value"].pivot(index="point", columns="step", values="value")
    for name, step in MOMENTS.items():
        one = measured[measured["model"] == f"resnet_nano {name}"].set_index("point")["variance"]
        pd.testing.assert_series_equal(values[step], one, check_names=False, check_like=True, rtol=1e-12)
    shown = [name.removeprefix("resnet_nano ") for name in measured["model"].unique()]
    assert [name for name in shown if name in MOMENTS] == list(MOMENTS)
    moved = (values[MOMENTS["last"]] - values[0]).abs()
    told = json.loads((tmp_path / "report.json").read_text())["findings"]
    most = next(one for one in told if one["diagnostic"] == "variance_over_training" and "most, by" in one["headline"])
    assert abs(most["value"]) == pytest.approx(moved.max())
    assert moved.idxmax() in most["headline"]
    assert "from step 0 to 72" in most["headline"]

    rows = Rows(tmp_path / "train" / "0123456789ab")  # a monitor's, of the same training
    rows.begin(0)
    for step in (0, 72):
        rows.write(step, [MonitorRow(step, step / 9, "variance", "stem", "value", step + 1.0, None, None, "", "")])
    (rows.folder.parent / "train.json").write_text(json.dumps({"model": "resnet_nano"}))
    assert main(["report", str(tmp_path)]) == 0
    both = pd.read_csv(tmp_path / "tables" / "variance_over_training.csv")
    assert set(both["model"]) == {"resnet_nano", "resnet_nano (snapshots)"}
    assert len(both[both["model"] == "resnet_nano"]) == 2


def test_other_files_are_refused_in_a_line(short: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"")
    assert main(["diagnose", str(short.checkpoint), str(file), "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == (
        f"visionscope: model {file}: the file does not say which network it is of; write NAME@{file}\n"
    )
    assert main(["diagnose", str(short.checkpoint), "resnet18", "--out", str(tmp_path / "run")]) == 2
    assert "data: must be given" in capsys.readouterr().err  # what resnet18 was trained on nobody says
