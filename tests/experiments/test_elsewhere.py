"""An experiment carried out by processes, on Ray and by Slurm's jobs: the same bits; and one whose driver is killed."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from training.test_loop import same_bits
from visionscope.core.documents import document_text
from visionscope.experiments.driver import Driver, standing
from visionscope.experiments.executors.choosing import executor_for
from visionscope.experiments.plan import Plan, plan_of
from visionscope.experiments.reading import experiment_from
from visionscope.experiments.tables import gather

NODE = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}


def expect_the_same(plan: Plan, run: Path, whole: Path) -> None:
    for task in plan.trainings:
        assert same_bits(task.weights(run, "last"), task.weights(whole, "last")), task.text
    found, expected = gather(plan, run), gather(plan, whole)
    for name, table in expected.items():
        # Seconds are the machine's own.
        columns = [column for column in table.columns if column not in ("seconds", "images_per_second")]
        assert found[name][columns].equals(table[columns]), name


def carry_out_on(on: str, values: dict[str, Any], finished: Path, options: dict[str, Any] | None = None) -> None:
    experiment = experiment_from(values)
    plan, run = plan_of(experiment), Path(experiment.out)
    with executor_for(on, workers=2, folder=run / "slurm", options=options) as executor:
        driver = Driver(run, executor, standing(plan, run), lambda driver: None)
        driver.carry_out()
    assert driver.failed == []
    expect_the_same(plan, run, finished)


@pytest.mark.slow
def test_processes_make_the_same_bits(values: dict[str, Any], finished: Path) -> None:
    carry_out_on("local", values, finished)


@pytest.mark.slow
def test_jobs_of_slurm_make_the_same_bits(values: dict[str, Any], finished: Path) -> None:
    pytest.importorskip("submitit", reason="needs the extra slurm")
    carry_out_on("slurm", values, finished, {"cluster": "local"})


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_two_nodes_of_ray_make_the_same_bits(
    values: dict[str, Any], finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="needs the extra ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        cluster.add_node(**NODE)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        carry_out_on("ray", values, finished)
    finally:
        cluster.shutdown()


@pytest.mark.slow
def test_a_driver_that_is_killed_again_and_again_loses_nothing(
    values: dict[str, Any], finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "study.yaml").write_text(document_text(values))
    command = [sys.executable, "-m", "visionscope.cli", "run", str(tmp_path / "study.yaml"), "--workers", "2"]
    run = Path(values["out"])
    for awaited in ("train/*/warmup.safetensors", "hessian/*/job.json", "lesion/*/*.parquet"):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
            while driver.poll() is None and not any(run.glob(awaited)):
                time.sleep(0.05)
            driver.send_signal(signal.SIGKILL)
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    plan = plan_of(experiment_from(values))
    left = standing(plan, run)
    assert (left.trainings, left.diagnoses) == ([], [])
    expect_the_same(plan, run, finished)
