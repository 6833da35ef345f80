import itertools
import json
import math
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pytest

from report import curvature
from visionscope.core.figure import Figure, Line, Panel, Surface
from visionscope.report.arrange import axes_of, limits, set_apart
from visionscope.report.plotly import panel_spec, to_matplotlib, to_plotly
from visionscope.report.style import palette, resolve
from visionscope.report.surfaces import height, holes, remarks

STEPS = tuple(float(step) for step in np.linspace(-1, 1, 21))


def panel(value: Callable[[float, float], float], model: str = "m", **changed: object) -> Panel:
    values = tuple(tuple(value(x, y) for x in STEPS) for y in STEPS)
    surface = Surface(**{"x": STEPS, "y": STEPS, "values": values, "z_label": "NLL (nat)", **changed})
    return Panel(model=model, title=model, x_label="first", y_label="second", group="NLL", surface=surface)


def bowl(steep: float) -> Callable[[float, float], float]:
    return lambda x, y: 1 + steep * (x * x + y * y)


def test_a_paraboloid_is_not_cut_and_its_scale_holds_it() -> None:
    common = limits([panel(bowl(3))])
    assert not common.clipped
    assert common.z is not None
    assert common.z[0] <= 1
    assert common.z[1] >= 7
    steps = np.diff(common.levels)
    assert np.allclose(steps, steps[0])
    assert 6 <= len(common.levels) <= 14
    assert (common.levels[0], common.levels[-1]) == common.z


def test_one_scale_for_all_surfaces_of_a_group_lies_between_what_they_ask_for() -> None:
    flat, steep = panel(bowl(1), "flat"), panel(bowl(100), "steep")
    scales = axes_of([flat, steep])
    assert scales[0] == scales[1]
    assert scales[0].clipped
    # Heights of 2 and 200 are asked for.
    assert scales[0].z is not None
    assert scales[0].z[1] == pytest.approx(21, abs=scales[0].levels[1] - scales[0].levels[0])
    ends = list(scales[0].z)
    for spec in ("zmin", "zmax", "contours", "colorscale"):
        first, second = (
            panel_spec(one, ["flat", "steep"], common)["data"][0][spec]
            for one, common in zip((flat, steep), scales, strict=True)
        )
        assert first == second
    first, second = (
        panel_spec(one, ["flat", "steep"], common, turned=True)
        for one, common in zip((flat, steep), scales, strict=True)
    )
    assert first["layout"]["scene"]["zaxis"]["range"] == second["layout"]["scene"]["zaxis"]["range"] == ends
    assert [first["data"][0]["cmin"], first["data"][0]["cmax"]] == ends


def test_a_scale_that_is_cut_says_so_on_its_bar_and_in_words() -> None:
    group = [panel(lambda x, y: math.exp(8 * max(x, y, 0.0)))]
    (common,) = axes_of(group)
    (trace,) = panel_spec(group[0], ["m"], common)["data"]
    assert trace["colorbar"]["ticktext"][-1] == f"> {common.levels[-1]:g}"
    assert trace["colorbar"]["tickvals"][-1] == common.levels[-1]
    (said,) = remarks(group, [common])
    assert said.startswith(f"The scale ends at {common.levels[-1]:g}: ")
    (whole,) = axes_of([panel(bowl(1))])
    assert remarks([panel(bowl(1))], [whole]) == []
    assert ">" not in json.dumps(panel_spec(panel(bowl(1)), ["m"], whole)["data"][0]["colorbar"])


@pytest.mark.parametrize("missing", [math.inf, math.nan, -math.inf])
def test_what_is_not_finite_is_a_hole_in_every_drawing(missing: float) -> None:
    one = panel(lambda x, y: missing if x < -0.75 and y < -0.75 else bowl(1)(x, y))
    assert one.surface is not None
    assert holes(one.surface) == 9
    (common,) = axes_of([one])
    assert common.z == pytest.approx((1.0, 3.0))
    for turned in (False, True):
        (trace,) = panel_spec(one, ["m"], common, turned=turned)["data"]
        assert sum(value is None for row in trace["z"] for value in row) == 9
        assert trace["z"][0][:4] == [None, None, None, 2.49]
        assert trace["connectgaps"] is False
    assert remarks([one], [common]) == ["Grey holes are places without a finite value: 9 of m."]
    drawing = to_matplotlib(Figure(name="n", title="t", caption="c", panels=(one,)))
    (filled,) = [ax for ax in drawing.axes if ax.get_xlabel() == "first"]
    assert filled.patch.get_hatch()
    assert filled.get_aspect() == 1.0


