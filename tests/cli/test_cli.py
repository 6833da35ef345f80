import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet
import pytest

from running.conftest import NETWORKS
from visionscope import api
from visionscope.cli import main
from visionscope.commands import COMMANDS, studies
from visionscope.running.store import Store

CNN, VIT = f"cnn={NETWORKS}:convolutions", f"vit={NETWORKS}:tokens"
SMALL = ["--data", "embedded", "--images", "40", "--device", "cpu"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr of a command that ends with exit code 2."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("visionscope: ")
    assert said.err.count("\n") == 1
    return said.err


def test_help_and_status_leave_torch_alone(finished):
    program = textwrap.dedent("""
        import sys
        from visionscope.cli import main
        try:
            code = main(sys.argv[1:])
        except SystemExit as error:
            code = error.code
        assert not [name for name in ("torch", "timm", "transformers", "datasets", "matplotlib") if name in sys.modules]
        sys.exit(code)
    """)
    for arguments, expected in ((["--help"], *[[*COMMANDS]]), (["status", str(finished)], ["everything is done"])):
        command = [sys.executable, "-W", "error", "-c", program, *arguments]
        found = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (found.returncode, found.stderr) == (0, "")
        assert [word for word in expected if word not in found.stdout] == []


def test_diagnose_writes_tables_and_page_and_says_where(tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["diagnose", CNN, VIT, *SMALL, "--out", str(out)]
    assert main(arguments) == 0
    said = capsys.readouterr()
    *findings, last = said.out.splitlines()
    assert last == f"{out}/report.html"
    told = json.loads((out / "report.json").read_text(encoding="utf-8"))
    headlines = {one["anchor"]: one["headline"] for one in told["findings"]}
    assert findings == [f"* {headlines[anchor]}" for anchor in told["main"]]
    assert len(findings) >= 2
    assert said.err == ""
    assert (out / "report.html").stat().st_size > 10_000
    assert set(Store(out).table("fourier")["model"].to_pylist()) == {"cnn", "vit"}
    between = (out / "tables" / "similarity_between.csv").read_text()
    assert "cnn" in between
    assert "vit" in between
    log = (out / "log.txt").read_text()
    assert main(["run", f"{out}/study.yaml"]) == 0
    assert (out / "log.txt").read_text() == log


def test_models_that_saw_different_images_are_not_compared(tmp_path, capsys):
    out = tmp_path / "run"
    for model, seed in ((CNN, "0"), (VIT, "1")):
        assert main(["diagnose", model, *SMALL, "--seed", seed, "--only", "similarity", "--out", str(out)]) == 0
    assert not (out / "tables" / "similarity_between.csv").exists()
    assert "left out similarity between cnn and vit: they saw different images" in (out / "log.txt").read_text()


def test_one_label_on_two_samples_is_told_apart(tmp_path):
    out = tmp_path / "run"
    for images in ("20", "40"):
        arguments = ["diagnose", CNN, "--data", "embedded", "--images", images, "--only", "variance"]
        assert main([*arguments, "--out", str(out)]) == 0
    table = (out / "tables" / "variance.csv").read_text()
    assert "cnn (20 images)" in table
    assert "cnn (40 images)" in table


def test_dry_run_lists_jobs_and_cost_and_computes_nothing(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["diagnose", CNN, *SMALL, "--only", "fourier,variance", "--out", str(out), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "fourier" in said
    assert "40 images left, about" in said
    assert "nothing was computed" in said
    assert not out.exists()


TINY_HESSIAN = ["--only", "hessian", "--hessian.k", "1", "--hessian.mini_batches", "9", "--hessian.tolerance", "0.01"]


def test_curvature_from_the_command_line(tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["diagnose", CNN, *SMALL, *TINY_HESSIAN, "--augmentation", "weak", "--out", str(out)]
    assert main([*arguments, "--dry-run"]) == 0
    said = capsys.readouterr()
    (row,) = (line for line in said.out.splitlines() if "hessian " in line and "│" in line)
    cells = [cell.strip() for cell in row.split("│")]
    assert cells[1:3] + cells[4:8] == ["cnn", "hessian", "embedded:train, weak augmentation", "9", "0", "144"]
    assert "cnn: hessian: 9 parts left, about " in said.out
    assert "MiB beside the model" in said.out
    assert said.err == ""
    assert not out.exists()
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert (said.out.splitlines()[-1], said.err) == (f"{out}/report.html", "")
    assert {path.name for path in (out / "tables").glob("*.csv")} == {"hessian.csv", "hessian_summary.csv"}
    assert main(["status", str(out)]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "hessian" in line and "│" in line)
    assert [cell.strip() for cell in row.split("│")][4:8] == ["9", "0", "0", "144"]
    assert main([*arguments, "--dry-run"]) == 0
    assert "cnn: hessian: 0 parts left, about 0 s" in capsys.readouterr().out


def test_too_little_memory_is_one_line_before_it_starts(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("visionscope.running.measuring.free_memory", lambda device: 1000)
    arguments = ["diagnose", CNN, *SMALL, *TINY_HESSIAN, "--out", str(tmp_path / "run")]
    for more in (["--dry-run"], []):
        assert main([*arguments, *more]) == 0
        said = capsys.readouterr().err
        assert said.startswith("visionscope: warning: hessian of cnn needs about ")
        assert "MiB of memory on cpu, where 0 MiB are free; " in said
        assert "--hessian.max_products" in said
        assert said.count("\n") == 1


def test_dry_run_of_a_finished_run_costs_nothing(finished, capsys):
    arguments = ["diagnose", CNN, "--data", "embedded", "--images", "300", "--only", "fourier,variance", "--dry-run"]
    assert main([*arguments, "--out", str(finished)]) == 0
    assert "cnn: 0 images left, about 0 s" in capsys.readouterr().out


def test_long_parts_and_long_runs_are_announced(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("visionscope.running.execute.LONG_PART_SECONDS", 1e-6)
    assert main(["diagnose", CNN, *SMALL, "--only", "variance", "--out", str(tmp_path / "run"), "--dry-run"]) == 0
    assert "cnn: one part takes more than 10 minutes" in capsys.readouterr().out
    monkeypatch.setattr(studies, "ASK_SECONDS", 1e-6)
    assert main(["diagnose", CNN, *SMALL, "--only", "all", "--out", str(tmp_path / "run")]) == 2
    *left_out, line = capsys.readouterr().err.splitlines()
    assert "visionscope: left out: attention of cnn: has no self-attention (no residual branch of kind msa)" in left_out
    assert all(said.startswith("visionscope: left out: ") for said in left_out)
    assert "only: all takes about" in line
    assert "add --yes" in line
    assert not (tmp_path / "run").exists()


def test_failed_parts_end_with_exit_code_one_and_a_list(tmp_path, capsys):
    photos = tmp_path / "photos" / "cat"
    photos.mkdir(parents=True)
    (photos / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    out = tmp_path / "run"
    arguments = ["diagnose", CNN, "--data", str(photos.parent), "--images", "1", "--only", "variance"]
    assert main([*arguments, "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "visionscope: failed: variance of cnn, part 0000-0001: " in said.err
    assert "torn.jpg" in said.err
    assert main(["status", str(out)]) == 0
    said = capsys.readouterr()
    assert "failed: variance of cnn, part 0000-0001" in said.out
    assert f"go on with: visionscope run {out}/study.yaml" in said.out


def test_status_of_a_stopped_run(finished, tmp_path, capsys):
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    next((folder / "fourier").glob("*/0256-0300.parquet")).unlink()
    assert main(["status", str(folder)]) == 0
    said = capsys.readouterr().out
    (row,) = (line for line in said.splitlines() if "fourier" in line)
    assert [cell.strip() for cell in row.split("│")][4:7] == ["1", "0", "1"]
    assert "checked: every job.json and every part file was read" in said
    assert "no study.yaml here says what was asked for: start the same `visionscope diagnose` command again" in said


def test_report_is_built_again_from_the_tables(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["diagnose", CNN, *SMALL, "--only", "variance", "--out", str(out)]) == 0
    page = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    capsys.readouterr()
    assert main(["report", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{out}/report.html"
    assert (out / "report.html").read_bytes() == page


def test_outcomes_are_csv_on_request_alone(tmp_path):
    out = tmp_path / "run"
    asked = ["--only", "calibration", "--calibration.sample_size", "20"]
    assert main(["diagnose", CNN, *SMALL, *asked, "--out", str(out)]) == 0
    tables = out / "tables"
    assert not (tables / "calibration_outcomes.csv").exists()
    assert main(["report", str(out), "--outcomes", "csv"]) == 0
    written = pyarrow.csv.read_csv(tables / "calibration_outcomes.csv")
    stored = pyarrow.parquet.read_table(tables / "calibration_outcomes.parquet")
    assert written.to_pylist() == stored.to_pylist()
    assert stored.num_rows == 40
    assert main(["report", str(out), "--outcomes", "parquet"]) == 0
    assert not (tables / "calibration_outcomes.csv").exists()  # or it might tell of another day's parts
    assert (tables / "calibration_outcomes.parquet").exists()


def test_points_as_a_table(capsys):
    assert main(["points", VIT]) == 0
    said = capsys.readouterr().out
    assert [word for word in ("prefix tokens", "blocks.1+msa", "4x4", "can be watched") if word not in said] == []


def test_points_of_a_file_that_does_not_say_how_it_wants_its_images(tmp_path, capsys):
    bare = tmp_path / "bare.py"
    bare.write_text("from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())\n")
    rest = ["--mean", "0.5", "0.5", "0.5", "--std", "0.5", "0.5", "0.5"]
    random = ["--random-weights", "0"]
    assert "give --size, or set pretrained_cfg" in refused(capsys, "points", f"{bare}:net")
    assert "give --size --mean --std" in refused(capsys, "diagnose", f"{bare}:net", *random, "--data", "embedded")
    for flags in (rest, []):  # where its feature maps are does not depend on how images are normalised
        assert main(["points", f"{bare}:net", "--size", "8", "8", *flags, "--json"]) == 0
        assert [point["grid"] for point in json.loads(capsys.readouterr().out)["points"]] == [[6, 6]]


@pytest.mark.parametrize(
    ("channels", "config"), [(1, "1, 8, 8"), (4, "4, 8, 8"), (13, "13, 8, 8"), (13, "8, 8"), (5, "3, 8, 8")]
)
def test_points_of_networks_for_other_images_than_photographs(channels, config, tmp_path, capsys):
    (tmp_path / "bands.py").write_text(
        f"from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Conv2d({channels}, 2, 3), nn.ReLU())\n"
        f"\nnet.pretrained_cfg = {{'input_size': ({config})}}\n"
    )
    assert main(["points", f"{tmp_path}/bands.py:net", "--json"]) == 0
    assert [point["grid"] for point in json.loads(capsys.readouterr().out)["points"]] == [[6, 6]]
    assert main(["points", f"{tmp_path}/bands.py:net", "--size", "9", "8", "--json"]) == 0
    assert [point["grid"] for point in json.loads(capsys.readouterr().out)["points"]] == [[7, 6]]


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_points_of_a_timm_network_with_other_channels(channels, capsys):
    assert main(["points", f"resnet_nano?in_chans={channels}", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["points"]) > 3


def test_points_as_json(capsys):
    assert main(["points", VIT, "--json"]) == 0
    few = json.loads(capsys.readouterr().out)
    assert few["unwatched"] == []
    assert [(point["name"], point["kind"], point["grid"]) for point in few["points"]] == [
        ("stem", "stem", [4, 4]),
        ("blocks.0+msa", "msa", [4, 4]),
        ("blocks.1+msa", "msa", [4, 4]),
    ]
    assert main(["points", VIT, "--json", "--all", "--size", "24", "32"]) == 0
    more = json.loads(capsys.readouterr().out)["points"]
    assert {"blocks.0.msa", "blocks.1.msa"} <= {point["name"] for point in more}
    assert {tuple(point["grid"]) for point in more} == {(6, 8)}


def test_models_are_listed_and_searched(capsys):
    assert main(["models", "resnet18", "--source", "torchvision"]) == 0
    assert capsys.readouterr().out == "torchvision:resnet18\n"
    assert main(["models", "vit_nan*"]) == 0
    assert capsys.readouterr().out == "vit_nano\n"
    assert "source: must be one of timm, torchvision, hf; got 'tim'. Did you mean 'timm'?" in refused(
        capsys, "models", "--source", "tim"
    )
    assert "pattern: no listed model matches 'zzz'" in refused(capsys, "models", "zzz")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("staus RUN", "there is no command 'staus'. Did you mean 'status'?"),
        ("status", "RUN: must be given"),
        ("status /nowhere", "/nowhere: is not a run folder"),
        ("status . --verbose", "--verbose: there is no such flag"),
        ("report /nowhere", "/nowhere: is not a run folder"),
        ("run /nowhere.yaml", "study: /nowhere.yaml can't be read"),
        ("diagnose resnt18 --data embedded", "timm has no model 'resnt18'. Did you mean 'resnet18'?"),
        ("diagnose resnet18 --data embeded --random-weights 0", "Did you mean 'embedded'?"),
        ("diagnose resnet18 --data embedded --points nowhere --random-weights 0", "points: resnet18 has none called"),
        (
            f"diagnose {CNN} --data embedded --only hessian --precision bf16",
            "precision: hessian is measured in fp32 or",
        ),
        (
            f"diagnose {CNN} --data embedded --hessian.k 0 --only hessian",
            "hessian.k: must be an integer from 1 to 1000; got 0",
        ),
        ("points /nowhere.py:model", "/nowhere.py"),
        ("train resnet18", "data: must be given"),
        ("train resnet_nano --data embedded --recipe labtop", "Did you mean 'laptop'?"),
        (
            "train resnet_nano --data embedded --fraction 1/0",
            "fraction: must be a number above 0 and at most 1; got '1/0'",
        ),
        ("train resnet_nano --data embedded --fraction 2", "fraction: must be a number above 0 and at most 1; got 2.0"),
        (
            "train resnet_nano --data embedded --snapshots 5,x",
            "snapshots: each must be an integer from 1 to 1000000; got 'x'",
        ),
        (
            "train resnet_nano --data embedded --learning-rate -1",
            "learning_rate: must be a number above 0 and at most 1000; got -1.0",
        ),
        ("train resnet_nano --data embedded --learningrate 1", "--learningrate: there is no such flag"),
        ("train resnet_nano --data embedded --track wand", "Did you mean 'wandb'?"),
        ("train resnet_nano --data nowhere/", "there is no nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(arguments, line, capsys):
    assert line in refused(capsys, *arguments.split())


def test_weights_that_cannot_be_had(tmp_path, capsys):
    factory = tmp_path / "mine.py"
    factory.write_text("from torch import nn\n\ndef make():\n    return nn.Sequential(nn.Conv2d(3, 4, 3))\n")
    line = refused(capsys, "diagnose", f"{factory}:make", "--data", "embedded", "--size", "16", "16")
    assert "@FILE" in line
    assert "--random-weights SEED" in line


def test_interrupted_run_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(api, "execute", interrupt)
        assert main(["diagnose", CNN, *SMALL, "--out", str(tmp_path / "run")]) == 130
    assert f"Go on with: visionscope run {tmp_path / 'run'}/study.yaml" in capsys.readouterr().err
    monkeypatch.setattr(api, "run_planned", interrupt)
    assert main(["diagnose", CNN, *SMALL, "--out", str(tmp_path / "other")]) == 130
    assert "Stopped; finished parts are kept. The same command starts again." in capsys.readouterr().err


def test_full_disk_is_one_line(tmp_path, capsys, monkeypatch):
    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    line = refused(capsys, "diagnose", CNN, *SMALL, "--out", str(tmp_path / "run"))
    assert "the disk is full; free some space, then start the same command again" in line
