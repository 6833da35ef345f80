import io
import json
import math

import pytest
from PIL import Image

from report import outcomes
from report.outcomes import Damaged
from report.telling import answer_of
from visionscope.core.figure import Figure, Line, Panel, Picture
from visionscope.diagnostics.compression.question import Compression
from visionscope.diagnostics.frequency_noise.question import FrequencyNoise
from visionscope.report.arrange import apart, groups, is_overlay, limits, set_apart, together
from visionscope.report.lines import MOST_WHISKERS, is_scatter, series_of
from visionscope.report.plotly import panel_spec, to_matplotlib, to_plotly
from visionscope.report.sections import section
from visionscope.report.style import SERIES_DASHES, palette, resolve
from visionscope.report.tables import shown_table

EVEN = Line(name="even", x=(0.0, 2.0), y=(0.0, 2.0), role="reference")


def line(name: str = "a", count: int = 3, **changed: object) -> Line:
    x = tuple(float(index) for index in range(count))
    usual = {"x": x, "y": x, "low": tuple(y - 0.5 for y in x), "high": tuple(y + 1.0 for y in x)}
    return Line(name=name, **{**usual, **changed})


def panel(*lines: Line, model: str = "", title: str = "t") -> Panel:
    return Panel(model=model, title=title, x_label="x", y_label="y", lines=lines)


def spec(one: Panel, models: list[str], **more: object) -> dict[str, object]:
    return panel_spec(one, models, limits([one]), **more)


def png(colour: tuple[int, int, int]) -> bytes:
    stored = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(stored, "PNG")
    return stored.getvalue()


def sheet() -> Panel:
    pictures = tuple(tuple(Picture(png=png((r, 0, c)), title=f"<{r}> {c}") for c in range(3)) for r in range(2))
    return Panel(model="", title="Contact sheet", x_label="", y_label="", pictures=pictures)


def test_few_intervals_are_whiskers_and_many_a_band() -> None:
    whiskers, curve = spec(panel(line(), model="m"), ["m"])["data"]
    assert whiskers["x"] == [0, 0, None, 1, 1, None, 2, 2, None]
    assert whiskers["y"] == [-0.5, 1, None, 0.5, 2, None, 1.5, 3, None]
    assert curve["mode"] == "lines+markers"
    band, curve = spec(panel(line(count=MOST_WHISKERS + 1), model="m"), ["m"])["data"]
    assert band["fill"] == "toself"
    assert curve["mode"] == "lines"
    many = spec(panel(line(count=MOST_WHISKERS + 1, role="points"), model="m"), ["m"])["data"][0]
    assert len(many["x"]) == 3 * (MOST_WHISKERS + 1)


def test_axes_hold_the_intervals() -> None:
    low, high = limits([panel(line(), model="m")]).y or (0, 0)
    assert low < -0.5
    assert high > 3


def test_intervals_that_are_not_finite_are_left_out() -> None:
    whiskers, _ = spec(panel(line(low=(math.nan, 0.5, 1.5)), model="m"), ["m"])["data"]
    assert whiskers["x"] == [1, 1, None, 2, 2, None]


def test_faint_points_are_grey_and_hollow_with_their_whiskers() -> None:
    one = panel(line(faint=(False, True, False), kinds=("msa",) * 3), model="m")
    grey, coloured, curve = spec(one, ["m"])["data"]
    assert grey["line"]["color"] == "@@faint"
    assert grey["x"] == [1, 1, None]
    assert coloured["x"] == [0, 0, None, 2, 2, None]
    assert curve["marker"]["color"] == ["@@model:0", "@@paper", "@@model:0"]
    assert curve["marker"]["line"]["color"] == ["@@model:0", "@@faint", "@@model:0"]
    assert "95 % interval 0.500 to 2.00)<br>no significant change" in curve["customdata"][1]
    assert "significant" not in curve["customdata"][0]
    for theme in ("light", "dark"):
        assert "@@" not in json.dumps(resolve([grey, coloured, curve], palette(theme)))


def test_points_are_not_joined_and_reference_goes_with_no_model() -> None:
    reference, _, points = spec(panel(EVEN, line(role="points", faint=()), model="m"), ["a", "m"])["data"]
    assert (reference["meta"], reference["line"]["color"]) == (-1, "@@boundary")
    assert (points["mode"], points["meta"]) == ("markers", 1)


def test_reference_stays_in_both_views_and_makes_no_overlay() -> None:
    overlay = panel(EVEN, line("a"), line("b"))
    assert is_overlay(overlay)
    assert not is_overlay(panel(EVEN, line("a")))
    parts = apart(overlay)
    assert [[one.name for one in part.lines] for part in parts] == [["even", "a"], ["even", "b"]]
    again = together(parts)
    assert again is not None
    assert [one.name for one in again.lines] == ["even", "a", "b"]