def test_a_surface_without_any_value_and_a_constant_one_are_drawn() -> None:
    for value in (math.nan, 2.0):
        one = panel(lambda x, y, value=value: value)
        figure = Figure(name="n", title="t", caption="c", panels=(one,))
        assert to_matplotlib(figure).axes
        assert len(to_plotly(figure).data) == 1


def test_marks_stand_at_their_place_and_height() -> None:
    one = panel(bowl(1), marks=((0.5, 0.0, "<early>"), (0.25, 0.25, "late")))
    assert one.surface is not None
    assert height(one.surface, 0.5, 0.0) == pytest.approx(1.25)
    assert math.isnan(height(one.surface, 2.0, 0.0))
    (common,) = axes_of([one])
    for turned in (False, True):
        _, marks = panel_spec(one, ["m"], common, turned=turned)["data"]
        assert (marks["x"], marks["y"], marks["text"]) == ([0.5, 0.25], [0.0, 0.25], ["&lt;early&gt;", "late"])
    assert marks["z"] == pytest.approx([1.25, 1.13], abs=0.01)
    texts = [text.get_text() for text in to_matplotlib(_alone(one)).findobj(mpl.text.Annotation)]
    assert {"<early>", "late"} <= set(texts)


def _alone(one: Panel) -> Figure:
    return Figure(name="n", title="t", caption="c", panels=(one,))


def test_the_notebooks_figure_can_be_turned_and_turned_back() -> None:
    panels = (panel(bowl(1), "flat"), panel(bowl(9), "steep"))
    line = Panel(model="", title="l", x_label="x", y_label="y", lines=(Line(name="flat", x=(0, 1), y=(0, 1)),))
    figure = to_plotly(Figure(name="n", title="t", caption="c", panels=(*panels, line)))
    assert [trace.type for trace in figure.data][:3] == ["contour", "contour", "scatter"]
    assert figure.layout.yaxis2.scaleanchor == "x2"
    flat, deep = figure.layout.updatemenus[0].buttons
    assert (flat.label, deep.label) == ("contour", "3-D")
    traces, layout, places = deep.args
    assert traces["type"] == ["surface", "surface"]
    assert list(places) == [0, 1]
    assert layout["scene1"]["zaxis"]["range"] == layout["scene2"]["zaxis"]["range"]
    assert layout["xaxis2.visible"] is False
    assert flat.args[0]["type"] == ["contour", "contour"]
    assert flat.args[1]["xaxis2.visible"] is True
    assert "@@" not in figure.to_json()


def test_every_colour_of_curvature_has_a_value_in_both_themes() -> None:
    for figure in curvature.figures(curvature.vit_and_resnet()):
        for one, common in zip(figure.panels, axes_of(figure.panels), strict=True):
            for turned in (False, True):
                spec = panel_spec(one, ["vit_nano", "resnet_nano"], common, turned=turned)
                assert "@@" in json.dumps(spec)
                assert all("@@" not in json.dumps(resolve(spec, palette(theme))) for theme in ("light", "dark"))


def density(model: str, high: float, side: str = "negative", **changed: object) -> Line:
    x = np.linspace(-10 * high if side == "negative" else 0, 0 if side == "negative" else 10 * high, 51)
    y = np.exp(-np.abs(x) / high) / high
    return Line(**{"name": model, "x": tuple(x.tolist()), "y": tuple(y.tolist()), "filled": True, **changed})


def side(name: str, models: int = 2) -> Panel:
    lines = tuple(density(f"net_{index}", 2.0 + index, name) for index in range(models))
    return Panel(
        model="", title=name, x_label="eigenvalue", y_label=f"density among the {name}", lines=lines, group="apart"
    )


