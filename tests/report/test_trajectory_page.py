"""Numbers over a training: which are drawn, what is told of them, and how a monitor's folder becomes a page."""

import json
import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from visionscope.cli import main
from visionscope.core.failures import Failures
from visionscope.core.finding import MOST_WORDS
from visionscope.core.table import to_table
from visionscope.core.trajectory import MONITOR, SNAPSHOTS, Trajectory
from visionscope.report.trajectories import trajectory_answers
from visionscope.running.moments import MonitorRow, Rows

STEPS = (0, 120, 240)
BLOCKS = tuple(f"blocks.{number}+msa" for number in range(6))


def value_of(block: int, step: int) -> float:
    """Falls by 0.5 * block - 0.25 over the training, most in block 5; in block 0 it rises."""
    return 1.0 - (0.5 * block - 0.25) * step / STEPS[-1]


def rows_at(step: int, diagnostic: str = "fourier") -> list[MonitorRow]:
    head = (step, step / 120, diagnostic)
    rows = [MonitorRow(*head, "", "high frequencies after msa", -20.0 + step / 24, -22.0, 30.0, "%", "")]
    rows += [
        MonitorRow(*head, point, "value", value_of(block, step), None, None, "", "")
        for block, point in enumerate(BLOCKS)
    ]
    rows += [MonitorRow(*head, point, "stays", 3.0, None, None, "", "") for point in BLOCKS]
    return [*rows, MonitorRow(*head, "stem", "change", None, None, None, "", "nothing comes before it")]


def long(steps: tuple[int, ...] = STEPS) -> pa.Table:
    return to_table(MonitorRow, [row for step in steps for row in rows_at(step)])


def answers(*trajectories: Trajectory):
    failures = Failures()
    found = trajectory_answers(trajectories, failures)
    assert not failures.all
    return found


def test_a_line_per_point_and_what_moved_most() -> None:
    (answer,) = answers(Trajectory("fourier", "vit", MONITOR, long()))
    assert answer.diagnostic == "fourier_over_training"
    whole, pointed = answer.figures[0].panels  # what never moves and what is never known are not drawn
    assert (whole.y_label, pointed.y_label) == ("high frequencies after msa (%)", "high frequencies (natural log)")
    assert [line.name for line in pointed.lines] == list(BLOCKS)
    for block, line in enumerate(pointed.lines):
        assert line.x == tuple(map(float, STEPS))
        assert line.y == tuple(value_of(block, step) for step in STEPS)
        assert line.shade == block / 5
    assert (whole.lines[0].low, whole.lines[0].high) == ((-22.0,) * 3, (30.0,) * 3)
    ends, most = answer.findings
    assert most.headline == (
        "In vit, from step 0 to 240, high frequencies after blocks.5+msa fell most, by 2.25 (natural log)."
    )
    assert most.detail == "It rose at 1 and fell at 5 of 6 places."
    assert (most.value, most.verdict, most.n) == (pytest.approx(-2.25), "lowers", 3)
    assert [row[2] for row in most.rows] == [point for point in reversed(BLOCKS[3:]) for _ in range(2)]
    assert ends.headline == (
        "In vit, from step 0 to 240, high frequencies after msa went from −20.0 to −10.0 %, but their ranges overlap."
    )
    assert (ends.strength, ends.verdict) == (0.0, "unclear")
    assert all(len(one.headline.split()) <= MOST_WORDS for one in answer.findings)
    (last,) = answer.measures
    assert (last.model, last.value, last.note) == ("vit", -10.0, "at step 240")


def test_what_never_moves_has_rows_and_no_figure() -> None:
    still = to_table(MonitorRow, [MonitorRow(step, 0, "hessian", "", "NEP", 0, None, None, "%", "") for step in STEPS])
    (answer,) = answers(Trajectory("hessian", "vit", MONITOR, still))
    assert answer.tables["rows"].num_rows == len(STEPS)
    assert (answer.figures, answer.findings, answer.measures) == ((), (), ())


