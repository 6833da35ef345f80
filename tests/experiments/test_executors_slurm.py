"""Jobs of Slurm by submitit; here its executor for one machine stands for the cluster."""

import gc
import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reference import executor_tasks as tasks
from visionscope.errors import ConfigError
from visionscope.experiments.executors.choosing import executor_for
from visionscope.experiments.executors.executor import Executor
from visionscope.experiments.executors.work import File, Held, WorkerDied, WorkError

pytest.importorskip("submitit", reason="needs the extra slurm")
LONG = 120.0
TESTS = Path(tasks.__file__).parent.parent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
    return tmp_path / "jobs"


@pytest.fixture
def executor(folder: Path) -> Iterator[Executor]:
    with executor_for("slurm", workers=2, folder=folder, options={"cluster": "local", "timeout_min": 5}) as opened:
        yield opened


@pytest.mark.slow
def test_files_errors_and_deaths_come_back(executor: Executor, folder: Path) -> None:
    """One test for all, for each job takes seconds to start."""
    got: dict[str, list[File]] = {name: [] for name in ("files", "refuses", "fails", "part", "leaves")}
    submitted = {
        "files": executor.submit(tasks.files, 30, receive=got["files"].append),
        "refuses": executor.submit(tasks.refuses, "epochs: must be at least 1", receive=got["refuses"].append),
        "fails": executor.submit(tasks.fails, "nothing there", receive=got["fails"].append),
        "part": executor.submit(tasks.part, 1, receive=got["part"].append, held=Held(tasks.make, (7,))),
        "leaves": executor.submit(tasks.leaves, 3, receive=got["leaves"].append),
    }
    submitted["files"].result(LONG)
    assert got["files"] == list(tasks.files(30))
    with pytest.raises(ConfigError, match="epochs: must be at least 1"):
        submitted["refuses"].result(LONG)
    with pytest.raises(WorkError, match="LookupError: nothing there"):
        submitted["fails"].result(LONG)
    submitted["part"].result(LONG)
    assert got["part"][0].content.split()[1:] == [b"7", b"1"]
    with pytest.raises(WorkerDied, match="ended early"):
        submitted["leaves"].result(LONG)
    assert [file.path for file in got["leaves"]] == ["first"]
    assert len(list(folder.iterdir())) == 1  # the logs of the one that died


@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")  # submitit leaves what it cancelled to itself
def test_files_arrive_while_the_job_runs_and_closing_ends_it(folder: Path) -> None:
    executor = executor_for("slurm", workers=1, folder=folder, options={"cluster": "local"})
    seen = threading.Event()
    got: list[File] = []

    def receive(file: File) -> None:
        got.append(file)
        seen.set()

    future = executor.submit(tasks.endless, receive=receive)
    assert seen.wait(LONG)
    assert not future.done()
    pid = int(got[0].content)
    executor.close()
    with pytest.raises(WorkerDied, match="cancelled"):
        future.result(LONG)
    until = time.monotonic() + LONG
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    del executor, future
    gc.collect()


@pytest.mark.slow
def test_a_killed_job_loses_its_task_alone(executor: Executor) -> None:
    seen = threading.Event()
    got: list[File] = []

    def receive(file: File) -> None:
        got.append(file)
        seen.set()

    killed = executor.submit(tasks.endless, receive=receive)
    other = executor.submit(tasks.files, 3, receive=(files := []).append)
    assert seen.wait(LONG)
    os.kill(int(got[0].content), signal.SIGKILL)
    with pytest.raises(WorkerDied, match="ended early"):
        killed.result(LONG)
    other.result(LONG)
    assert files == list(tasks.files(3))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timeout_mins": 5}, r"slurm: 'timeout_mins' is not an option. Did you mean 'timeout_min'\?"),
        ({"slurm_partitions": "gpu"}, r"Did you mean 'slurm_partition'\?"),
        ({"partition": "gpu"}, r"Did you mean 'slurm_partition'\?"),
        ({"cpus_per_task": 4}, "slurm: 'cpus_per_task' is not an option."),
        ({"timeout_min": 0}, "slurm.timeout_min: must be an integer of at least 1; got 0"),
        ({"timeout_min": "long"}, "slurm.timeout_min: must be an integer of at least 1; got 'long'"),
        ({"mem_gb": "much"}, 'slurm: Parameter "mem_gb" expected type'),
        ({"cluster": "locl"}, r"slurm.cluster: must be one of slurm, local; got 'locl'. Did you mean 'local'\?"),
    ],
)
def test_options_have_their_rules(folder: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as raised:
        executor_for("slurm", workers=1, folder=folder, options={"cluster": "local", **options})
    assert "\n" not in str(raised.value)


def test_without_slurm_it_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="on: slurm: the command srun was not found"):
        executor_for("slurm", workers=1, folder=folder)


def test_jobs_of_a_driver_that_died_are_cancelled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands, told = folder.parent / "commands", folder.parent / "told"
    commands.mkdir()
    for name in ("srun", "sbatch", "scancel"):
        command = commands / name
        command.write_text(f'#!/bin/sh\necho {name} "$@" >> {told}\n')
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")
    left = folder / "left"
    left.mkdir(parents=True)
    (left / "job-id").write_text("4711")
    (left / "00000000").write_bytes(b"")
    with executor_for("slurm", workers=1, folder=folder):
        pass
    assert told.read_text().splitlines() == ["scancel 4711"]
    assert not left.exists()
