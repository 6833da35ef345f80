"""Actors of a real Ray cluster of two nodes on this machine: `pytest -m ray`."""

import ast
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reference import executor_tasks as tasks
from reference.receiving import Taken, received
from visionscope.errors import ConfigError
from visionscope.experiments.executors.choosing import executor_for
from visionscope.experiments.executors.executor import Executor
from visionscope.experiments.executors.work import File, Held, WorkerDied, WorkError

ray = pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = [
    pytest.mark.ray,
    # Ray leaves files and sockets of its own open.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
LONG = 300.0
TESTS = Path(tasks.__file__).parent.parent
NODE = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # by default they wait for everything else on the machine
        patch.setenv("OMP_NUM_THREADS", "3")  # what a worker must not take over
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]))
        made = Cluster(initialize_head=True, head_node_args={**NODE, "ray_client_server_port": 23001})
        made.add_node(**NODE)
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
        made.shutdown()


@pytest.fixture(scope="module")
def executor(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    with executor_for("ray", workers=2, folder=tmp_path_factory.mktemp("run")) as opened:
        yield opened


def test_files_arrive_in_order_and_as_they_are_yielded(executor: Executor, tmp_path: Path) -> None:
    got = received(executor, tasks.files, 100, 1000)
    assert got == list(tasks.files(100, 1000))
    seen: list[str] = []

    def receive(file: File) -> None:
        seen.append(file.path)
        (tmp_path / file.path).touch()  # the task waits for this before it goes on

    executor.submit(tasks.waits_for, str(tmp_path), 3, receive=receive).result(LONG)
    assert seen == ["0", "1", "2"]


def test_a_large_file_arrives_whole(executor: Executor) -> None:
    (got,) = received(executor, tasks.files, 1, 30_000_000)
    assert got.content == bytes(30_000_000)


def test_errors_come_back(executor: Executor) -> None:
    with pytest.raises(ConfigError, match="epochs: must be at least 1"):
        received(executor, tasks.refuses, "epochs: must be at least 1")
    with pytest.raises(WorkError, match="LookupError: nothing there"):
        received(executor, tasks.fails, "nothing there")


def test_the_bits_are_those_of_this_machine(executor: Executor, tmp_path: Path) -> None:
    assert ast.literal_eval(received(executor, tasks.surroundings)[0].content.decode())[0] == 1
    with executor_for("local", workers=1, folder=tmp_path) as local:
        here = received(local, tasks.steps_of_descent, 7)
        assert received(local, tasks.steps_of_descent, 8) != here
    assert len({file.content for file in here}) == 3
    assert received(executor, tasks.steps_of_descent, 7) == here


def test_actors_hold_a_subject_and_take_its_parts(executor: Executor) -> None:
    got = Taken()
    subject = Held(tasks.make, (7,))
    for future in [executor.submit(tasks.part, number, receive=got, held=subject) for number in range(20)]:
        future.result(LONG)
    assert {file.path for file in got.files} == {f"part-{number}" for number in range(20)}
    made = {file.content.split()[0]: file.content.split()[2] for file in got.files}
    assert len(made) <= 2
    assert all((pid, count) in made.items() for pid, _, count in (file.content.split() for file in got.files))


def test_a_killed_worker_loses_its_task_alone(executor: Executor, tmp_path: Path) -> None:
    killed, other = Taken(), Taken()
    lost = executor.submit(tasks.endless, receive=killed)
    pid = int(killed.first().content)
    going_on = executor.submit(tasks.waits_for, str(tmp_path), 1, receive=other)
    other.first()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="the worker on Ray was lost"):
        lost.result(LONG)
    assert not going_on.done()
    assert received(executor, tasks.files, 2) == list(tasks.files(2))
    (tmp_path / "0").touch()
    going_on.result(LONG)


def test_a_lost_machine_loses_its_tasks_alone(cluster: Any, tmp_path: Path) -> None:
    """The node goes with its worker; where there is no room for two, one worker does the rest."""
    third = cluster.add_node(num_cpus=2, object_store_memory=100_000_000, include_dashboard=False)
    taken = [Taken() for _ in range(4)]
    with executor_for("ray", workers=4, folder=tmp_path) as executor:
        futures = [executor.submit(tasks.endless, receive=one) for one in taken]
        pids = [int(one.first().content) for one in taken]
        cluster.remove_node(third, allow_graceful=False)
        until = time.monotonic() + LONG
        while sum(future.done() for future in futures) < 2 and time.monotonic() < until:
            time.sleep(0.1)
        lost = [future for future in futures if future.done()]
        assert len(lost) == 2
        for future in lost:
            with pytest.raises(WorkerDied, match="the worker on Ray was lost"):
                future.result()
        os.kill(next(pid for pid in pids if _runs(pid)), signal.SIGKILL)
        assert received(executor, tasks.files, 2) == list(tasks.files(2))


def _runs(process: int) -> bool:
    with contextlib.suppress(OSError):
        os.kill(process, 0)
        return True
    return False


CLIENT = """
from pathlib import Path
from reference import executor_tasks as tasks
from reference.receiving import Taken, received
from visionscope.experiments.executors.choosing import executor_for

with executor_for("ray://127.0.0.1:23001", workers=1, folder=Path()) as executor:
    got = []
    executor.submit(tasks.files, 5, 100_000, receive=got.append).result(300)
    assert got == list(tasks.files(5, 100_000))
    print(executor.submit(tasks.refuses, "epochs: must be at least 1", receive=got.append).exception(300))
"""


def test_a_client_reaches_the_cluster_from_outside(cluster: Any, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CLIENT], cwd=tmp_path, capture_output=True, text=True, timeout=LONG)
    assert done.stdout.splitlines()[-1:] == ["epochs: must be at least 1"], done.stderr


DRIVER = """
import time
from pathlib import Path
from reference import executor_tasks as tasks
from reference.receiving import Taken, received
from visionscope.experiments.executors.choosing import executor_for

executor = executor_for("ray", workers=1, folder=Path())
executor.submit(tasks.endless, receive=lambda file: print(int(file.content), flush=True))
time.sleep(600)
"""


def test_no_actor_outlives_its_driver(cluster: Any, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", DRIVER], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        pid = int(driver.stdout.readline())
        assert _runs(pid)
        driver.kill()
    until = time.monotonic() + LONG
    while _runs(pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert not _runs(pid)


def test_an_address_without_a_cluster_is_told(tmp_path: Path) -> None:
    program = """
from pathlib import Path
from visionscope.experiments.executors.choosing import executor_for
executor_for("ray://127.0.0.1:9", workers=1, folder=Path())
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=LONG)
    last = done.stderr.splitlines()[-1]
    assert "ConfigError: on: no Ray cluster answers at 'ray://127.0.0.1:9' (" in last