def test_intervals_that_part_make_a_change_clear() -> None:
    def row(step: int, value: float) -> MonitorRow:
        return MonitorRow(step, math.nan, "hessian", "", "NEP", value, value - 0.1, value + 0.1, "", "")

    for last, clear in ((0.55, False), (0.65, True), (0.15, True)):
        table = to_table(MonitorRow, [row(0, 0.4), row(5, 0.9), row(9, last)])
        (answer,) = answers(Trajectory("hessian", "net", SNAPSHOTS, table))
        (finding,) = answer.findings
        assert (finding.verdict != "unclear") == clear
        assert finding.detail == "Farthest at step 5: 0.900."
        assert answer.measures == ()  # of snapshots each has its own
    assert finding.headline == "In net, from step 0 to 9, NEP fell from 0.400 to 0.150."


def test_one_moment_is_no_trajectory_and_two_trainings_share_axes() -> None:
    assert answers(Trajectory("fourier", "vit", MONITOR, long(STEPS[:1]))) == []
    (answer,) = answers(*(Trajectory("fourier", name, MONITOR, long()) for name in ("a", "b")))
    panels = answer.figures[0].panels
    assert [panel.model for panel in panels] == ["a", "b", "a", "b"]
    assert [panel.group for panel in panels][2:] == ["high frequencies"] * 2
    assert {one.model for one in answer.findings} == {"a", "b"}


@pytest.mark.usefixtures("drawn")
def test_a_monitors_folder_becomes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / "train" / name for name in ("aaaaaaaaaaaa", "bbbbbbbbbbbb")]
    for folder, model in zip(folders, ("vit_nano?depth=3", "mine=resnet_nano"), strict=True):
        rows = Rows(folder)
        rows.begin(0)
        for step in STEPS:
            rows.write(step, rows_at(step))
        (folder / "train.json").write_text(json.dumps({"model": model}))
    assert main(["report", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "* In vit_nano, from step 0 to 240, high frequencies after blocks.5+msa fell most, by 2.25" in said
    table = pd.read_csv(tmp_path / "tables" / "fourier_over_training.csv")
    assert list(table["model"].unique()) == ["vit_nano", "mine"]
    last = table[(table["model"] == "mine") & (table["step"] == 240) & (table["column"] == "value")]
    assert list(last["value"]) == [value_of(block, 240) for block in range(6)]
    assert (tmp_path / "figures" / "fourier_over_training.png").is_file()
    page = (tmp_path / "report.html").read_text()
    assert "What training changes" in page
    assert "Models, images and precision" not in page  # a monitor's rows tell of none
    torn = next((folders[1] / "monitor.parquet").iterdir())
    torn.write_bytes(b"PAR1")
    assert main(["report", str(tmp_path)]) == 1
    assert "monitor's rows of bbbbbbbbbbbb" in capsys.readouterr().err
    assert main(["report", str(folders[0])]) == 0  # one training's own folder
    assert (folders[0] / "report.html").is_file()


def test_a_monitors_rows_are_shown_where_no_job_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, steps in (("aaaaaaaaaaaa", STEPS), ("bbbbbbbbbbbb", ())):
        rows = Rows(tmp_path / "train" / folder)
        rows.begin(0)
        for step in steps:
            rows.write(step, rows_at(step))
    torn = tmp_path / "train" / "bbbbbbbbbbbb" / "monitor.parquet" / "step-000000000.parquet"
    torn.parent.mkdir(exist_ok=True)
    torn.write_bytes(b"PAR1")  # all that this one has
    job = tmp_path / "fourier" / "0123" / "job.json"
    job.parent.mkdir(parents=True)
    job.write_text("{torn")
    assert main(["report", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "monitor's rows of bbbbbbbbbbbb" in said.err
    assert "failed: jobs: " in said.err
    assert "blocks.5+msa fell most, by 2.25" in said.out
