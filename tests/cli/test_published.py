"""The authors' published landscapes beside one's own, from the command line."""

import pyarrow.csv
import pytest

from running.conftest import NETWORKS
from visionscope.cli import main

ASKED = ["--random-weights", "0", "--data", "embedded", "--device", "cpu"]


def test_published_landscapes_stand_beside_ones_own(tmp_path, capsys):
    small = ["--landscape.points", "3", "--landscape.sample_size", "16", "--landscape.draws", "1"]
    out = str(tmp_path / "run")
    assert main(["diagnose", f"cnn={NETWORKS}:convolutions", *ASKED, "--only", "landscape", *small, "--out", out]) == 0
    assert main(["report", out, "--published", "ViT-Ti, ResNet-50"]) == 0
    rows = pyarrow.csv.read_csv(tmp_path / "run" / "tables" / "landscape.csv")
    counts = {row["values"]: row["counts"] for row in rows["model"].value_counts().to_pylist()}
    assert counts == {"cnn": 12, "ViT-Ti (published)": 441, "ResNet-50 (published)": 441}
    assert "ViT-Ti (published)" in (tmp_path / "run" / "report.html").read_text()
    summary = (tmp_path / "run" / "tables" / "landscape_summary.csv").read_text()
    assert "ResNet-50 (published)" in summary
    capsys.readouterr()
    assert main(["report", out, "--published", "ViT-Tiny"]) == 2
    assert "must be ResNet-50 or ViT-Ti; got 'ViT-Tiny'. Did you mean 'ViT-Ti'?" in capsys.readouterr().err


def test_a_run_without_a_landscape_has_nothing_to_put_them_beside(tmp_path, capsys: pytest.CaptureFixture[str]):
    out = str(tmp_path / "run")
    images = ["--images", "16", "--only", "variance", "--out", out]
    assert main(["diagnose", f"cnn={NETWORKS}:convolutions", *ASKED, *images]) == 0
    assert main(["report", out, "--published", "ViT-Ti"]) == 2
    assert "published: the run has no landscape to draw them beside" in capsys.readouterr().err
