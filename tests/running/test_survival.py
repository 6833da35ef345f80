"""Kill -9, Ctrl-C and company: whatever happens, the next run ends where an undisturbed one would have."""

import functools
import os
import random
import re
import signal
from collections import Counter
from pathlib import Path

import pytest

from reference.warm import started
from running import losses
from running.conftest import study_of
from running.killing import (
    LOSSES,
    part_files,
    run_command_stopped,
    run_losses,
    run_noise,
    run_noise_stuck_in_a_write,
    wait_until,
)
from visionscope.config import study_text
from visionscope.running.store import Store

DIAGNOSTICS = ("fourier", "similarity", "variance")
FILES = 12
KILLS = 10


def times_computed(folder: Path) -> Counter[str]:
    return Counter(re.findall(r"computed (\S+)", (folder / "log.txt").read_text()))


def assert_equal_runs(folder: Path, other: Path) -> None:
    for name in DIAGNOSTICS:
        found, expected = Store(folder).table(name), Store(other).table(name)
        assert found.num_rows > 0
        assert found.equals(expected, check_metadata=True)
    # Part files, too: the same name, the same bytes.
    assert {path.relative_to(folder): path.read_bytes() for path in part_files(folder)} == {
        path.relative_to(other): path.read_bytes() for path in part_files(other)
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    process = started(run_noise, folder)
    process.join()
    assert process.exitcode == 0
    assert len(part_files(folder)) == FILES
    assert set(times_computed(folder).values()) == {1}
    return folder


def test_kill_nine_at_random_moments(tmp_path, undisturbed):
    moments = random.Random(0)
    between = 0
    for kill in range(KILLS):
        process = started(run_noise, tmp_path)
        wait_until(lambda wanted=kill: len(part_files(tmp_path)) >= wanted, process)
        process.join(moments.uniform(0, 0.03))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        between += 0 < len(part_files(tmp_path)) < FILES
    assert between >= 3
    process = started(run_noise, tmp_path)
    process.join()
    assert process.exitcode == 0
    assert sum(count - 1 for count in times_computed(tmp_path).values()) <= KILLS
    assert len(times_computed(tmp_path)) == FILES
    assert_equal_runs(tmp_path, undisturbed)


def test_kill_nine_of_a_diagnostic_that_measures(tmp_path, monkeypatch):
    losses.register(monkeypatch)
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    between = 0
    for wanted in (1, 4, 9):
        process = started(run_losses, stopped)
        wait_until(lambda wanted=wanted: len(part_files(stopped)) >= wanted, process)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        between += 0 < len(part_files(stopped)) < LOSSES
    assert between >= 2
    for folder in (stopped, whole):
        process = started(run_losses, folder)
        process.join()
        assert process.exitcode == 0
    assert len(times_computed(stopped)) == LOSSES
    assert sum(count - 1 for count in times_computed(stopped).values()) <= 3
    found, expected = Store(stopped).table("losses"), Store(whole).table("losses")
    assert found["mini_batch"].to_pylist() == list(range(LOSSES))
    assert found.equals(expected, check_metadata=True)


def test_kill_nine_during_a_write(tmp_path, undisturbed):
    process = started(run_noise_stuck_in_a_write, tmp_path)
    wait_until((tmp_path / "writing").exists, process)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert len(part_files(tmp_path)) == 4
    (torn,) = tmp_path.glob("*/*/.*.tmp")
    assert torn.stat().st_size > 0
    process = started(run_noise, tmp_path)
    process.join()
    assert process.exitcode == 0
    assert sorted(times_computed(tmp_path).values()) == [1] * (FILES - 1) + [2]
    assert_equal_runs(tmp_path, undisturbed)


def test_two_processes_in_one_run_folder(tmp_path, undisturbed):
    processes = [started(run_noise, tmp_path) for _ in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert not list(tmp_path.glob("*/*/.*.tmp"))
    assert_equal_runs(tmp_path, undisturbed)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_stop_in_the_middle_of_a_part_is_clean_and_says_how_to_resume(tmp_path, number, code):
    folder = tmp_path / "run"
    study = tmp_path / "study.yaml"
    study.write_text(study_text(study_of(images=1200, batch=8, out=str(folder))))
    half_way = functools.partial(part_files, folder)
    process = started(run_command_stopped, tmp_path, ["run", str(study)], half_way, int(number))
    process.join()
    assert process.exitcode == code
    said = (tmp_path / "stderr").read_text()
    assert f"Stopped; finished parts are kept. Go on with: visionscope run {folder}/study.yaml" in said
    assert "Traceback" not in said
    assert not list(folder.glob("*/*/.*.tmp"))
    assert not list(folder.glob("*/*/*.error.json"))
    done = len(part_files(folder))
    assert 0 < done < 10
    assert sum(len(state.done) for state in Store(folder).states()) == done
