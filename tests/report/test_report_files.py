"""The files beside the page: the same bytes wherever they are made, and whatever the environment says."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

from report import samples
from visionscope.core.failures import Failures
from visionscope.report.files import write_figures

_CHILD = """
import sys
from visionscope.cli import main
code = main(["models", "resnet_nano"])
from visionscope.report import style
import matplotlib, numpy.f2py
assert matplotlib.rcParams == matplotlib.rcParamsDefault
sys.exit(code)
"""


def _drawn(folder: Path) -> dict[str, bytes]:
    failures = Failures()
    write_figures(folder, samples.figures([samples.vit(blocks=2)])[:1], failures)
    assert failures.all == []
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_users_settings_change_no_figure(tmp_path: Path) -> None:
    first = _drawn(tmp_path / "first")
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "savefig.pad_inches": 3, "lines.marker": "x"}):
        assert _drawn(tmp_path / "second") == first
    assert first


@pytest.mark.parametrize("kind", ["no UTF-8", "other settings", "a pipe", "a folder"])
@pytest.mark.parametrize("date", ["yesterday", "", "-1e9"])
def test_the_working_directory_and_the_environment_have_no_say(kind: str, date: str, tmp_path: Path) -> None:
    path = tmp_path / "matplotlibrc"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    else:
        path.write_bytes(b"\xff\xfe" if kind == "no UTF-8" else b"font.size: 40\nno such key: 3\n")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": date}
    ended = subprocess.run(
        [sys.executable, "-c", _CHILD],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
