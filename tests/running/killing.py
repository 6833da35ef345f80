"""Runs in processes of their own, to be killed."""

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from running.conftest import study_of
from running.losses import Losses
from visionscope.cli import main
from visionscope.core.sample import Batch
from visionscope.core.spans import spans_of
from visionscope.running.execute import execute
from visionscope.running.plan import PlannedSubject, plan
from visionscope.running.store import Store

IMAGES = 900
LOSSES = 12


class Noise:
    """Images that cost nothing to load."""

    digest = "noise"

    def __len__(self) -> int:
        return IMAGES

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        for first in range(start, stop, batch_size):
            positions = torch.arange(first, min(first + batch_size, stop))
            generator = torch.Generator().manual_seed(first)
            yield Batch(torch.randn(len(positions), 3, 16, 16, generator=generator), None, positions)


def noise_study() -> PlannedSubject:
    """Three diagnostics in four parts each."""
    (planned,) = plan(study_of(only=["fourier", "variance", "similarity"], images=8))
    parts = list(spans_of(IMAGES))
    jobs = tuple(dataclasses.replace(job, record={**job.record, "parts": parts}) for job in planned.jobs)
    return PlannedSubject(subject=dataclasses.replace(planned.subject, samples={"eval": Noise()}), jobs=jobs)


def run_noise(folder: Path) -> None:
    torch.set_num_threads(1)
    execute([noise_study()], Store(folder), batch=64, device=torch.device("cpu"))


def run_losses(folder: Path) -> None:
    """A measuring diagnostic in twelve parts, of which each takes a few hundredths of a second."""
    torch.set_num_threads(1)
    measured = plan(dataclasses.replace(study_of(images=8), diagnostics=(Losses(mini_batches=LOSSES),)))
    execute(measured, Store(folder), batch=64, device=torch.device("cpu"))


def run_noise_stuck_in_a_write(folder: Path) -> None:
    """Stops for good in the middle of the fifth part's write, and says so by a file."""
    real, count = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal count
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        count += ".parquet." in name
        if count == 5:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            (folder / "writing").touch()
            time.sleep(600)
        real(descriptor)

    os.fsync = fsync
    run_noise(folder)


def run_command(folder: Path, arguments: list[str]) -> None:
    """The command line, its streams in files."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in a shell's background is started without
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
    os._exit(main(arguments))


def run_command_stopped(folder: Path, arguments: list[str], ready: Callable[[], object], number: int) -> None:
    """The command line; the process gets a signal in the first pass through a network once it is ready for it."""

    def stop(module: nn.Module, inputs: tuple[object, ...]) -> None:
        if ready():
            hook.remove()
            os.kill(os.getpid(), number)

    hook = register_module_forward_pre_hook(stop)
    run_command(folder, arguments)


def part_files(folder: Path) -> list[Path]:
    return list(folder.glob("*/*/*.parquet"))


def wait_until(true: Callable[[], bool], process: BaseProcess) -> None:
    """Returns once it is true, or the process has ended."""
    end = time.monotonic() + 120
    while process.is_alive() and not true():
        if time.monotonic() > end:
            process.kill()
            raise TimeoutError("the run does not come on")
        time.sleep(0.002)
