"""Each of the paper's figures drawn from tables that no network made, by both libraries."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.synthetic import tables
from visionscope.core.figure import Figure, Panel
from visionscope.experiments.catalogue import PAPER_FIGURES, figure_named
from visionscope.experiments.figures.drawing import paper_figure
from visionscope.experiments.figures.over_seeds import by_seed, mean_and_ends, mean_line, strip
from visionscope.report.files import write_figure
from visionscope.report.plotly import models_of, to_plotly
from visionscope.report.sections import section

NAMES = [figure.name for figure in PAPER_FIGURES]


def drawn(name: str) -> Figure:
    figure = paper_figure(name, tables(), "embedded, 12 epochs")
    assert figure is not None, name
    return figure


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_is_drawn_for_the_page_and_the_notebook(name: str) -> None:
    figure = drawn(name)
    assert figure.title.startswith(figure_named(name).title)
    assert "ours: embedded, 12 epochs" in figure.title
    panels: list[object] = []
    section(figure, models_of([figure]), panels)
    assert panels
    json.dumps(panels, default=str)
    assert to_plotly(figure).data


def test_figures_are_written_for_papers(tmp_path: Path) -> None:
    for name in ("2b", "6", "10a", "12b"):
        write_figure(tmp_path, name, drawn(name))
        assert (tmp_path / f"{name}.pdf").read_bytes()[:5] == b"%PDF-"


def test_a_figure_without_anything_of_ours_is_not_drawn() -> None:
    assert paper_figure("1c", {}, "nothing") is None
    assert paper_figure("2b", {}, "nothing") is None


def test_published_values_stand_beside_ours() -> None:
    ours, paper = drawn("2b").panels
    assert [line.name for line in ours.lines] == ["resnet", "vit"]
    assert paper.lines[0].y[0] == -5.01  # ResNet at 0.1 pi, read off Fig. 2b
    assert ours.lines[0].y == (-6.0,) * 3 + (-50.0,) * 3 + (-30.0,) * 3
    kernel = drawn("7").panels[0]
    assert kernel.x_names == ("3x3", "global")
    assert kernel.lines[-1].y == (27.89, 28.94)


def test_means_and_intervals_are_students_over_seeds() -> None:
    mean, low, high = mean_and_ends([1.0, 2.0, 3.0])
    reach = 4.30265 / math.sqrt(3)  # t(0.975, 2) of a standard deviation of 1
    assert (mean, low, high) == pytest.approx((2.0, 2 - reach, 2 + reach), rel=1e-5)
    assert np.isnan(mean_and_ends([1.0])[1:]).all()
    line = mean_line("all", [0, 1], [[1.0, 3.0], [2.0, 2.0]])
    assert line.y == (2.0, 2.0)
    assert line.low is not None
    assert line.low[1] == 2.0


def test_lesions_and_variances_are_means_over_thin_seeds() -> None:
    resnet = drawn("9").panels[0]
    assert resnet.model == "resnet"
    *seeds, mean = resnet.lines
    assert [line.role for line in seeds] == ["reference"] * 3
    assert mean.y == pytest.approx(seeds[0].y)  # the world has no noise
    assert mean.kinds[0] == "stem"


def test_variants_side_by_side_show_seeds_mean_and_paper() -> None:
    trained = by_seed(tables(), "training", "top_1", ["vit", "nobody", "resnet"])
    assert list(trained) == ["vit", "resnet"]
    panel = strip("accuracy", "share", trained, published={"vit": 0.5}, of="paper")
    single, mean, paper = panel.lines
    assert len(single.x) == 6
    assert mean.y == pytest.approx((0.60, 0.70))
    assert paper.y == (0.5,)


def test_a_seed_without_a_finite_number_is_left_out() -> None:
    found = tables()
    rows = (found["training"]["variant"] == "vit") & (found["training"]["seed"] == 1)
    found["training"].loc[rows, "top_1"] = float("nan")
    assert set(by_seed(found, "training", "top_1", ["vit"])["vit"]) == {0, 2}


def reliability_of(found: dict[str, pd.DataFrame]) -> tuple[Panel, Panel]:
    figure = paper_figure("F.1", found, "embedded")
    assert figure is not None
    ours, paper = [panel for panel in figure.panels if panel.group == "reliability"]
    return ours, paper


def test_confidence_stands_against_accuracy_bin_by_bin() -> None:
    ours, paper = reliability_of(tables())
    even, *lines = ours.lines
    assert (even.x, even.y, even.role) == ((0, 1), (0, 1), "reference")
    assert [line.name for line in lines] == ["resnet_strong", "resnet", "vit_strong", "vit"]
    strong = lines[0]
    assert strong.x == pytest.approx([0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85])  # bins without images are left out
    assert strong.y == pytest.approx([x + 0.08 + 0.01 for x in strong.x])  # the second of three seeds is their mean
    reach = 4.30265 * 0.01 / math.sqrt(3)
    assert strong.low == pytest.approx([y - reach for y in strong.y], rel=1e-5)
    assert strong.hover[0] == "60 images, 3 of 3 seeds"
    assert paper.lines[1].name == "ResNet, strong"
    assert (paper.lines[1].x[-1], paper.lines[1].y[-1]) == (0.95, 0.98)


def test_a_bin_that_few_seeds_have_says_so_and_a_variant_without_any_is_left_out() -> None:
    found = tables()
    bins = found["calibration_bins"]
    gone = (bins["variant"] == "vit") & (bins["low"] == 0.2) & (bins["seed"] > 0)
    found["calibration_bins"] = bins[~gone & (bins["variant"] != "resnet")]
    *_, vit = reliability_of(found)[0].lines
    assert vit.hover[:2] == ("20 images, 1 of 3 seeds", "60 images, 3 of 3 seeds")
    assert vit.y[0] == pytest.approx(0.25 - 0.03)
    assert vit.low is not None
    assert np.isnan(vit.low[0])
    assert [line.name for line in reliability_of(found)[0].lines[1:]] == ["resnet_strong", "vit_strong", "vit"]
    del found["calibration_bins"]
    figure = paper_figure("F.1", found, "embedded")
    assert figure is not None
    assert not [panel for panel in figure.panels if panel.group == "reliability"]


def test_one_seed_has_a_reliability_diagram_without_intervals() -> None:
    line = reliability_of(tables(seeds=1))[0].lines[1]
    assert line.y == pytest.approx([x + 0.08 for x in line.x])
    assert line.low is not None
    assert np.isnan(line.low).all()


@pytest.mark.parametrize("name", ["1c", "6", "7", "12c", "C.3", "C.5", "C.6", "F.1"])
def test_the_seeds_of_a_variant_are_one_density(name: str) -> None:
    found = tables()
    one_axis = [panel for panel in drawn(name).panels if panel.group == "one axis"]
    assert len(one_axis) == 1
    names = [line.name for line in one_axis[0].lines]
    assert len(names) == len(set(names))
    assert set(names) <= set(found["hessian"]["variant"])
    sides = [panel for panel in drawn(name).panels if panel.group == "negative and positive apart"]
    assert [panel.title.partition(" ")[0] for panel in sides] == ["negative", "positive"]


def test_a_density_counts_the_eigenvalues_of_all_seeds() -> None:
    titles = [panel.title for panel in drawn("6").panels]
    # 3 of 8 are negative in each of 3 seeds.
    assert "negative eigenvalues (vit: 9, vit_gap: 9)" in titles
    assert "positive eigenvalues (vit: 15, vit_gap: 15)" in titles
