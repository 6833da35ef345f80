"""The demo, with seconds instead of minutes."""

import html
from pathlib import Path

import pytest

from visionscope.demo import MINUTES, demo


def test_the_demo_keeps_its_promise_of_four_minutes() -> None:
    # Reading, drawing, diagnosing and reporting take half a minute on two cores.
    assert max(MINUTES.values()) <= 3


@pytest.mark.slow
def test_the_demo_prints_findings_that_stand_on_its_page(tmp_path: Path) -> None:
    lines: list[str] = []
    shown = demo(str(tmp_path), minutes=dict.fromkeys(MINUTES, 0.1), say=lines.append)
    page = html.unescape(shown.page.read_text(encoding="utf-8"))
    assert shown.page == tmp_path / "report.html"
    assert len(shown.findings) == 6
    assert all(finding.split(". ")[0] in page for finding in shown.findings)
    assert all(0 < accuracy < 1 for accuracy in shown.accuracies.values())
    assert any(line.startswith("vit_nano is right about ") for line in lines)
    weights = sorted(tmp_path.glob("train/*/last.safetensors"))
    times = [path.stat().st_mtime_ns for path in weights]
    again = demo(str(tmp_path), minutes=dict.fromkeys(MINUTES, 0.1), say=lines.append)
    assert again == shown
    assert [path.stat().st_mtime_ns for path in weights] == times
    assert sorted(tmp_path.glob("train/*/last.safetensors")) == weights
