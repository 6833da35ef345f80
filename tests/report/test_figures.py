import dataclasses
import itertools
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.figure import Figure as Drawing

from report import samples
from visionscope.core.figure import Figure, Heat, Line, Panel
from visionscope.core.finding import number
from visionscope.diagnostics.similarity.question import Similarity
from visionscope.report.arrange import (
    apart,
    groups,
    is_overlay,
    kinds_shaded,
    limits,
    reads_overlaid,
    stage_labels,
    stage_ticks,
    together,
)
from visionscope.report.plotly import panel_spec, to_matplotlib, to_plotly
from visionscope.report.sections import section
from visionscope.report.style import KIND_MARKS, palette, resolve


def curve(name: str = "a", **changed: object) -> Line:
    usual = {"x": (0.0, 0.5, 1.0), "y": (1.0, 2.0, 3.0), "kinds": ("stem", "msa", "mlp")}
    return Line(name=name, **{**usual, **changed})


def one_panel(*lines: Line, model: str = "") -> Panel:
    return Panel(model=model, title="t", x_label="x", y_label="y", lines=lines)


@pytest.mark.parametrize("models", [1, 2, 8])
def test_every_diagnostics_figure_draws_both_ways(models: int) -> None:
    invented = [samples.vit(f"vit_{index}", blocks=3) for index in range(models)]
    for figure in samples.figures(invented):
        plotly = to_plotly(figure)
        drawn = [trace for trace in plotly.data if trace.type == "heatmap" or any(y is not None for y in trace.y)]
        assert len(drawn) >= models
        assert len([name for name in plotly.layout if name.startswith("xaxis")]) >= (1 if models == 1 else 2)
        drawing = to_matplotlib(figure)
        assert isinstance(drawing, Drawing)
        assert len([ax for ax in drawing.findobj() if hasattr(ax, "get_xlabel") and ax.has_data()]) >= models


@pytest.mark.parametrize("models", [1, 2, 5])
def test_papers_figures_keep_everything_on_the_paper(models: int) -> None:
    invented = [samples.vit(f"vit_{index}", blocks=2) for index in range(models)]
    for figure in samples.figures(invented):
        drawing = to_matplotlib(figure)
        width, height = drawing.get_size_inches()
        left, bottom, right, top = drawing.get_tightbbox().extents
        assert min(left, bottom) >= 0
        assert right <= width
        assert top <= height


def test_gaps_break_the_band_and_the_line() -> None:
    panel = one_panel(curve(x=(0, 1, 2, 3), y=(1, 2, math.nan, 4), error=(0.5, 0.5, 0.5, 0.5), kinds=()), model="m")
    band, line = panel_spec(panel, ["m"], limits([panel]))["data"]
    assert line["y"] == [1, 2, None, 4]
    assert band["x"] == [0, 1, 1, 0, 0, None, 3, 3, 3]
    assert band["y"] == [1.5, 2.5, 1.5, 0.5, 1.5, None, 4.5, 3.5, 4.5]


def test_kinds_differ_in_shape_and_in_both_libraries() -> None:
    assert len({mark.symbol for mark in KIND_MARKS.values()}) == len(KIND_MARKS)
    assert len({mark.marker for mark in KIND_MARKS.values()}) == len(KIND_MARKS)
    panel = one_panel(curve(), model="m")
    (trace,) = panel_spec(panel, ["m"], limits([panel]))["data"]
    assert trace["marker"]["symbol"] == ["star", "circle", "square"]
    assert trace["marker"]["color"] == ["@@model:0", "@@model:0", "@@paper"]


def test_background_is_shaded_up_to_the_point_of_attention() -> None:
    panel = one_panel(curve(starts=(math.nan, 0.0, 0.5)), model="m")
    (box,) = [
        shape for shape in panel_spec(panel, ["m"], limits([panel]))["layout"]["shapes"] if shape["type"] == "rect"
    ]
    assert (box["x0"], box["x1"], box["fillcolor"]) == (0.0, 0.5, "@@kind:msa")


def test_background_begins_where_the_branch_did_and_nowhere_else() -> None:
    kinds, x = ("stem", "mlp", "msa", "msa"), (0.0, 0.25, 0.5, 1.0)
    panel = one_panel(curve(x=x, y=(1.0,) * 4, kinds=kinds, starts=(math.nan, 0.0, 0.0, math.nan)), model="m")
    shapes = panel_spec(panel, ["m"], limits([panel]))["layout"]["shapes"]
    assert [(box["x0"], box["x1"]) for box in shapes if box["type"] == "rect"] == [(0.0, 0.5)]
    assert kinds_shaded([panel]) == ("msa",)
    assert kinds_shaded([one_panel(curve(kinds=kinds, x=x, y=(1.0,) * 4), model="m")]) == ()


