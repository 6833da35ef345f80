"""Curvature from the command line: published landscapes, networks without feature maps, what stands in the way."""

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
    said = "published: each must be one of ResNet-50, ViT-Ti; got 'ViT-Tiny'. Did you mean 'ViT-Ti'?"
    assert said in capsys.readouterr().err


def test_a_run_without_a_landscape_has_nothing_to_put_them_beside(tmp_path, capsys: pytest.CaptureFixture[str]):
    out = str(tmp_path / "run")
    images = ["--images", "16", "--only", "variance", "--out", out]
    assert main(["diagnose", f"cnn={NETWORKS}:convolutions", *ASKED, *images]) == 0
    assert main(["report", out, "--published", "ViT-Ti"]) == 2
    assert "published: the run has no landscape to draw them beside" in capsys.readouterr().err


PLANTED = """
import torch
from torch import nn
from torch.autograd.function import once_differentiable


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return 3 * ctx.saved_tensors[0] ** 2 * gradient


class Act(nn.Module):
    def forward(self, x):
        return Cube.apply(x)


class Noise(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.1, training=True)


def network(act):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4), nn.Sequential(act), nn.Linear(4, 10))


def smooth():
    return network(nn.Tanh())


def planted():
    return network(Act())


def noisy():
    return network(Noise())


for factory in (smooth, planted, noisy):
    factory.pretrained_cfg = {"input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3}
"""


@pytest.mark.parametrize(
    ("factory", "diagnostic", "message"),
    [
        ("planted", "hessian", "can't be differentiated twice: module '2.0' (Act) runs Cube"),
        ("noisy", "hessian", "two passes over the same images differ, first in 2.0 (Noise)"),
        ("noisy", "landscape", "part row-00 and 7 more: Sequential: two passes over the same images differ"),
        ("smooth", "hessian", ""),
    ],
)
def test_any_network_curves_and_what_stands_in_the_way_is_named(factory, diagnostic, message, tmp_path, capsys):
    """Networks without feature maps: curvature needs none."""
    (tmp_path / "mine.py").write_text(PLANTED)
    few = {
        "hessian": ["--hessian.mini_batches", "1"],
        "landscape": ["--landscape.points", "3", "--landscape.sample_size", "16"],
    }
    asked = [*ASKED, "--only", diagnostic, *few[diagnostic], "--out", str(tmp_path / "run")]
    assert main(["diagnose", f"{tmp_path / 'mine.py'}:{factory}", *asked]) == bool(message)
    assert message in capsys.readouterr().err
    if not message:
        rows = pyarrow.csv.read_csv(tmp_path / "run" / "tables" / "hessian.csv")
        assert rows["converged"].to_pylist() == [True] * 5
