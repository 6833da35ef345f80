import time
from collections.abc import Callable
from pathlib import Path

import pytest

from browser.conftest import Page

pytestmark = pytest.mark.browser

VISIBLE = "[...document.querySelectorAll('.plot')].filter(plot => plot.offsetParent !== null)"


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (400, True)])
def test_loads_alone_draws_everything_and_fits(
    page: Page, reports: Callable[[str], Path], width: int, dark: bool
) -> None:
    path = reports("two")
    page.open(path, width, dark=dark)
    assert page.complaints() == []
    assert page.requests() == [path.as_uri()]
    plots = page.run(
        f"return {VISIBLE}.map(plot => [plot.querySelectorAll('.scatterlayer .js-line, .heatmaplayer image').length,"
        "plot.querySelector('svg').clientWidth, plot.clientWidth])"
    )
    assert len(plots) == 9  # one of them a second time, at the top
    for marks, drawn, wide in plots:
        assert marks > 0
        assert drawn == wide > 200
    assert page.run("return document.documentElement.scrollWidth") == width
    assert page.run("return document.documentElement.dataset.theme") == ("dark" if dark else "light")
    page.keep(f"report-{width}-{'dark' if dark else 'light'}")


def test_a_model_can_be_hidden_and_shown(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("two"), 1400)
    # Curves with gaps consist of several lines, but of one trace.
    count = f"return {VISIBLE}.map(plot => plot.querySelectorAll('.scatterlayer .trace').length)"
    panels = f"return {VISIBLE}.map(plot => plot.closest('.panel').dataset.models)"
    before, shown = page.run(count), page.run(panels)
    page.click('[data-chip="0"]')
    assert page.run("return document.querySelector('[data-chip=\"0\"]').getAttribute('aria-pressed')") == "false"
    after, left = page.run(count), page.run(panels)
    assert {"0", "0 1"} <= set(shown)
    assert set(left) == {"1", ""}
    overlaid = shown.index("")
    assert after[left.index("")] == before[overlaid] / 2
    page.click('[data-chip="1"]')
    assert page.run(
        "return [...document.querySelectorAll('.panels')].some(view => view.offsetParent && "
        "!view.querySelector('.empty').hidden)"
    )
    page.click('[data-chip="0"]')
    page.click('[data-chip="1"]')
    assert page.run(count) == before
    assert page.complaints() == []


def test_overlaid_and_side_by_side(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("two"), 1400)
    variance = "#figure-variance [data-view='{}']"
    shown = "return document.querySelector(arguments[0]).offsetParent !== null"
    assert page.run(shown, variance.format("overlaid"))
    page.click("#figure-variance [data-view-button='side by side']")
    assert not page.run(shown, variance.format("overlaid"))
    assert page.run(
        "return [...document.querySelectorAll(arguments[0])].map(plot => plot.querySelectorAll('.js-line').length > 0)",
        variance.format("side by side") + " .plot",
    ) == [True, True]


def test_the_theme_can_be_switched(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("two"), 1400)
    colours = (
        "const plot = document.querySelector('.plot');"
        "return [getComputedStyle(document.body).backgroundColor, plot.querySelector('.js-line').style.stroke,"
        "plot.querySelector('.main-svg').style.background]"
    )
    light = page.run(colours)
    page.click("#theme")
    dark = page.run(colours)
    assert all(one != other for one, other in zip(light, dark, strict=True))
    page.click("#theme")
    assert page.run(colours) == light
    assert page.complaints() == []


def test_hover_names_the_point(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("two"), 1400)
    texts = page.run(
        "const plot = document.querySelector('#figure-variance .plot');"
        "const curve = plot.data.findIndex(trace => trace.customdata);"
        "Plotly.Fx.hover(plot, [{curveNumber: curve, pointNumber: 3}]);"
        "return plot.querySelector('.hoverlayer').textContent"
    )
    assert "layers.1.3+msa" in texts
    assert "vit_nano" in texts
    assert "±" in texts


@pytest.mark.parametrize("anchor", ["rows-fourier-1", "rows-similarity-2"])
def test_a_sentence_opens_its_rows(page: Page, reports: Callable[[str], Path], anchor: str) -> None:
    page.open(reports("two"), 1400)
    page.run(f"location.hash = '#{anchor}'")
    page.driver.implicitly_wait(0)
    rows = 0
    for _ in range(100):
        rows = page.run(f"return document.querySelectorAll('#{anchor} tbody tr').length")
        if rows:
            break
        time.sleep(0.05)
    assert page.run(f"return document.getElementById('{anchor}').open")
    assert page.run(f"return document.querySelector('#{anchor} summary').textContent") == f"{rows} rows"


MARKED = (
    "return [...document.querySelectorAll('#figure-{} .plot')].filter(plot => plot.offsetParent !== null).map(plot =>"
    "[plot.querySelectorAll('.trace.pointed').length, plot.querySelectorAll('.trace.aside').length,"
    "[...plot.querySelectorAll('path.point.pointed')].map(dot => dot.__data__.i)])"
)
SPOT = "[data-model='0'][data-point='layers.1.3+msa']"


