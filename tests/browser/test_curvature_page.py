import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browser.conftest import PATIENCE, Page

pytestmark = pytest.mark.browser

GROUP = "#figure-landscape .group:first-of-type"
DEEP = f"{GROUP} [data-view='3-D'] .plot"
SHOWN = "return document.querySelector(arguments[0]).offsetParent !== null"


def turn(page: Page, view: str = "3-D") -> None:
    page.click(f'{GROUP} [data-view-button="{view}"]')


def wait_for(page: Page, script: str, *arguments: Any) -> Any:
    end = time.monotonic() + PATIENCE
    while not (found := page.run(script, *arguments)):
        assert time.monotonic() < end, f"never true: {script}"
        time.sleep(0.05)
    return found


@pytest.fixture
def without_webgl(page: Page) -> Iterator[None]:
    """What a browser without WebGL answers."""
    script = (
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
        "return String(kind).includes('webgl') ? null : get.call(this, kind, ...rest); };"
    )
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    yield
    page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": added["identifier"]})


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (400, True)])
def test_it_loads_alone_draws_everything_and_fits(
    page: Page, reports: Callable[[str], Path], width: int, dark: bool
) -> None:
    path = reports("curvature")
    page.open(path, width, dark=dark)
    assert page.complaints() == []
    assert page.requests() == [path.as_uri()]
    marks = page.run(
        "return [...document.querySelectorAll('.plot')].filter(plot => plot.offsetParent !== null)"
        ".map(plot => plot.querySelectorAll('.contourlayer .contourfill path, .js-fill, .js-line').length)"
    )
    # Two sides, one axis, two models by stage; the density; two by two contours; the lines.
    assert len(marks) == 1 + 2 + 1 + 2 + 1 + 4 + 1  # the first a second time, at the top
    assert min(marks) > 0
    assert page.run("return document.documentElement.scrollWidth") == width
    page.keep(f"curvature-{width}-{'dark' if dark else 'light'}")


def test_contours_have_equal_axes_and_holes(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("curvature"), 1400)
    sizes = page.run(
        "return [...document.querySelectorAll(\"#figure-landscape [data-view='contour'] .plot\")].map(plot => {"
        "const {xaxis, yaxis} = plot._fullLayout;"
        "return [xaxis._length / (xaxis.range[1] - xaxis.range[0]), yaxis._length / (yaxis.range[1] - yaxis.range[0]),"
        "plot.data[0].z.flat().filter(value => value === null).length]; })"
    )
    assert len(sizes) == 4
    for across, up, missing in sizes:
        assert across == pytest.approx(up, rel=0.01)
        assert missing == 8
    assert "places without a finite value: 8 of vit_nano, 8 of resnet_nano" in page.run(
        "return document.querySelector(arguments[0]).innerText", GROUP
    )


def test_a_landscape_can_be_turned_with_one_scale(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("curvature"), 1400)
    assert not page.run(SHOWN, f"{GROUP} .turning")
    turn(page)
    assert page.run(SHOWN, f"{GROUP} .turning")
    assert not page.run(SHOWN, f"{GROUP} [data-view='contour'] .plot")
    drawn = page.run(
        "return [...document.querySelectorAll(arguments[0])].map(plot => [plot.data[0].type,"
        "plot.querySelectorAll('.gl-container canvas').length, plot._fullLayout.scene.zaxis.range,"
        "[plot.data[0].cmin, plot.data[0].cmax], plot._fullLayout.scene.bgcolor])",
        DEEP,
    )
    assert len(drawn) == 2
    assert drawn[0] == drawn[1]
    assert drawn[0][0] == "surface"
    assert drawn[0][1] > 0
    assert drawn[0][2] == drawn[0][3]
    page.click("#theme")
    assert page.run("return document.querySelector(arguments[0])._fullLayout.scene.bgcolor", DEEP) != drawn[0][4]
    turn(page, "contour")
    assert page.run(SHOWN, f"{GROUP} [data-view='contour'] .plot")
    # Contexts are given back.
    assert page.run("return document.querySelectorAll('.gl-container canvas').length") == 0
    assert [text for text in page.complaints() if "willReadFrequently" not in text] == []


def test_panels_turn_together(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("curvature"), 1400)
    turn(page)
    page.run(
        "const eye = {x: 0.3, y: 2, z: 1};"
        "Plotly.relayout(document.querySelector(arguments[0]), {'scene.camera': {eye}})",
        DEEP,
    )
    wait_for(
        page,
        "return [...document.querySelectorAll(arguments[0])]"
        ".every(plot => plot._fullLayout.scene.camera.eye.x === 0.3)",
        DEEP,
    )
    page.keep("curvature-turned")


