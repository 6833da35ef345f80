"""Executors: what comes back and when, errors, deaths; with processes of this machine as workers."""

import ast
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest

from reference import executor_tasks as tasks
from reference.receiving import Taken, received
from visionscope.errors import ConfigError
from visionscope.experiments.executors.executor import Executor
from visionscope.experiments.executors.processes import process_executor
from visionscope.experiments.executors.work import File, Held, WorkerDied, WorkError

LONG = 60.0  # seconds; no test takes them


@pytest.fixture
def executor() -> Iterator[Executor]:
    with process_executor(2) as opened:
        yield opened


def is_alive(process: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def ends(process: int) -> bool:
    until = time.monotonic() + LONG
    while is_alive(process) and time.monotonic() < until:
        time.sleep(0.02)
    return not is_alive(process)


def test_files_arrive_in_order(executor: Executor) -> None:
    got = received(executor, tasks.files, 300, 1000)
    assert [file.path for file in got] == [f"some/{number}" for number in range(300)]
    assert [file.content for file in got] == [bytes([number % 256]) * 1000 for number in range(300)]


def test_files_arrive_as_they_are_yielded(executor: Executor, tmp_path: Path) -> None:
    got: list[str] = []

    def receive(file: File) -> None:
        got.append(file.path)
        (tmp_path / file.path).touch()  # the task waits for this before it goes on

    executor.submit(tasks.waits_for, str(tmp_path), 3, receive=receive).result(LONG)
    assert got == ["0", "1", "2"]


def test_a_task_without_files_ends(executor: Executor) -> None:
    assert received(executor, tasks.files, 0) == []


def test_a_worker_waits_for_who_takes_its_files() -> None:
    """Nothing piles up: a task can't be more than a pipe ahead of the driver."""
    with process_executor(1) as executor:
        taken, came, go = [], threading.Event(), threading.Event()

        def receive(file: File) -> None:
            taken.append(len(file.content))
            came.set()
            assert go.wait(LONG)

        future = executor.submit(tasks.files, 50, 10_000_000, receive=receive)
        assert came.wait(LONG)
        time.sleep(0.5)
        assert taken == [10_000_000]
        go.set()
        future.result(LONG)
    assert taken == [10_000_000] * 50


def test_tasks_run_side_by_side_in_as_many_processes_as_workers(executor: Executor, tmp_path: Path) -> None:
    both = [Taken(), Taken()]
    futures = [executor.submit(tasks.endless, receive=taken) for taken in both]
    pids = {int(taken.first().content) for taken in both}
    assert len(pids) == 2
    assert os.getpid() not in pids
    third = executor.submit(tasks.files, 1, receive=Taken())
    time.sleep(0.2)
    assert not third.running()
    os.kill(min(pids), signal.SIGKILL)
    third.result(LONG)  # takes the place of the one that was killed
    assert sum(future.done() for future in futures) == 1


def test_a_worker_takes_one_task_after_another() -> None:
    with process_executor(4) as executor:
        pids = [received(executor, tasks.process)[0].content for _ in range(4)]
    assert len(set(pids)) == 1  # and no worker is started that nothing waits for


@pytest.mark.parametrize("text", ["epochs: must be at least 1; got 0", "ein Wort", ""])
def test_an_error_for_users_comes_back_as_it_is(executor: Executor, text: str) -> None:
    taken = Taken()
    with pytest.raises(ConfigError) as raised:
        executor.submit(tasks.refuses, text, receive=taken).result(LONG)
    assert type(raised.value) is ConfigError
    assert str(raised.value) == text
    assert taken.first().path == "first"


def test_any_other_error_comes_back_with_its_traceback(executor: Executor) -> None:
    with pytest.raises(WorkError, match="LookupError: nothing there") as raised:
        received(executor, tasks.fails, "nothing there\nsecond line")
    assert raised.value.reason == "LookupError: nothing there"
    assert "executor_tasks.py" in raised.value.trace
    assert "second line" in str(raised.value)
    copy = pickle.loads(pickle.dumps(raised.value))
    assert (copy.reason, copy.trace) == (raised.value.reason, raised.value.trace)
    with pytest.raises(WorkError, match="SystemExit: enough"):
        received(executor, tasks.exits)
    assert received(executor, tasks.files, 1)


def test_a_killed_worker_loses_its_task_alone(executor: Executor) -> None:
    killed, other = Taken(), Taken()
    lost, going_on = (executor.submit(tasks.endless, receive=taken) for taken in (killed, other))
    waiting = executor.submit(tasks.files, 2, receive=(later := Taken()))
    os.kill(int(killed.first().content), signal.SIGKILL)
    with pytest.raises(WorkerDied, match=r"killed \(out of memory\?\)"):
        lost.result(LONG)
    waiting.result(LONG)
    assert [file.path for file in later.files] == ["some/0", "some/1"]
    assert is_alive(int(other.first().content))
    assert not going_on.done()


def test_a_worker_that_ends_says_how(executor: Executor) -> None:
    with pytest.raises(WorkerDied, match="exit code 3: the last words"):
        received(executor, tasks.leaves, 3)
    with pytest.raises(WorkerDied, match="SIGSEGV"):
        received(executor, tasks.crashes)
    with pytest.raises(WorkerDied, match="exit code 0"):
        received(executor, tasks.leaves, 0)


def test_what_a_task_prints_is_not_taken_for_files(executor: Executor) -> None:
    assert received(executor, tasks.prints) == [File("stdin", b"''")]


def test_an_error_of_the_receiver_ends_the_task(executor: Executor) -> None:
    def full(file: File) -> None:
        raise OSError("the disk is full")

    future = executor.submit(tasks.endless, receive=full)
    with pytest.raises(OSError, match="the disk is full"):
        future.result(LONG)
    assert len(received(executor, tasks.files, 3)) == 3


def test_functions_that_workers_cannot_import_are_refused(executor: Executor) -> None:
    def inner() -> Iterator[File]:
        yield File("", b"")

    with pytest.raises(TypeError, match="inner: workers can't import it"):
        executor.submit(inner, receive=Taken())
    with pytest.raises(TypeError, match="lambda>: workers can't import it"):
        executor.submit(tasks.part, 1, receive=Taken(), held=Held(lambda: [1]))


def test_a_worker_holds_what_tasks_in_a_row_need() -> None:
    with process_executor(1) as executor:
        got = [received(executor, tasks.part, number, held=Held(tasks.make, (7,)))[0] for number in range(3)]
        assert [file.content.split()[1:] for file in got] == [[b"7", b"1"]] * 3  # made once
        other = received(executor, tasks.part, 3, held=Held(tasks.make, (8,)))[0]
        assert other.content.split()[1:] == [b"8", b"2"]
        received(executor, tasks.files, 1)  # one that holds nothing lets it go
        again = received(executor, tasks.part, 4, held=Held(tasks.make, (8,)))[0]
        assert again.content.split()[1:] == [b"8", b"3"]
        with pytest.raises(ConfigError, match="there is no such network"):
            received(executor, tasks.part, 0, held=Held(tasks.cannot_make))


def test_parts_of_one_subject_go_to_all_workers(executor: Executor) -> None:
    got: list[File] = []
    subject = Held(tasks.make, (7,))
    futures = [executor.submit(tasks.part, number, receive=got.append, held=subject) for number in range(200)]
    for future in futures:
        future.result(LONG)
    assert {file.path for file in got} == {f"part-{number}" for number in range(200)}
    assert {file.content.split()[2] for file in got} == {b"1"}  # once in each
    assert len({file.content.split()[0] for file in got}) == 2


def test_one_thread_and_no_accelerator_unless_asked_for(executor: Executor) -> None:
    told = ast.literal_eval(received(executor, tasks.surroundings)[0].content.decode())
    assert told == [1, "", False]


def test_workers_share_the_accelerators_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with process_executor(3) as executor:
        both = [Taken() for _ in range(3)]
        for taken in both:
            executor.submit(tasks.endless, receive=taken, gpus=0.5)
        pids = [int(taken.first().content) for taken in both]
        seen = [dict(line.split("=", 1) for line in _environment(pid) if "=" in line) for pid in pids]
    assert sorted(one["CUDA_VISIBLE_DEVICES"] for one in seen) == ["3", "3", "5"]


def _environment(process: int) -> list[str]:
    return Path(f"/proc/{process}/environ").read_text().split("\0")


def test_tasks_with_and_without_accelerators_get_workers_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with process_executor(2) as executor:
        futures = [executor.submit(tasks.process, receive=Taken(), gpus=float(number % 3 == 0)) for number in range(12)]
        for future in futures:
            future.result(LONG)


def test_closing_ends_workers_and_cancels_what_waits() -> None:
    executor = process_executor(1)
    running = executor.submit(tasks.endless, receive=(taken := Taken()))
    waiting = executor.submit(tasks.files, 1, receive=Taken())
    pid = int(taken.first().content)
    executor.close()
    executor.close()
    assert not is_alive(pid)
    with pytest.raises(CancelledError):
        waiting.result(LONG)
    with pytest.raises(WorkerDied):
        running.result(LONG)
    with pytest.raises(RuntimeError, match="closed"):
        executor.submit(tasks.files, 1, receive=Taken())


@pytest.mark.parametrize("dies", [False, True])
def test_a_worker_is_ended_once(dies: bool) -> None:
    """Two threads that close one pipe at a time raise: the executor's close and the thread that serves the worker."""
    running, ended = threading.Event(), threading.Event()
    ends: list[str] = []

    class Counted:
        def ready(self, seconds: float) -> bool:
            return True

        def run(self, task: bytes) -> Iterator[File | Exception]:
            running.set()
            if not dies:
                assert ended.wait(LONG)
            raise WorkerDied("gone")
            yield

        def end(self) -> None:
            ends.append(threading.current_thread().name)
            ended.set()

    with Executor(lambda gpus: Counted(), 1) as executor:
        future = executor.submit(tasks.files, 1, receive=Taken())
        assert running.wait(LONG)
        if dies:
            with pytest.raises(WorkerDied, match="gone"):
                future.result(LONG)
    assert isinstance(future.exception(LONG), WorkerDied)
    assert len(ends) == 1


def test_a_future_that_was_cancelled_is_passed_over() -> None:
    with process_executor(1) as executor:
        executor.submit(tasks.endless, receive=(taken := Taken()))
        cancelled = executor.submit(tasks.files, 1, receive=(never := Taken()))
        last = executor.submit(tasks.files, 1, receive=Taken())
        pid = int(taken.first().content)
        assert cancelled.cancel()
        os.kill(pid, signal.SIGKILL)
        last.result(LONG)
    assert never.files == []


def test_a_worker_that_cannot_start_fails_a_task_and_not_all() -> None:
    tries = iter([OSError("no more processes")])

    class Empty:
        def ready(self, seconds: float) -> bool:
            return True

        def run(self, task: bytes) -> Iterator[File | Exception]:
            yield from ()

        def end(self) -> None:
            pass

    def start(gpus: float) -> Empty:
        for error in tries:
            raise error
        return Empty()

    with Executor(start, 1) as executor:
        first = executor.submit(tasks.files, 1, receive=Taken())
        with pytest.raises(OSError, match="no more processes"):
            first.result(LONG)
        executor.submit(tasks.files, 1, receive=Taken()).result(LONG)


def test_a_worker_that_is_never_ready_takes_no_task() -> None:
    """Where a cluster has room for one of three, that one does all."""
    started: list[Any] = []
    lock = threading.Lock()

    class Slow:
        def __init__(self) -> None:
            with lock:
                self.has_room = not started
                started.append(self)
            self.tasks, self.ended = 0, False

        def ready(self, seconds: float) -> bool:
            if not self.has_room:
                time.sleep(0.02)
            return self.has_room

        def run(self, task: bytes) -> Iterator[File | Exception]:
            self.tasks += 1
            time.sleep(0.005)  # long enough for the others to take one, if they would
            yield from ()

        def end(self) -> None:
            self.ended = True

    with Executor(lambda gpus: Slow(), 3) as executor:
        futures: list[Future[None]] = [executor.submit(tasks.files, 1, receive=Taken()) for _ in range(50)]
        for future in futures:
            future.result(LONG)
    assert sum(worker.tasks for worker in started if worker.has_room) == 50
    assert all(worker.ended for worker in started)


DRIVER = """
import os, sys, time
from reference import executor_tasks as tasks
from reference.receiving import Taken, received
from visionscope.experiments.executors.processes import process_executor

executor = process_executor(2)
for _ in range(2):
    executor.submit(tasks.endless, receive=lambda file: print(int(file.content), flush=True))
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_its_driver(how: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(DRIVER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as driver:
        assert driver.stdout is not None
        pids = [int(driver.stdout.readline()) for _ in range(2)]
        assert all(is_alive(pid) for pid in pids)
        driver.send_signal(how)
    assert all(ends(pid) for pid in pids)
