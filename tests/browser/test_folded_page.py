from collections.abc import Callable
from pathlib import Path

import pytest

from browser.conftest import Page

pytestmark = pytest.mark.browser

DRAWN = "return [...document.querySelectorAll('#figure-{} .plot')].filter(plot => plot.dataset.drawn).length"
OPEN = "return document.querySelector('#figure-{} > details').open"


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (400, False), (400, True)])
def test_many_sections_fold_and_all_of_them_draw(
    page: Page, reports: Callable[[str], Path], width: int, dark: bool
) -> None:
    page.open(reports("everything"), width, dark=dark)
    assert page.run("return document.querySelectorAll('.plot[data-drawn]').length") == 0
    assert page.run("return document.documentElement.scrollWidth") == width
    page.keep(f"folded-{width}-{'dark' if dark else 'light'}")
    page.click("[data-fold=open]")
    page.settle()
    shown = "[...document.querySelectorAll('.plot')].filter(plot => plot.offsetParent !== null)"
    sizes = page.run(f"return {shown}.map(plot => [plot.dataset.drawn === 'true', plot.clientWidth])")
    assert len(sizes) > 15
    assert all(drawn and wide > 200 for drawn, wide in sizes)
    assert page.run("return document.documentElement.scrollWidth") == width
    assert page.complaints() == []
    page.keep(f"unfolded-{width}-{'dark' if dark else 'light'}")


def test_contents_open_a_section_and_draw_it_alone(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("everything"), 1200)
    links = page.run("return [...document.querySelectorAll('#contents a')].map(link => link.getAttribute('href'))")
    sections = page.run("return [...document.querySelectorAll('section.figure')].map(one => '#' + one.id)")
    assert links == ["#about", "#limits", *sections, "#rows"]
    assert not page.run(OPEN.format("calibration"))
    page.run("location.hash = '#figure-calibration'")
    for _ in range(100):
        if page.run(DRAWN.format("calibration")) == 4:
            break
        page.settle()
    assert page.run(OPEN.format("calibration"))
    assert page.run(DRAWN.format("calibration")) == 4
    assert page.run(DRAWN.format("lesion")) == 0


def test_a_sentence_in_a_folded_page_opens_its_rows(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("everything"), 1200)
    page.run("document.querySelector('#findings a').click()")
    anchor = page.run("return document.querySelector('#findings a').getAttribute('href').slice(1)")
    page.settle()
    for _ in range(100):
        if page.run(f"return document.querySelectorAll('#{anchor} tbody tr').length"):
            break
        page.settle()
    assert page.run(f"return document.querySelectorAll('#{anchor} tbody tr').length") > 0
    assert page.run("return document.querySelector('#rows > details').open")


def test_whiskers_go_with_their_model_and_reference_stays(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("everything"), 1200)
    page.click("[data-fold=open]")
    count = "return document.querySelector('#figure-calibration .plot').querySelectorAll('.scatterlayer .trace').length"
    assert page.run(count) == 5  # the diagonal, and a curve with whiskers for each of two models
    page.click('[data-chip="0"]')
    assert page.run(count) == 3
    page.click('[data-chip="1"]')
    assert page.run(count) == 1


def test_contact_sheets_are_images_with_words(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("everything"), 400)
    page.click("[data-fold=open]")
    words = page.run("return [...document.querySelectorAll('.sheet img')].map(image => image.alt)")
    assert words == ["fog 1", "fog 5", "snow 1", "snow 5"]
    assert page.run("return [...document.querySelectorAll('.sheet img')].every(image => image.clientWidth > 40)")


def test_what_does_not_apply_is_listed(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("everything"), 1200)
    said = page.run("return document.querySelector('#left-out').innerText")
    assert "attention" in said
    assert "resnet_nano" in said
    assert "has no self-attention" in said


def test_print_unfolds_everything(page: Page, reports: Callable[[str], Path]) -> None:
    page.open(reports("everything"), 1200, dark=True)
    page.run("dispatchEvent(new Event('beforeprint'))")
    assert page.run("return [...document.querySelectorAll('details.fold')].every(one => one.open)")
    assert page.run(DRAWN.format("lesion")) == 1
    page.run("dispatchEvent(new Event('afterprint'))")
    page.settle()
    assert not page.run(OPEN.format("lesion"))
