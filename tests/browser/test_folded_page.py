from collections.abc import Callable
from pathlib import Path

import pytest

from browser.conftest import Page

pytestmark = pytest.mark.browser

DRAWN = "return [...document.querySelectorAll('#figure-{} .plot')].filter(plot => plot.dataset.drawn).length"
OPEN = "return document.querySelector('#figure-{} > details').open"


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (400, True)])
def test_all_sections_are_open_draw_and_fold(
    page: Page, reports: Callable[[str], Path], width: int, dark: bool
) -> None:
    page.open(reports("everything"), width, dark=dark)
    assert page.run("return [...document.querySelectorAll('details.fold')].every(one => one.open)")
    shown = "[...document.querySelectorAll('.plot')].filter(plot => plot.offsetParent !== null)"
    sizes = page.run(f"return {shown}.map(plot => [plot.dataset.drawn === 'true', plot.clientWidth])")
    assert len(sizes) > 15
    assert all(drawn and wide > 200 for drawn, wide in sizes)
    assert page.run("return document.documentElement.scrollWidth") == width
    assert page.complaints() == []
    page.keep(f"unfolded-{width}-{'dark' if dark else 'light'}")
    # Whatever is folded fits, too, once it is open.
    page.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.settle()
    assert page.run("return document.querySelectorAll('details.table tbody tr').length") > 30
    assert page.run("return document.documentElement.scrollWidth") == width
    page.click("[data-fold=close]")
    sections = "[...document.querySelectorAll('section.figure .plot')]"
    assert page.run(f"return {sections}.every(one => one.closest('details:not([open])'))")
    assert page.run("return document.documentElement.scrollWidth") == width
    page.keep(f"folded-{width}-{'dark' if dark else 'light'}")


def test_contents_open_a_section_and_draw_it_alone(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("everything"), 1200)
    links = page.run("return [...document.querySelectorAll('#contents a')].map(link => link.getAttribute('href'))")
    sections = page.run("return [...document.querySelectorAll('section.figure')].map(one => '#' + one.id)")
    assert links == ["#about", *sections, "#limits", "#left-out"]
    page.click("[data-fold=close]")
    assert not page.run(OPEN.format("calibration"))
    page.run("location.hash = '#figure-calibration'")
    for _ in range(100):
        if page.run(DRAWN.format("calibration")) == 4:
            break
        page.settle()
    assert page.run(OPEN.format("calibration"))
    assert page.run(DRAWN.format("calibration")) == 4
    assert not page.run(OPEN.format("lesion"))


def test_a_sentence_in_a_folded_page_opens_its_rows(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("everything"), 1200)
    page.click("[data-fold=close]")
    anchor = page.run("return document.querySelector('details.rows').id")
    page.run(f"location.hash = '#{anchor}'")
    page.settle()
    for _ in range(100):
        if page.run(f"return document.querySelectorAll('#{anchor} tbody tr').length"):
            break
        page.settle()
    assert page.run(f"return document.querySelectorAll('#{anchor} tbody tr').length") > 0
    assert page.run("return document.getElementById(arguments[0]).offsetParent !== null", anchor)
    assert page.run("return document.getElementById(arguments[0]).closest('details.more').open", anchor)


def test_whiskers_go_with_their_model_and_reference_stays(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("everything"), 1200)
    count = "return document.querySelector('#figure-calibration .plot').querySelectorAll('.scatterlayer .trace').length"
    assert page.run(count) == 5  # the diagonal, and a curve with whiskers for each of two models
    page.click('[data-chip="0"]')
    assert page.run(count) == 3
    page.click('[data-chip="1"]')
    assert page.run(count) == 1


def test_contact_sheets_are_images_with_words(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("everything"), 400)
    words = page.run("return [...document.querySelectorAll('.sheet img')].map(image => image.alt)")
    assert words == ["fog 1", "fog 5", "snow 1", "snow 5"]
    assert page.run("return [...document.querySelectorAll('.sheet img')].every(image => image.clientWidth > 40)")


def test_what_does_not_apply_is_listed(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("everything"), 1200)
    said = page.run("return document.querySelector('#left-out').innerText")
    assert "attention" in said
    assert "resnet_nano" in said
    assert "has no self-attention" in said


def test_print_unfolds_everything_but_rows_and_long_tables(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("everything"), 1200, dark=True)
    page.click("[data-fold=close]")
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert page.run("return [...document.querySelectorAll('details.fold, details.more')].every(one => one.open)")
    tables = page.run(
        "return [...document.querySelectorAll('details.table')].map(one => [one.matches('.long'), one.open])"
    )
    assert [opened for long, opened in tables if not long] == [True] * len(tables)
    assert page.run(
        "return [...document.querySelectorAll('details.table[open]')].every(one => one.querySelector('td'))"
    )
    assert not page.run("return [...document.querySelectorAll('details.rows')].some(one => one.open)")
    assert page.run(DRAWN.format("lesion")) == 1
    page.run("dispatchEvent(new Event('afterprint'))")
    page.settle()
    assert not page.run(OPEN.format("lesion"))


def test_cards_of_a_row_have_one_height(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("everything"), 1400)
    page.run("document.querySelectorAll('details.more').forEach(one => { one.open = true; })")
    boxes = page.run(
        "return [...document.querySelectorAll('.card, .panel')].filter(one => one.offsetParent !== null)"
        ".map(one => [one.parentElement.offsetTop, one.offsetTop, one.offsetHeight])"
    )
    rows: dict[tuple[int, int], set[int]] = {}
    for parent, top, height in boxes:
        rows.setdefault((parent, top), set()).add(height)
    assert len(rows) > 10
    assert all(len(heights) == 1 for heights in rows.values())


def test_a_browser_that_cannot_unpack_says_so(page: Page, reports: Callable[[str], Path]) -> None:
    source = "delete window.DecompressionStream"
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    page.open(reports("everything"), 1200)
    page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    said = page.run("return document.getElementById('unpacked').innerText")
    assert said.startswith("This browser is too old to unpack the figures")
    assert "figures/ beside this page" in said
    # What needs no figures works still.
    assert page.run("return document.querySelectorAll('.plot[data-drawn]').length") == 0
    page.click("#theme")
    page.click("[data-fold=close]")
    assert page.complaints() == []
