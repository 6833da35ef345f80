import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from report import curvature, outcomes, samples
from report.telling import answers_of
from visionscope.report.page import build_report

ARTIFACTS = Path(__file__).parents[2] / "test-artifacts"
PATIENCE = 90


def _program(*names: str) -> str:
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        message = f"browser tests need {names[0]}: apt-get install chromium chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser = _program("chromium", "chromium-browser", "google-chrome")
    service = Service(_program("chromedriver"))
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-background-networking", "--disable-sync"),
        # WebGL without a graphics card.
        *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
        *("--disable-component-update", "--no-first-run", "--hide-scrollbars", "--window-size=1400,900"),
        *("--disable-dev-shm-usage", f"--user-data-dir={profile}"),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=service)
    opened.set_page_load_timeout(PATIENCE)
    opened.set_script_timeout(PATIENCE)
    opened.get("about:blank")
    yield opened
    opened.quit()


class Page:
    """An opened report, with the few gestures that the tests make."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, path: Path, width: int, *, dark: bool = False) -> None:
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.resize(width, 900)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(path.as_uri())
        self.settle()

    def resize(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def click(self, selector: str) -> None:
        self.run("document.querySelector(arguments[0]).click()", selector)
        self.settle()

    def settle(self) -> None:
        """Waits until every visible figure is drawn."""
        end = time.monotonic() + PATIENCE
        while self.run("return document.documentElement.dataset.drawn") != "true":
            assert time.monotonic() < end, "the page did not finish drawing"
            time.sleep(0.05)

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("data:", "blob:", "chrome-untrusted:"))]

    def keep(self, name: str) -> None:
        """A screenshot of the whole page among the test artifacts."""
        width = self.run("return innerWidth")
        self.resize(width, self.run("return document.documentElement.scrollHeight"))
        time.sleep(0.3)
        ARTIFACTS.mkdir(exist_ok=True)
        self.driver.save_screenshot(str(ARTIFACTS / f"{name}.png"))
        self.resize(width, 900)


@pytest.fixture
def page(driver: webdriver.Chrome) -> Page:
    return Page(driver)


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Reports by name, each built once and without the figures for papers."""
    sets = {
        "two": [samples.vit(), samples.resnet(weights="random, seed 0")],
        "eight": [samples.vit(f"vit_{index}_<html>&", blocks=2) for index in range(8)],
    }
    built: dict[str, Path] = {}

    def contents(name: str) -> tuple[Any, Any]:
        if name == "many landscapes":
            curved = [curvature.Curved(label=f"net_{index}", steep=1.0 + index) for index in range(8)]
            return answers_of(curvature.tables(curved, points=5)), curvature.jobs(curved)
        if name == "curvature":
            stages = tuple(("stage", f"stage {index}") for index in (1, 2, 3))
            curved = [replace(one, levels=(*one.levels, *stages)) for one in curvature.vit_and_resnet()]
            return answers_of(curvature.tables(curved)), curvature.jobs(curved)
        if name == "everything":
            return outcomes.everything()
        models = sets[name]
        tables = {**samples.tables(models), "similarity_between": samples.between_table(models[0], models[1])}
        return answers_of(tables), samples.jobs(models)

    def report(name: str) -> Path:
        if name not in built:
            built[name] = build_report(tmp_path_factory.mktemp(name), *contents(name))
        return built[name]

    return report
