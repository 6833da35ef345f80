"""The paper's plotted curves, put back into feature maps: the diagnostics must read the same signs off them."""

import json
import math
from importlib.resources import files

import numpy as np
import pytest
import torch

from reference.observing import feed, make_points
from visionscope.diagnostics.fourier.question import Fourier
from visionscope.diagnostics.variance.question import Variance

PAPER = json.loads((files("visionscope.claims") / "published" / "paper_figures.json").read_text(encoding="utf-8"))
VIT_KINDS = ["stem", *["msa", "mlp"] * 12]


def map_with_spectrum(curve, side):
    """A map whose half-diagonal has these log-amplitudes, relative to that at 0."""
    place = np.add.outer(np.arange(side), np.arange(side))
    values = np.exp(5 + curve[0]) * np.ones((side, side))
    for k, log_amplitude in enumerate(curve[1:], start=1):
        values += 2 * np.exp(5 + log_amplitude) * np.cos(2 * math.pi * k * place / side)
    return torch.from_numpy(values)[None, None]


def map_with_variance(variance, side=7):
    noise = np.random.default_rng(0).standard_normal((side, side))
    return torch.from_numpy(noise * math.sqrt(variance / noise.var(ddof=1)))[None, None]


def signs(rows, kind, value):
    return [getattr(row, value) for row in rows if row.kind == kind]


def vit_fourier_rows():
    points = make_points([(14, 14)] * 25, kinds=VIT_KINDS, stages=[0] + [1] * 24, channels=1)
    maps = [map_with_spectrum(curve, 14) for curve in PAPER["figD2_fourier"]["ViT"]["curves"]]
    return list(feed(Fourier().observer(points), points, maps, np.arange(1), 1).rows())


def test_attention_lowers_high_frequencies_in_9_of_12_blocks_and_mlps_raise_them_in_8():
    rows = [row for row in vit_fourier_rows() if row.high_frequency]
    attention, mlp = signs(rows, "msa", "change"), signs(rows, "mlp", "change")
    assert (len(attention), sum(change < 0 for change in attention)) == (12, 9)
    assert (len(mlp), sum(change > 0 for change in mlp)) == (12, 8)
    assert attention[:4] == pytest.approx([-0.11, 0.48, 0.36, -0.13], abs=0.011)


def test_the_curves_themselves_come_back():
    rows = vit_fourier_rows()
    for index, curve in enumerate(PAPER["figD2_fourier"]["ViT"]["curves"]):
        own = [row.delta_log_amplitude for row in rows if row.point == f"p{index}"]
        assert own == pytest.approx(curve, abs=1e-6)


def test_resnet_curves_change_only_within_a_grid():
    curves = PAPER["figD2_fourier"]["ResNet"]["curves"]
    grids = [(56, 56)] * 4 + [(28, 28)] * 4 + [(14, 14)] * 6 + [(7, 7)] * 3
    points = make_points(grids, channels=1)
    maps = [map_with_spectrum(curve, grid[0]) for curve, grid in zip(curves, grids, strict=True)]
    rows = [row for row in feed(Fourier().observer(points), points, maps, np.arange(1), 1).rows() if row.high_frequency]
    expected = PAPER["figD2_fourier"]["ResNet"]["delta_log_amp_high"]
    assert [row.delta_log_amplitude for row in rows] == pytest.approx(expected, abs=0.006)
    assert [index for index, row in enumerate(rows) if row.change is None] == [0, 4, 8, 14]


def test_attention_lowers_variance_in_12_of_12_blocks_and_mlps_raise_it_in_8():
    values = PAPER["figD1_feature_variance"]["ViT"]
    points = make_points([(7, 7)] * 25, kinds=VIT_KINDS, channels=1)
    maps = [map_with_variance(value) for value in values]
    rows = list(feed(Variance().observer(points), points, maps, np.arange(1), 1).rows())
    assert [row.variance for row in rows] == pytest.approx(values, rel=1e-9)
    attention, mlp = signs(rows, "msa", "change"), signs(rows, "mlp", "change")
    assert (len(attention), sum(change < 0 for change in attention)) == (12, 12)
    assert (len(mlp), sum(change > 0 for change in mlp)) == (12, 8)
