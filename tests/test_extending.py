"""Diagnostics of another package: those of the documentation keep the contract and go all the way to the page."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import scipy.stats
import torch
from torch.nn.functional import cross_entropy

import visionscope as vs
from report.unpacking import headers
from visionscope.cli import main

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples" / "diagnostics"
NETWORK = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.branch = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return x + self.branch(x)

def network():
    ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
    return nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), Block(), Block(), *ends)

network.pretrained_cfg = {"input_size": (3, 32, 32), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Installs the package of the examples for a while, and writes a network; returns the network's spec."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    (tmp_path / "network.py").write_text(NETWORK, encoding="utf-8")
    return f"mine={tmp_path}/network.py:network"


def test_the_examples_keep_the_contract() -> None:
    """The tests that run over the registry, in a process that finds the examples there."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES), *filter(None, sys.path)])}
    arguments = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/contract", "-k", "kurtosis or loss"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    passed = int(done.stdout.rsplit(" passed", 1)[0].split()[-1])
    assert passed >= 60


@pytest.mark.usefixtures("drawn")
def test_one_that_observes_goes_all_the_way(spec: str, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    run = vs.diagnose(spec, "embedded", only=["kurtosis"], images=300, random_weights=0, out=out, device="cpu")

    assert not run.failures
    rows = run.store.table("kurtosis").to_pylist()
    assert [row["point"] for row in rows] == ["stem", "1+conv", "2+conv"]
    assert {row["model"] for row in rows} == {"mine"}
    loaded = vs.load_model(spec, random_weights=0)
    sample = vs.Sample(vs.open_source("embedded"), loaded.input, 300, 0)
    with torch.no_grad():
        stem = torch.cat([loaded.model[0](batch.images) for batch in sample.batches()]).double()
    each = scipy.stats.kurtosis(stem.flatten(2).numpy(), axis=2).mean(1)
    assert rows[0]["kurtosis"] == pytest.approx(each.mean(), rel=1e-6)
    assert rows[0]["standard_error"] == pytest.approx(scipy.stats.sem(each), rel=1e-6)

    told = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    heaviest, ends = told["findings"]
    largest = max(rows, key=lambda row: row["kurtosis"])
    assert heaviest["headline"].startswith(
        f"In mine (random weights), feature maps have the heaviest tails at {largest['point']} (excess kurtosis "
    )
    assert "from stem to 2+conv" in ends["headline"]
    assert {finding["anchor"] for finding in told["findings"]} == {"rows-kurtosis-1", "rows-kurtosis-2"}
    (cell,) = told["measures"]
    assert (cell["diagnostic"], cell["model"], cell["name"]) == ("kurtosis", "mine", "kurtosis, last point")
    low, high = scipy.stats.t.interval(0.95, 299, rows[2]["kurtosis"], rows[2]["standard_error"])
    assert [cell[key] for key in ("value", "low", "high", "n")] == [
        rows[2]["kurtosis"],
        pytest.approx(low, rel=1e-6),
        pytest.approx(high, rel=1e-6),
        300,
    ]
    page = run.page.read_text(encoding="utf-8")
    assert "kurtosis, last point" in page
    # The strongest sentence stands below the figure and names its model; the other is folded, under the model's name.
    for text in ("Tails of feature maps", heaviest["brief"], ends["headline"], "rests on the few positions"):
        assert text in page, text
    assert page.count("rests on the few positions") == 1
    assert "What each block does to the feature maps" in page
    assert (tmp_path / "run" / "figures" / "kurtosis.pdf").stat().st_size > 1000
    record = json.loads(next((tmp_path / "run" / "kurtosis").glob("*/job.json")).read_text(encoding="utf-8"))
    assert record["parts"] == ["0000-0256", "0256-0300"]


def test_one_that_measures_goes_all_the_way(spec: str, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    flags = ["--only", "loss", "--loss.mini_batches", "3", "--augmentation", "none", "--random-weights", "0"]
    assert main(["diagnose", spec, "--data", "embedded", *flags, "--out", out, "--device", "cpu"]) == 0

    rows = vs.Store(out).table("loss").to_pylist()
    assert [row["mini_batch"] for row in rows] == [0, 1, 2]
    loaded = vs.load_model(spec, random_weights=0)
    sample = vs.Sample(vs.open_source("embedded:train"), loaded.input, 48, 0)
    expected = [cross_entropy(loaded.model(batch.images), batch.labels).item() for batch in sample.batches(0, 48, 16)]
    assert [row["nll"] for row in rows] == pytest.approx(expected, rel=1e-6)
    assert "NLL (nat)" in headers((tmp_path / "run" / "report.html").read_text(encoding="utf-8"), "loss")
    assert (tmp_path / "run" / "tables" / "loss_summary.csv").is_file()


@pytest.mark.usefixtures("spec")
def test_a_field_of_theirs_is_held_to_its_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "resnet18", "--data", "embedded", "--only", "loss", "--loss.mini_batches", "0"]) == 2
    assert "loss.mini_batches: must be an integer from 1 to 10000; got 0" in capsys.readouterr().err