def test_a_curve_of_one_point_is_marked_at_its_end_and_coloured_by_depth() -> None:
    panel = one_panel(curve(kinds=(), kind="conv", shade=0.25, y=(1, 2, math.nan)), model="m")
    (trace,) = panel_spec(panel, ["m"], limits([panel]))["data"]
    assert trace["marker"]["size"] == [0, 7, 0]
    assert trace["line"]["color"] == "@@shade:25"


def test_traces_know_their_model() -> None:
    panel = one_panel(curve("a"), curve("b"))
    assert [trace["meta"] for trace in panel_spec(panel, ["b", "a"], limits([panel]))["data"]] == [1, 0]


def test_names_are_escaped_and_hover_names_the_point() -> None:
    hover = ("<b>stem</b>", "x", "y")
    panel = one_panel(curve("<html>", hover=hover, error=(0.1, 0.1, 0.1)), model="<html>")
    spec = panel_spec(panel, ["<html>"], limits([panel]))
    text = spec["data"][1]["customdata"][0]
    assert text == "<b>&lt;b&gt;stem&lt;/b&gt;</b><br>&lt;html&gt;<br>y: 1.00 ± 0.10"
    assert "<html>" not in json.dumps(spec)


def test_overlay_and_side_by_side_are_inverse() -> None:
    overlay = one_panel(curve("a"), curve("b"))
    parts = apart(overlay)
    assert is_overlay(overlay)
    assert [part.model for part in parts] == ["a", "b"]
    again = together(parts)
    assert again is not None
    assert again.lines == overlay.lines
    assert together(parts * 4) is None


def test_neighbours_without_a_group_stand_together_when_they_measure_the_same() -> None:
    panels = (one_panel(curve(), model="a"), one_panel(curve(), model="b"))
    other = Panel(model="a", title="", x_label="f", y_label="g", lines=(curve(),))
    figure = Figure(name="n", title="t", caption="c", panels=(*panels, other))
    assert groups(figure) == [list(panels), [other]]


def test_curves_of_very_different_size_are_not_overlaid_first() -> None:
    assert reads_overlaid(one_panel(curve("a"), curve("b", y=(2, 3, 4))))
    assert not reads_overlaid(one_panel(curve("a"), curve("b", y=(100, 200, 300))))


def test_common_limits_hold_the_bands() -> None:
    panel = one_panel(curve("a", error=(5.0, 0.0, math.nan), kinds=()), model="a")
    low, high = limits([panel]).y or (0, 0)
    assert low < -4
    assert high > 6
    assert limits([one_panel(curve("a", y=(math.nan,) * 3), model="a")]).y is None


def test_a_single_name_stands_in_the_middle_of_its_axis() -> None:
    """Its seeds lie a little beside it, which must not become the whole width."""
    beside = Line(name="seeds", x=(0.1, 0.1), y=(1.0, 2.0), role="points")
    panel = Panel(model="", title="t", x_label="", y_label="y", lines=(beside,), x_names=("4 px",))
    low, high = limits([panel]).x or (0, 0)
    assert low == -high
    assert high >= 0.5


def heat(**changed: object) -> Heat:
    values = ((1.0, 0.5, math.nan), (0.5, 1.0, 0.2), (0.1, 0.2, 1.0))
    names = ("stem", "<b>", "c")
    return Heat(
        **{"values": values, "names_x": names, "names_y": names, "ticks": ((0, "stem"), (1, "stage 1")), **changed}
    )


def test_maps_have_holes_stage_lines_and_a_scale_that_ends_at_one() -> None:
    panel = Panel(model="m", title="t", x_label="", y_label="", heat=heat())
    spec = panel_spec(panel, ["m"], limits([panel]))
    (trace,) = spec["data"]
    assert trace["z"][0] == [1.0, 0.5, None]
    assert (trace["zmin"], trace["zmax"]) == (0.0, 1.0)
    assert trace["x"] == ["stem", "&lt;b&gt;", "c"]
    assert [shape.get("x0") for shape in spec["layout"]["shapes"]] == [0.5, 0]
    assert spec["layout"]["xaxis"]["ticktext"] == ["stem", "stage 1"]
    assert spec["layout"]["xaxis"]["tickvals"] == [0.0, 1.5]


def test_a_similarity_that_rounds_above_one_keeps_the_scale_of_similarities() -> None:
    close = heat(values=((1.0000001, 0.97, 0.98),) * 3)
    assert limits([Panel(model="m", title="t", x_label="", y_label="", heat=close)]).z == (0.0, 1.0)
    loss = heat(values=((3.0, 2.5, 9.0),) * 3)
    assert limits([Panel(model="m", title="t", x_label="", y_label="", heat=loss)]).z == (2.5, 9.0)