def test_densities_are_shaded_from_zero_and_have_no_marks() -> None:
    one = side("negative")
    (common,) = axes_of([one])
    assert common.y is not None
    assert common.y[0] == 0
    assert common.x == (-30.0, 0.0)
    for trace in panel_spec(one, ["net_0", "net_1"], common)["data"]:
        assert (trace["fill"], trace["mode"]) == ("tozeroy", "lines")
        assert trace["fillcolor"].endswith(":band")
        assert "marker" not in trace
    ax = to_matplotlib(_alone(one)).axes[0]
    assert len(ax.collections) == 2
    assert all(line.get_marker() == "None" for line in ax.lines)


def test_the_two_sides_have_axes_of_their_own_also_as_small_multiples() -> None:
    negative, positive = axes_of([side("negative"), side("positive")])
    assert negative.x == (-30.0, 0.0)
    assert positive.x == (0.0, 30.0)
    figure = Figure(name="n", title="t", caption="c", panels=(side("negative", 7), side("positive", 7)))
    beside = set_apart(figure, only_crowded=True).panels
    assert len(beside) == 14
    assert {common.x for common in axes_of(beside)} == {(-80.0, 0.0), (0.0, 80.0)}
    labels = [(ax.get_title(loc="left"), ax.get_ylabel()) for ax in to_matplotlib(figure).axes if ax.get_visible()]
    # Each row's first panel names its measure, and so does the first of the other side.
    assert labels[0] == ("net_0: negative", "density among the negative")
    assert labels[7] == ("net_0: positive", "density among the positive")


def test_a_line_at_zero_where_a_density_spans_it() -> None:
    across = Line(name="a", x=(-1.0, 0.0, 2.0), y=(0.0, 1.0, 0.0), filled=True)
    spanning = Panel(model="", title="t", x_label="x", y_label="y", lines=(across,))
    (shape,) = panel_spec(spanning, ["a"], limits([spanning]))["layout"]["shapes"]
    assert (shape["x0"], shape["x1"]) == (0.0, 0.0)
    one_side = side("negative")
    assert panel_spec(one_side, ["a"], limits([one_side]))["layout"]["shapes"] == []
    curve = Panel(model="m", title="t", x_label="x", y_label="y", lines=(Line(name="a", x=(-1.0, 1.0), y=(0.0, 1.0)),))
    assert panel_spec(curve, ["m"], limits([curve]))["layout"]["shapes"] == []


def test_parts_of_a_model_keep_its_axes_and_few_are_named() -> None:
    def of(model: str, high: float, count: int) -> Panel:
        lines = tuple(density(f"stage {i}", high, "positive", shade=i / max(count - 1, 1)) for i in range(count))
        return Panel(model=model, title=model, x_label="x", y_label="y", lines=lines, group="by stage")

    small, large = axes_of([of("a", 1.0, 3), of("b", 50.0, 3)])
    assert small.x == (0.0, 10.0)
    assert large.x == (0.0, 500.0)
    figure = Figure(name="n", title="t", caption="c", panels=(of("a", 1.0, 3),))
    (legend,) = [legend for part in to_matplotlib(figure).subfigs for legend in part.legends]
    assert [text.get_text() for text in legend.texts] == ["stage 0", "stage 1", "stage 2"]
    many = of("a", 1.0, 8)
    assert not any("fill" in trace for trace in panel_spec(many, ["a"], limits([many]))["data"])


def test_curvatures_paper_figures_keep_everything_on_the_paper() -> None:
    for figure in curvature.figures(curvature.vit_and_resnet()):
        drawing = to_matplotlib(figure)
        width, up = drawing.get_size_inches()
        left, bottom, right, top = drawing.get_tightbbox().extents
        assert min(left, bottom) >= 0
        assert right <= width
        assert top <= up
        labels = [text.get_text() for part in drawing.subfigs for legend in part.legends for text in legend.texts]
        assert all(len(list(same)) <= 5 for _, same in itertools.groupby(sorted(labels)))
