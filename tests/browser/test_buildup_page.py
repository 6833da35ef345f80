"""The page of a build-up in a browser: what was found, its table and its figures, wide and narrow, light and dark."""

from pathlib import Path

import pytest

from browser.conftest import Page
from experiments.buildups import CNN, carried_out, late_helps
from training.conftest import data  # noqa: F401  # the fixture
from visionscope.experiments.buildup.page import write_page
from visionscope.experiments.buildup.results import networks_of, sentences_of, table_of
from visionscope.experiments.buildup.search import Question, search_for

pytestmark = pytest.mark.browser

COMMAND = f"visionscope buildup '{CNN}' --data images --recipe pico --budget 2h --warm-start --control --out search"


@pytest.fixture(scope="module")
def buildup_page(data: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:  # noqa: F811
    """Every column and every kind of row: a warm start, a control, latency; and what was found. Nothing was trained."""
    run = tmp_path_factory.mktemp("run")
    question = Question(
        model=CNN, data=data, recipe="pico", changes={"epochs": 1.0}, warm_start=True, at_most_ms=10_000
    )
    search = search_for(question, seeds=8, budget=None, run=run, note=lambda line: None, command=COMMAND)
    with pytest.MonkeyPatch.context() as patch:
        found, _, _ = carried_out(search, late_helps, run, patch, control=True)
        speeds = {name: 1000.0 - 50 * place for place, name in enumerate(networks_of(found))}
        return write_page(found, table_of(found, speeds), run), sentences_of(found)


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (400, True)])
def test_the_page_is_whole_and_fits_the_screen(
    page: Page, buildup_page: tuple[Path, tuple[str, ...]], width: int, dark: bool
) -> None:
    path, sentences = buildup_page
    page.open(path, width, dark=dark)
    assert page.complaints() == []
    assert page.requests() == [path.as_uri()]
    assert page.run("return document.documentElement.dataset.theme") == ("dark" if dark else "light")
    told = page.run("return document.querySelector('#networks').innerText").replace("\xa0", " ")
    assert all(one in told for one in sentences)
    verdicts = page.run(
        "return [...document.querySelectorAll('#networks tr td:nth-child(2)')].map(one => one.innerText)"
    )
    assert verdicts == ["start", "again", "kept", "again", "dropped", "control", "control"]
    shown = "[...document.querySelectorAll('.plot')].filter(plot => plot.offsetParent !== null)"
    plots = page.run(
        f"return {shown}.map(plot => [plot.querySelectorAll('.scatterlayer .trace').length, plot.clientWidth])"
    )
    assert len(plots) == 4  # the path, the published one, two costs
    assert all(traces > 1 and wide > 200 for traces, wide in plots)
    assert page.run("return document.documentElement.scrollWidth") == width
    page.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.settle()
    assert page.run("return document.documentElement.scrollWidth") == width
    # What is wider than its table scrolls within it; nothing sticks out of its cell.
    sticking = "[...document.querySelectorAll('#networks td')].filter(one => one.scrollWidth > one.clientWidth + 1)"
    assert page.run(f"return {sticking}.map(one => one.textContent)") == []
    assert COMMAND in page.run("return document.body.textContent")
    assert page.complaints() == []
    page.keep(f"buildup-{width}-{'dark' if dark else 'light'}")
