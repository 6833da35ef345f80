"""Each of the paper's figures drawn from tables that no network made, by both libraries."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from experiments.synthetic import tables
from visionscope.core.figure import Figure
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