def test_a_mark_per_model_stays_one_panel() -> None:
    marks = [line(f"net_{index}", 1, role="points") for index in range(8)]
    one = panel(*marks)
    figure = Figure(name="fit", title="T", caption="c", panels=(one,))
    assert is_scatter(one)
    assert set_apart(figure, only_crowded=False) == figure
    traces = [trace for trace in spec(one, [mark.name for mark in marks])["data"] if "text" in trace]
    assert [trace["text"] for trace in traces] == [[mark.name] for mark in marks]
    few = spec(panel(*marks[:2]), ["net_0", "net_1"])["data"]
    assert not any("text" in trace for trace in few)


def test_several_curves_of_one_model_differ_in_dashes_and_marks() -> None:
    one = panel(line("before"), line("after"), model="m")
    series = series_of([one])
    assert series == {"before": 0, "after": 1}
    _, before, _, after = spec(one, ["m"], series=series)["data"]
    assert (before["line"]["dash"], after["line"]["dash"]) == ("solid", "dash")
    assert before["marker"]["symbol"] != after["marker"]["symbol"]
    shown = section(Figure(name="n", title="T", caption="c", panels=(one,)), ["m"], [])
    assert [entry["name"] for entry in shown["groups"][0]["series"]] == ["before", "after"]


def test_as_many_curves_of_one_model_as_a_diagnostic_draws_by_default_differ_in_dashes() -> None:
    """Of compression, five: the first and the last were both solid."""
    one = panel(*(line(f"quality {quality}") for quality in Compression().qualities), model="m")
    traces = spec(one, ["m"], series=series_of([one]))["data"]
    dashes = [trace["line"]["dash"] for trace in traces if trace.get("name")]
    assert len(set(dashes)) == len(Compression().qualities)
    assert len({str(dash) for _, dash in SERIES_DASHES}) == len(SERIES_DASHES)


def test_titles_of_overlays_stay_where_they_tell_panels_apart() -> None:
    panels = [panel(line("a"), line("b"), title="before"), panel(line("a"), line("b"), title="after")]
    beside = set_apart(Figure(name="n", title="T", caption="c", panels=tuple(panels)), only_crowded=False)
    assert [one.title for one in beside.panels] == ["a: before", "b: before", "a: after", "b: after"]


def test_contact_sheets_stand_alone_and_draw_in_every_library() -> None:
    figure = Figure(name="n", title="T", caption="c", panels=(panel(line(), model="m"), sheet()))
    assert [len(group) for group in groups(figure)] == [1, 1]
    drawing = to_plotly(figure)
    assert len(drawing.layout.images) == 6
    assert sum(ax.get_images() != [] for ax in _axes(to_matplotlib(figure))) == 6
    panels: list[dict[str, object]] = []
    shown = section(figure, ["m"], panels)
    (card,) = shown["groups"][1]["views"]["whole"]
    assert card["columns"] == 3
    assert card["pictures"][0][0][0].startswith("data:image/png;base64,")
    assert len(panels) == 1


def _axes(drawing: object) -> list[object]:
    return [ax for ax in drawing.findobj() if hasattr(ax, "get_images") and hasattr(ax, "get_xlabel")]


@pytest.mark.parametrize("count", [1, 3, 8])
def test_figures_of_damage_draw_both_ways(count: int) -> None:
    models = [Damaged(label=f"net_{index}", losses={0.1: 1.0, 0.5: 0.25, 0.9: 20.0}) for index in range(count)]
    tables = outcomes.noise(models)
    figure = outcomes.figure(FrequencyNoise(), tables)
    assert len(to_plotly(figure).data) >= 2 * count
    drawing = to_matplotlib(figure)
    width, height = drawing.get_size_inches()
    left, bottom, right, top = drawing.get_tightbbox().extents
    assert min(left, bottom) >= 0
    assert right <= width
    assert top <= height


def test_tables_show_shares_in_percent_conventions_once_and_chance_in_grey() -> None:
    models = [Damaged(label="net", losses={0.1: 0.25, 0.9: 20.0})]
    shown = shown_table(answer_of(FrequencyNoise(), outcomes.noise(models)["frequency_noise"]).tables)
    assert shown is not None
    headers = [header for header, *_ in shown.columns]
    assert headers[0] == "frequency (π rad/pixel)"
    assert "accuracy, 95 % interval (%)" in headers
    assert not {"right", "part", "sample", "start", "p"} & set(headers)
    assert [chance for *_, chance in shown.rows] == [True, False]
    cell = shown.rows[1][1][headers.index("accuracy, 95 % interval (%)")]
    assert cell == "60.0 (55.1 to 64.7)"
    assert "noise sign; eps 0.700; eps in pixels 0.175; energy equal_energy; space normalised" in shown.alike


def test_pictures_and_lists_per_image_are_not_shown_in_tables() -> None:
    models = [Damaged(label="net")]
    rows = outcomes.calibrations(models, confidence=[0.9], scaled=[0.8])["calibration"]
    shown = shown_table({"rows": rows, "summary": rows})
    assert shown is not None
    assert not {"confidence (%)", "right", "label", "cross entropy"} & {header for header, *_ in shown.columns}
