"""The page of an experiment in a browser: verdicts, figures and tables on wide and narrow screens, light and dark."""

from pathlib import Path

import pytest

from browser.conftest import Page
from experiments.synthetic import tables
from training.conftest import SMALL, data  # noqa: F401  # the fixture
from visionscope.claims.registry import paper_claims
from visionscope.claims.verdict import judge
from visionscope.experiments.page import write_page
from visionscope.experiments.plan import plan_of
from visionscope.experiments.reading import experiment_from

pytestmark = pytest.mark.browser

REASON = "loss is not finite at step 12; a learning_rate below 0.001 may help"


@pytest.fixture(scope="module")
def experiment_page(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """All claims of the paper with seeds that differ, a training that failed, a command; no figures for papers."""
    run = tmp_path_factory.mktemp("run")
    wide = "resnet_nano?channels=(12,12,12)&stem_width=4&layers=(1,1,1)"
    plan = plan_of(
        experiment_from(
            {
                "title": "A study with a long title that says what was compared",
                "data": data,
                "out": str(run),
                "train": {"seeds": 2, "epochs": 1, "variants": {"small": SMALL, "a_variant_of_a_long_name": wide}},
                "diagnose": {"last": []},
            }
        )
    )
    found = tables(5)
    scored = found["training"].assign(model=SMALL, gmacs=0.001)
    found["training"] = scored.assign(nll_train=scored["nll_train"] + 0.01 * scored["seed"] * scored["error"])
    found["failures"] = scored.head(1)[["variant", "seed"]].assign(snapshot="", diagnostic="", reason=REASON)
    claims = paper_claims()
    return write_page(plan, run, found, claims, judge(claims, found), left=3)


@pytest.mark.parametrize(("width", "dark"), [(1400, False), (400, True)])
def test_the_page_fits_the_screen(page: Page, experiment_page: Path, width: int, dark: bool) -> None:
    page.open(experiment_page, width, dark=dark)
    assert page.run("return document.documentElement.scrollWidth") == width
    page.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.settle()
    assert page.run("return document.documentElement.scrollWidth") == width
    shown = "[...document.querySelectorAll('.plot')].filter(plot => plot.offsetParent !== null)"
    sizes = page.run(f"return {shown}.map(plot => [plot.dataset.drawn === 'true', plot.clientWidth])")
    assert len(sizes) > 30
    assert all(drawn and wide > 200 for drawn, wide in sizes)
    # What is wider than its table scrolls within it; nothing sticks out of its cell.
    cells = "[...document.querySelectorAll('#verdicts td, #failures td, #variants td')]"
    sticking = f"{cells}.filter(one => one.scrollWidth > one.clientWidth + 1)"
    assert page.run(f"return {sticking}.map(one => one.textContent)") == []
    assert page.complaints() == []
    page.keep(f"experiment-{width}-{'dark' if dark else 'light'}")


def test_the_second_number_of_a_claim_stands_under_its_effect(page: Page, experiment_page: Path) -> None:
    page.open(experiment_page, 400)
    told = page.run("return [...document.querySelectorAll('.beside')].map(one => one.textContent.replace(/\\s/g, ' '))")
    assert told == [
        "slope 49.5 (49 to 50) percentage points per nat; published: 43.1 (CIFAR-100)",
        "slope 49.5 (49 to 50) percentage points per nat; published: 39.5 (CIFAR-10)",
    ]
    # Claims begin at the left, and the mark of the primary ones has the height of a line.
    assert page.run("return getComputedStyle(document.querySelector('#verdicts td')).textAlign") == "left"
    assert page.run("return document.querySelector('#verdicts .state').offsetHeight") < 30