def test_a_point_of_the_map_lights_its_curve_and_its_steps(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("two"), 1400)
    assert page.run(MARKED.format("fourier"))[:2] == [[0, 0, []], [0, 0, []]]
    page.run(f"document.querySelector(\"{SPOT}\").dispatchEvent(new PointerEvent('pointerover', {{bubbles: true}}))")
    first, second, *steps = page.run(MARKED.format("fourier"))
    assert first[0] == 1
    assert first[1] >= 24  # all other curves, and their bands
    assert second == [0, 0, []]  # of the other model
    assert [0, 0, [3]] in steps
    assert page.run(MARKED.format("variance"))[0] == [0, 0, [3]]
    assert page.run("return document.getElementById('pointed').value") == "layers.1.3+msa: self-attention, stage 1"
    page.run(f"document.querySelector(\"{SPOT}\").dispatchEvent(new PointerEvent('pointerout', {{bubbles: true}}))")
    assert page.run(MARKED.format("fourier"))[0] == [0, 0, []]
    page.click(SPOT)
    page.click("#theme")
    assert page.run(MARKED.format("variance"))[0] == [0, 0, [3]]  # what a click keeps stays
    page.run("document.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))")
    assert page.run(MARKED.format("variance"))[0] == [0, 0, []]
    assert page.complaints() == []


def test_the_map_works_with_the_keyboard(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("two"), 1400)
    page.driver.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
    stops = (
        "return [...document.querySelectorAll('.spot')].filter(one => one.tabIndex === 0).map(one => one.dataset.point)"
    )
    assert page.run(stops) == ["stem", "stem"]
    page.run("document.querySelector('.spot').focus()")
    press = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0], bubbles: true}))"
    for key, place in (
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("End", 24),
        ("ArrowRight", 24),
        ("Home", 0),
    ):
        page.run(press, key)
        assert page.run(MARKED.format("variance"))[0] == [0, 0, [place]]
    assert page.run(stops) == ["stem", "stem"]


def test_a_curve_lights_its_point_on_the_map(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("two"), 1400)
    lit = "return [...document.querySelectorAll('.spot.pointed')].map(one => [one.dataset.model, one.dataset.point])"
    place = (
        "const plot = document.querySelector(arguments[0]); plot.scrollIntoView();"
        "const curve = plot.data.find(trace => trace.customdata), {xaxis, yaxis} = plot._fullLayout;"
        "const box = plot.getBoundingClientRect();"
        "return [box.left + xaxis._offset + xaxis.l2p(curve.x[arguments[1]]),"
        "box.top + yaxis._offset + yaxis.l2p(curve.y[arguments[1]])]"
    )
    for plot in ("#figure-fourier .plot", "#figure-variance .plot"):
        x, y = page.run(place, plot, 5)
        for step in (3, 0):
            page.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x + step, "y": y})
        told = ""
        for _ in range(100):
            told = page.run(
                "return document.querySelector(arguments[0]).querySelector('.hoverlayer').textContent", plot
            )
            if told:
                break
            time.sleep(0.05)
        ((model, name),) = page.run(lit)
        assert model == "0"
        assert told.startswith(name)  # curves lie close to each other
        if plot.startswith("#figure-variance"):
            assert name == "layers.1.5+msa"


def test_many_models_have_a_chooser(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("eight"), 1400)
    cards = "return [...document.querySelectorAll('#figure-variance .panel')].filter(panel => !panel.hidden).length"
    assert page.run(cards) == 6
    page.click('[data-all="true"]')
    assert page.run(cards) == 8
    page.click('[data-all="false"]')
    assert page.run(cards) == 0
    page.click('[data-chip="7"]')
    assert page.run(cards) == 1
    assert page.run("return document.querySelector('[data-chip=\"7\"]').textContent") == "vit_7_<html>&"
    assert page.complaints() == []
    page.keep("report-many-1400-light")


def test_it_prints_in_black_on_white(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("two"), 1400, dark=True)
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert page.run("return document.documentElement.dataset.theme") == "light"
    assert page.run("return document.querySelector('.plot .main-svg').style.background") == "rgb(255, 255, 255)"
    page.run("dispatchEvent(new Event('afterprint'))")
    page.settle()
    assert page.run("return document.documentElement.dataset.theme") == "dark"


def test_maps_are_square_and_legends_follow_the_view(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("two"), 1400)
    sizes = page.run(
        f"return {VISIBLE}.filter(plot => plot.querySelector('.heatmaplayer image'))"
        ".map(plot => [plot._fullLayout._size.w, plot._fullLayout._size.h])"
    )
    assert len(sizes) >= 2
    for width, height in sizes:
        assert width > 350
        assert abs(width - height) <= 2
    legend = "return document.querySelector('#figure-variance .legend').innerText"
    assert "shaded" not in page.run(legend)
    assert "vit_nano" in page.run(legend)
    page.click("#figure-variance [data-view-button='side by side']")
    assert "shaded: self-attention" in page.run(legend)
    assert "vit_nano" not in page.run(legend)


def test_tables_stack_on_a_phone(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("two"), 400)
    page.run("document.querySelector('#about details.measured').open = true")
    assert page.run("return document.querySelector('#about .scroll').clientWidth") > 200
    assert page.run(
        "return [...document.querySelectorAll('#about .scroll')].every(box => box.scrollWidth <= box.clientWidth)"
    )
    assert "Unwatched" in page.run(
        "return getComputedStyle(document.querySelector('td[data-name=Unwatched]'), '::before').content"
    )