def test_without_webgl_the_contour_stays_and_it_is_said(
    page: Page, reports: Callable[[str], Path], without_webgl: None
) -> None:
    page.open(reports("curvature"), 1400)
    assert not page.run(SHOWN, f"{GROUP} .flat")
    turn(page)
    assert page.run(SHOWN, f"{GROUP} .flat")
    assert "no WebGL" in page.run("return document.querySelector(arguments[0]).textContent", f"{GROUP} .flat")
    assert page.run(SHOWN, f"{GROUP} [data-view='contour'] .plot .contourlayer path")
    assert not page.run(SHOWN, f"{GROUP} .turning")
    pressed = page.run(
        "return [...document.querySelectorAll(arguments[0])].map(button => button.getAttribute('aria-pressed'))",
        f"{GROUP} [data-view-button]",
    )
    assert pressed == ["true", "false"]
    turn(page, "contour")
    assert not page.run(SHOWN, f"{GROUP} .flat")
    assert page.complaints() == []


def test_paper_gets_the_contour(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("curvature"), 1400)
    turn(page)
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert page.run(SHOWN, f"{GROUP} [data-view='contour'] .plot .contourlayer path")
    assert not page.run(SHOWN, DEEP)
    page.run("dispatchEvent(new Event('afterprint'))")
    page.settle()
    assert page.run(SHOWN, DEEP)
    assert page.run("return document.querySelectorAll(arguments[0] + ' canvas').length", DEEP) > 0


def test_hover_on_a_contour_tells_place_and_value(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("curvature"), 1400)
    text = page.run(
        "const plot = document.querySelector(arguments[0]);"
        "Plotly.Fx.hover(plot, {xval: 0.5, yval: 0}, 'xy');"
        "return plot.querySelector('.hoverlayer').textContent",
        f"{GROUP} [data-view='contour'] .plot",
    )
    assert text.startswith("vit_nano")
    assert "step along the first direction: 0.5" in text
    assert "step along the second direction: 0" in text
    assert "NLL (nat): 1.905" in text


def test_densities_overlay_and_stand_side_by_side(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("curvature"), 1400)
    fills = (
        "return [...document.querySelectorAll('#figure-hessian .group')[0].querySelectorAll('.plot')]"
        ".filter(plot => plot.offsetParent !== null).map(plot => [plot.querySelectorAll('.js-fill').length,"
        "plot._fullLayout.yaxis.range[0], plot.querySelectorAll('.points path').length])"
    )
    assert page.run(fills) == [[2, 0, 0], [2, 0, 0]]
    page.click("#figure-hessian [data-view-button='side by side']")
    assert page.run(fills) == [[1, 0, 0]] * 4
    page.click('[data-chip="1"]')
    assert page.run(fills) == [[1, 0, 0]] * 2
    # Rows of a hidden model go with it.
    rows = (
        "return [...document.querySelectorAll('#figure-hessian .numbers tbody tr')].filter(row => !row.hidden).length"
    )
    assert page.run(rows) == 4
    page.click('[data-chip="1"]')
    assert page.run(rows) == 8


def test_parts_of_a_model_are_named_in_colours_of_the_theme(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("curvature"), 1400)
    colours = (
        "return [...document.querySelectorAll('.scope')].map(mark => [mark.parentElement.textContent,"
        "getComputedStyle(mark).borderTopColor])"
    )
    light = page.run(colours)
    assert [name for name, _ in light] == ["stage 1", "stage 2", "stage 3"]
    page.click("#theme")
    assert all(one[1] != other[1] for one, other in zip(light, page.run(colours), strict=True))


def test_many_turned_landscapes_give_way_to_the_latest(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("many landscapes"), 1400)
    page.click('[data-all="true"]')
    pressed = (
        "return [...document.querySelectorAll('#figure-landscape [data-view-button=\"3-D\"]')]"
        ".map(button => button.getAttribute('aria-pressed'))"
    )
    assert page.run(pressed) == ["false", "false"]
    turn(page)
    assert page.run(pressed) == ["true", "false"]
    # Eight and eight would be more than browsers keep.
    page.run("document.querySelectorAll('#figure-landscape [data-view-button=\"3-D\"]')[1].click()")
    page.settle()
    assert page.run(pressed) == ["false", "true"]
    drawn = "return document.querySelectorAll(\"[data-view='3-D'] .plot[data-drawn]\").length"
    assert page.run(drawn) == 8