def test_narrow_stages_go_without_a_label() -> None:
    wide = heat(names_x=tuple(map(str, range(100))))
    assert stage_labels(stage_ticks(wide)[0], 100, least=0.1) == [(50.0, "stage 1")]


def test_stage_ticks_of_two_models_belong_to_the_horizontal_axis() -> None:
    panel = Panel(model="m", title="t", x_label="", y_label="", heat=heat(names_y=("u", "v", "w")))
    layout = panel_spec(panel, ["m"], limits([panel]))["layout"]
    assert layout["yaxis"]["ticktext"] == []
    assert layout["xaxis"]["ticktext"] == ["stem", "stage 1"]


def test_every_named_colour_has_a_value_in_both_themes() -> None:
    light, dark = palette("light"), palette("dark")
    assert light.keys() == dark.keys()
    for figure in samples.figures([samples.vit(blocks=2), samples.resnet()]):
        for panel in figure.panels:
            spec = panel_spec(panel, ["vit_nano", "resnet_nano"], limits([panel]))
            assert "@@" in json.dumps(spec)
            assert "@@" not in json.dumps(resolve(spec, dark))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123456, "0.0123"),
        (-2.5, "−2.50"),
        (1234.5, "1234"),
        (1e-9, "1.00e−09"),
        (0.0, "0"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_numbers_for_people(value: float | None, text: str) -> None:
    assert number(value) == text


def test_curves_of_variance_break_where_the_grid_changes() -> None:
    models = [samples.vit(blocks=2), samples.resnet()]
    (figure,) = [one for one in samples.figures(models) if one.name == "variance"]
    plain, broken = (panel.lines[0] for panel in figure.panels)
    assert not any(math.isnan(y) for y in plain.y)
    gaps = [index for index, y in enumerate(broken.y) if math.isnan(y)]
    assert [broken.kinds[index + 1] for index in gaps] == ["down"] * 3
    assert len({len(part or ()) for part in (broken.x, broken.y, broken.error, broken.kinds, broken.hover)}) == 1


def test_maps_between_models_name_stages_on_both_axes() -> None:
    first, second = samples.vit(blocks=2), samples.resnet()
    table = samples.between_table(first, second)
    figure = Similarity().between_figure(table)
    heat = figure.panels[0].heat
    assert heat is not None
    across, up = stage_ticks(heat)
    assert [label for _, label in across] == ["stem", "stage 1"]
    assert [label for _, label in up] == ["stem", "stage 1", "stage 2", "stage 3", "stage 4"]
    assert "jackknife" in figure.caption
    none = table.set_column(table.column_names.index("standard_error"), "standard_error", pa.nulls(table.num_rows))
    assert "jackknife" not in Similarity().between_figure(none).caption


def test_labels_of_narrow_stages_are_turned() -> None:
    panel = Panel(model="m", title="t", x_label="", y_label="", heat=heat(ticks=((0, "stage 1"), (2, "stage 2"))))
    assert panel_spec(panel, ["m"], limits([panel]))["layout"]["xaxis"]["tickangle"] == 0
    names = tuple(map(str, range(9)))
    long = heat(values=((1.0,) * 9,) * 9, names_x=names, names_y=names, ticks=((0, "stem"), (1, "stage 1")))
    panel = Panel(model="m", title="t", x_label="", y_label="", heat=long)
    assert panel_spec(panel, ["m"], limits([panel]))["layout"]["xaxis"]["tickangle"] == -60


def test_a_long_label_does_not_run_into_the_next_panel() -> None:
    labels = ("resnet_20_cifar@resnet20_cifar10-12fca82f", "b", "c")
    (figure,) = [
        one for one in samples.figures([samples.vit(label, blocks=2) for label in labels]) if one.name == "fourier"
    ]
    drawing = to_matplotlib(figure)
    drawing.canvas.draw()
    titles = [ax._left_title for ax in drawing.findobj() if hasattr(ax, "get_xlabel") and ax.get_title(loc="left")]
    boxes = [title.get_window_extent() for title in titles if title.get_text().replace("\n", "") in labels]
    assert len(boxes) >= 3
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_names_in_a_scatter_plot_cover_neither_points_nor_each_other() -> None:
    lines = tuple(
        Line(name=f"network {index}", x=(x,), y=(y,), role="points")
        for index, (x, y) in enumerate([(0, 0), (10, 10), (5, 5), (5.3, 5), (5.6, 5.1), (5.3, 5.3), (9.9, 10)])
    )
    panel = Panel(model="", title="ours", x_label="accuracy", y_label="robustness", lines=lines)
    drawing = to_matplotlib(Figure(name="scatter", title="Scatter", caption="", panels=(panel,)))
    ax = drawing.axes[0]
    names = [text for text in ax.texts if text.get_text()]
    boxes = [name.get_window_extent() for name in names]
    points = ax.transData.transform([(line.x[0], line.y[0]) for line in lines])
    assert len(boxes) == 7
    assert not any(box.count_overlaps(boxes[:place] + boxes[place + 1 :]) for place, box in enumerate(boxes))
    assert not any(box.contains(*point) for box in boxes for point in points)
    assert all(ax.bbox.x0 < box.x0 and box.x1 < ax.bbox.x1 for box in boxes)  # clear of ticks and neighbours
    assert not drawing.subfigs[0].legends  # seven names and five colours


def test_marks_with_names_have_them_beside_and_their_kind_in_the_legend() -> None:
    lines = (
        Line(name="blur", x=(0.0, 5.0), y=(0.0, 5.0), names=("narrow", "wide"), role="points"),
        Line(name="control", x=(5.2,), y=(5.0,), names=("nothing",), role="points"),
    )
    panel = Panel(model="", title="ours", x_label="cost", y_label="accuracy", lines=lines)
    drawing = to_matplotlib(Figure(name="scatter", title="Scatter", caption="", panels=(panel,)))
    names = [text for text in drawing.axes[0].texts if text.get_text()]
    assert {text.get_text(): text.xy for text in names} == {"narrow": (0, 0), "wide": (5, 5), "nothing": (5.2, 5)}
    boxes = [text.get_window_extent() for text in names]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    (legend,) = drawing.subfigs[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["blur", "control"]
    assert {(one.get_marker(), one.get_linestyle()) for one in legend.legend_handles} == {("o", "None")}

    curve = Line(name="blur", x=(0.0, 5.0), y=(0.0, 5.0))  # with the marks of its points in a line of their own
    panel = dataclasses.replace(panel, lines=(curve, *lines))
    drawing = to_matplotlib(Figure(name="scatter", title="Scatter", caption="", panels=(panel,)))
    (legend,) = drawing.subfigs[0].legends
    assert [one.get_linestyle() for one in legend.legend_handles] == ["-", "None"]


def test_names_keep_off_curves_and_leave_a_gap_between_each_other() -> None:
    front = Line(name="front", x=(0.0, 5.0, 10.0), y=(5.0, 5.4, 5.4), role="reference")
    marks = Line(
        name="a", x=(0.0, 5.0, 6.2, 10.0), y=(5.0, 5.4, 5.0, 0.0), names=("b" * 9, "c" * 9, "d", "e"), role="points"
    )
    panel = Panel(model="", title="t", x_label="x", y_label="y", lines=(front, marks))
    ax = to_matplotlib(Figure(name="scatter", title="Scatter", caption="", panels=(panel,))).axes[0]
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert len(boxes) == 4
    x = np.linspace(0, 10, 1000)
    curve = ax.transData.transform(np.stack([x, np.interp(x, front.x, front.y)], 1))
    assert not any(box.contains(*point) for box in boxes for point in curve)
    for one, other in itertools.combinations(boxes, 2):
        beside = one.y0 < other.y1 and other.y0 < one.y1
        assert not beside or max(one.x0, other.x0) - min(one.x1, other.x1) >= 0.49 * one.height


def test_what_the_axis_names_is_in_no_legend() -> None:
    lines = tuple(Line(name=name, x=(float(x),) * 3, y=(1.0, 2.0, 3.0), role="points") for x, name in enumerate("ab"))
    for names, legend in ((("a", "b"), []), ((), ["a", "b"])):
        panel = Panel(model="", title="t", x_label="", y_label="y", lines=lines, x_names=names)
        figure = Figure(name="marks", title="Marks", caption="", panels=(panel,))
        (group,) = section(figure, ["a", "b"], [])["groups"]
        assert [name for _, name in group["colours"]["overlaid"]] == legend
        entries = [trace.name for trace in to_plotly(figure).data if trace.x[0] is None]
        assert entries == legend
        drawn = [
            text.get_text() for part in to_matplotlib(figure).subfigs for one in part.legends for text in one.texts
        ]
        assert drawn == legend


def test_maps_take_no_colours_from_curves() -> None:
    names = ("a", "b", "c")
    curves = Panel(
        model="", title="t", x_label="x", y_label="y", lines=tuple(curve(name) for name in names), group="curves"
    )
    few = sum(name.startswith("model:") and not name.endswith(":band") for name in palette("light"))
    maps = [Panel(model=f"map {index}", title="t", x_label="", y_label="", heat=heat()) for index in range(few - 1)]

    def colours(*before: Panel) -> list[str]:
        drawn = to_matplotlib(Figure(name="f", title="F", caption="", panels=(*before, curves)))
        (legend,) = (one for part in drawn.subfigs for one in part.legends)
        entries = zip(legend.legend_handles, legend.get_texts(), strict=True)
        return [handle.get_color() for handle, text in entries if text.get_text() in names]

    assert len(set(colours())) == len(names)
    assert colours(*maps) == colours()
