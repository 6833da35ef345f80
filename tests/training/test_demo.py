"""The demo, as a user runs it, and with trainings of moments."""

import html
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from visionscope.demo import demo
from visionscope.models.shipped import SHIPPED

LONGEST = 90  # seconds of processor time
# Other sums in another order, as other processors and other numbers of threads have them.
MACHINES = {"one thread": {"OMP_NUM_THREADS": "1"}, "no wide vectors": {"ATEN_CPU_CAPABILITY": "default"}}


def _as_a_user(folder: Path, **environment: str) -> tuple[str, float]:
    """What the command prints, and the seconds of processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "visionscope.cli", "demo", "--out", "run"]
    told = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert told.returncode == 0, told.stderr
    return told.stdout + told.stderr, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
def test_the_demo_finds_the_same_on_every_machine_in_a_minute_and_a_half(tmp_path: Path) -> None:
    printed, reports = {}, {}
    for machine, environment in MACHINES.items():
        (tmp_path / machine).mkdir()
        printed[machine], seconds = _as_a_user(tmp_path / machine, **environment)
        assert machine != "one thread" or seconds <= LONGEST
        told = json.loads((tmp_path / machine / "run" / "report.json").read_text(encoding="utf-8"))
        reports[machine] = [(one["anchor"], one["headline"], one["detail"]) for one in told["findings"]]
    assert printed["one thread"] == printed["no wide vectors"]
    assert reports["one thread"] == reports["no wide vectors"]
    for name in SHIPPED:
        assert re.search(rf"^{name}: \d\d\.\d % of 2,000 test images right \(", printed["one thread"], re.MULTILINE)


@pytest.mark.slow
def test_a_demo_that_trains_prints_findings_that_stand_on_its_page(tmp_path: Path) -> None:
    lines: list[str] = []
    shown = demo(str(tmp_path), epochs=0.05, say=lines.append)
    page = html.unescape(shown.page.read_text(encoding="utf-8"))
    assert shown.page == tmp_path / "report.html"
    assert shown.findings
    assert all(finding in page for finding in shown.findings)
    assert all(0 < accuracy < 1 for accuracy in shown.accuracies.values())
    assert any(re.match(r"vit_nano: \d+\.\d % of 2,000 test images right", line) for line in lines)
    weights = sorted(tmp_path.glob("train/*/last.safetensors"))
    times = [path.stat().st_mtime_ns for path in weights]
    again = demo(str(tmp_path), epochs=0.05, say=lines.append)
    assert again == shown
    assert [path.stat().st_mtime_ns for path in weights] == times
    assert sorted(tmp_path.glob("train/*/last.safetensors")) == weights
