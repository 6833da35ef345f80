"""The files beside the page: the same bytes wherever they are made, and whatever the environment says."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pyarrow as pa
import pyarrow.parquet
import pytest

from report import outcomes, samples
from report.telling import answers_of
from visionscope.core.failures import Failures
from visionscope.report.files import write_figures, write_tables

KINDS = ("no UTF-8", "other settings", "a pipe", "a folder")
# Settings are read by matplotlib and the date by numpy.f2py, so that none of the one needs all of the other.
CASES = tuple(zip(KINDS, ("yesterday", "", "-1e9", "yesterday"), strict=True))
# The libraries are imported once, in the worst of the folders and with a date that is none, for that takes seconds;
# matplotlib and numpy.f2py, which read a file and the date when they are imported, in a fork for each case.
_CHILD = """
import os, signal, sys, traceback
from visionscope.cli import main
assert main(["models", "resnet_nano"]) == 0
assert "torch" in sys.modules
assert not {"matplotlib", "numpy.f2py"} & sys.modules.keys()
for folder, date in zip(sys.argv[1::2], sys.argv[2::2]):
    sys.stdout.flush()
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with open(f"{folder}/code", "w") as file:
            file.write(str(code))
        continue
    try:
        signal.alarm(60)  # it may wait for a pipe
        os.dup2(os.open(f"{folder}/stderr", os.O_WRONLY | os.O_CREAT), 2)
        os.environ["SOURCE_DATE_EPOCH"] = date
        os.chdir(folder)
        code = main(["models", "resnet_nano"])
        from visionscope.report import style
        import matplotlib, numpy.f2py
        assert matplotlib.rcParams == matplotlib.rcParamsDefault
    except BaseException:
        code = 1
        traceback.print_exc()
    os._exit(code)  # an end of its own would tear down torch for a second
"""


def _spoil(kind: str, path: Path) -> None:
    """Puts in the place of matplotlib's settings what they can't be."""
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    else:
        path.write_bytes(b"\xff\xfe" if kind == "no UTF-8" else b"font.size: 40\nno such key: 3\n")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Folders with the exit code and the stderr of a process of their own."""
    folders = {case: tmp_path_factory.mktemp("imported") for case in CASES}
    for (kind, _), folder in folders.items():
        _spoil(kind, folder / "matplotlibrc")
    cases = [text for (_, date), folder in folders.items() for text in (str(folder), date)]
    ended = subprocess.run(
        [sys.executable, "-c", _CHILD, *cases],
        capture_output=True,
        text=True,
        cwd=folders[CASES[0]],
        env={**os.environ, "SOURCE_DATE_EPOCH": CASES[0][1]},
        timeout=900,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return folders


def _drawn(folder: Path) -> dict[str, bytes]:
    failures = Failures()
    write_figures(folder, answers_of(samples.tables([samples.vit(blocks=2)]))[:1], failures)
    assert failures.all == []
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.usefixtures("drawn")
def test_a_users_settings_change_no_figure(tmp_path: Path) -> None:
    first = _drawn(tmp_path / "first")
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "savefig.pad_inches": 3, "lines.marker": "x"}):
        assert _drawn(tmp_path / "second") == first
    assert first


def test_every_cell_of_every_table_holds_one_value(tmp_path: Path) -> None:
    nets = [outcomes.Damaged(label="net"), outcomes.Damaged(label="other", clean=60.0)]
    made = {
        **outcomes.calibrations(nets, confidence=[0.9, 0.8], scaled=[0.8, 0.7]),
        **outcomes.fits(nets, nll=(1.0, 1.5)),
        **outcomes.conflicts(nets, shape=[150, 60], texture=[50, 140]),
    }
    failures = Failures()
    write_tables(tmp_path, answers_of(made), failures, csv_outcomes=True)
    assert failures.all == []
    names = {path.stem for path in tmp_path.glob("*.parquet")}
    assert names == {f"{name}{kind}" for name in made for kind in ("", "_summary", "_comparisons", "_outcomes")}
    assert names == {path.stem for path in tmp_path.glob("*.csv")}
    for name in names:
        table = pyarrow.parquet.read_table(tmp_path / f"{name}.parquet")
        assert not any(pa.types.is_nested(field.type) for field in table.schema)
        assert max(map(len, (tmp_path / f"{name}.csv").read_text().replace("\n", ",").split(","))) < 100


@pytest.mark.parametrize(("kind", "date"), CASES)
def test_the_working_directory_and_the_environment_have_no_say(
    kind: str, date: str, imported: dict[tuple[str, str], Path]
) -> None:
    folder = imported[kind, date]
    assert ((folder / "code").read_text(), (folder / "stderr").read_text()) == ("0", "")
