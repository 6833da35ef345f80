"""What `visionscope status` says of a folder with a monitor's rows, with and without jobs beside them."""

from pathlib import Path

import pytest

from visionscope.cli import main
from visionscope.running.moments import MonitorRow, Rows


def rows_at(step: int, *failed: str) -> list[MonitorRow]:
    """Two diagnostics at one moment, two numbers each; a failed one says why instead."""
    rows = []
    for name in ("fourier", "hessian"):
        head = (step, step / 8, name)
        if name in failed:
            rows.append(MonitorRow(*head, "", "", None, None, None, "", "RuntimeError: it broke"))
        else:
            rows += [MonitorRow(*head, "", column, 0.5, None, None, "", "") for column in ("one", "other")]
    return rows


def write(folder: Path, steps: tuple[int, ...], failed_at: int = -1) -> None:
    kept = Rows(folder)
    kept.begin(0)
    for step in steps:
        kept.write(step, rows_at(step, *(["hessian"] if step == failed_at else [])))


def cells(said: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if "│" in line]


def test_moments_and_diagnostics_of_a_loop_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "my loop"
    write(run, (0, 8, 20), failed_at=8)
    assert main(["status", str(run)]) == 0
    said = capsys.readouterr().out
    assert cells(said) == [
        ["my loop", "fourier", "3", "0", "20", "2.5"],
        ["my loop", "hessian", "3", "1", "20", "2.5"],
    ]
    assert said.splitlines()[-1] == f"visionscope report '{run}' draws them"
    assert main(["report", str(run)]) == 0  # as it was told


def test_trainings_below_a_run_folder_and_a_torn_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, steps in (("aaaaaaaaaaaa", (0, 8)), ("bbbbbbbbbbbb", (0,))):
        write(tmp_path / "train" / name, steps)
    (tmp_path / "train" / "bbbbbbbbbbbb" / "monitor.parquet" / "step-000000008.parquet").write_bytes(b"PAR1")
    assert main(["status", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert [row[:5] for row in cells(said)] == [
        [folder, name, count, "0", last]
        for folder, count, last in (("aaaaaaaaaaaa", "2", "8"), ("bbbbbbbbbbbb", "1", "0"))
        for name in ("fourier", "hessian")
    ]
    assert "damaged: monitor's rows of bbbbbbbbbbbb: " in said


def test_jobs_beside_them_are_listed_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, (0, 8))
    job = tmp_path / "fourier" / ("0123" * 16) / "job.json"
    job.parent.mkdir(parents=True)
    job.write_text("{torn")
    assert main(["status", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert 0 < said.index("damaged: fourier/0123") < said.index("measured by a monitor")
    assert [row[1:] for row in cells(said)] == [[name, "2", "0", "8", "1"] for name in ("fourier", "hessian")]


def test_a_folder_without_rows_is_still_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Rows(tmp_path).begin(0)
    assert main(["status", str(tmp_path)]) == 2
    assert "holds no job; is it the folder that --out named?" in capsys.readouterr().err
