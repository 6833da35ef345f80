"""Runs the diagnostics that work on their own, and foresees what they will need."""

import contextlib
import dataclasses
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import torch

from visionscope.core.diagnostic import Cost
from visionscope.core.failures import Failure
from visionscope.core.inputs import image_like
from visionscope.core.subject import Subject
from visionscope.errors import StoreError
from visionscope.running.failures import failed, named
from visionscope.running.plan import Job
from visionscope.running.progress import Progress
from visionscope.running.store import PartStore, now
from visionscope.running.surroundings import as_found, autocast, on_device

_PROBE_IMAGES = 16
_MEMORY_TABLE = Path("/proc/meminfo")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prospect:
    """What a job's missing parts will need.

    Attributes:
        parts: how many are missing.
        seconds: for all of them, or None where nothing could be timed.
        cost: as the diagnostic tells it, or None where it can't.
    """

    parts: int
    seconds: float | None
    cost: Cost | None


def missing_of(job: Job, store: PartStore) -> list[str]:
    """The parts of a measuring job that are not done, in their order."""
    return [part for part in job.parts if not store.is_done(job.record, part, job.diagnostic)]


def cost_of(job: Job, device: torch.device) -> Cost | None:
    """What the diagnostic says that it will need, or None where that is unknown; its parts will say why.

    Args:
        job: a measuring one.
        device: where it will run.
    """
    subject = _subject_of(job)
    try:
        with on_device(subject.model, device), as_found(subject.model, seed=0):
            cost: Cost = job.diagnostic.cost(subject)
            return cost
    except Exception:
        return None


def prospect(job: Job, store: PartStore, *, device: torch.device) -> Prospect:
    """Foresees what the missing parts of a measuring job will need, from the time of a plain forward pass.

    Args:
        job: a measuring one.
        store: tells what is done already.
        device: where it will run.
    """
    parts, subject = len(missing_of(job, store)), _subject_of(job)
    cost = cost_of(job, device) if parts else None
    if cost is None:
        return Prospect(parts=parts, seconds=None if parts else 0.0, cost=None)
    try:
        with on_device(subject.model, device), as_found(subject.model, seed=0):
            seconds = _seconds_per_image(subject, job.diagnostic.sample, device)
    except Exception:
        return Prospect(parts=parts, seconds=None, cost=cost)
    return Prospect(parts=parts, seconds=seconds * cost.passes * parts, cost=cost)


def memory_warning(job: Job, cost: Cost, device: torch.device) -> str:
    """That a job needs more memory than is free and what would help, in one line; "" where there is enough.

    Args:
        job: a measuring one.
        cost: what it needs.
        device: where it will run.
    """
    free = free_memory(device)
    if free is None or cost.memory <= free:
        return ""
    return (
        f"{job.diagnostic.name} of {job.record['model']['label']} needs about {size_text(cost.memory)} of memory on "
        f"{device}, where {size_text(free)} are free; {cost.advice}"
    )


def free_memory(device: torch.device) -> int | None:
    """Bytes that a device can still give, or None where that is unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        entries = dict(line.split(":", 1) for line in _MEMORY_TABLE.read_text().splitlines())
        return int(entries["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def size_text(count: int) -> str:
    """Bytes as a person reads them."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def measure_job(job: Job, store: PartStore, *, device: torch.device, progress: Progress) -> list[Failure]:
    """Computes the missing parts of a measuring job and stores each as soon as it is done.

    The model is left as it was found: mode and random state, also after an exception.

    Args:
        job: a measuring one.
        store: where parts are looked for and written.
        device: where the model runs; it is moved there and back.
        progress: counts parts.

    Returns:
        The parts that failed; the others were stored.

    Raises:
        StoreError: when the disk refuses; what was stored before is kept.
    """
    subject, missing = _subject_of(job), missing_of(job, store)
    failures: list[Failure] = []
    progress.skip(job.record["job"], len(job.parts) - len(missing))
    if not missing:
        return failures
    progress.begin(job.record["job"])
    began = time.perf_counter()
    with on_device(subject.model, device):
        while missing:
            since = time.perf_counter()
            try:
                with contextlib.closing(measure(job.diagnostic, subject, tuple(missing))) as measured:
                    for part, rows in measured:
                        store.log(f"computed {named(job, part, time.perf_counter() - since)}")
                        store.write_part(job.record, part, job.diagnostic.row, rows)
                        missing.remove(part)
                        progress.advance([job.record["job"]], 1)
                        since = time.perf_counter()
            except StoreError:
                raise
            except Exception as error:
                if not missing:
                    raise
                failures.append(failed(store, job, missing.pop(0), error, time.perf_counter() - since))
                progress.advance([job.record["job"]], 1)
    store.write_job(job.record, finished=now(), seconds=round(time.perf_counter() - began, 3))
    return failures


def measure(diagnostic: Any, subject: Subject, parts: Sequence[str]) -> Generator[tuple[str, list[Any]], None, None]:
    """Hands over parts as a diagnostic computes them, in evaluation mode and with a random state of their own.

    Args:
        diagnostic: a measuring one.
        subject: the model, where it runs, with the sample that the diagnostic reads.
        parts: the names of the parts.

    Raises:
        RuntimeError: when the diagnostic hands over other parts than these, or in another order.
    """
    handed = 0
    with torch.inference_mode(False), as_found(subject.model, seed=0), torch.enable_grad():
        with contextlib.closing(diagnostic.measure(subject, tuple(parts))) as measured:
            for part, rows in measured:
                if part != parts[handed]:
                    raise RuntimeError(f"{diagnostic.name} handed over part {part!r} out of turn")
                handed += 1
                yield part, rows
                if handed == len(parts):
                    break
        if handed < len(parts):
            raise RuntimeError(f"{diagnostic.name} handed over no part {parts[handed]!r}")


def _subject_of(job: Job) -> Subject:
    assert job.subject is not None
    return job.subject


def _seconds_per_image(subject: Subject, name: str, device: torch.device) -> float:
    sample = subject.samples[name]
    images = next(iter(sample.batches(0, min(_PROBE_IMAGES, len(sample)), _PROBE_IMAGES))).images
    images = images.to(image_like(subject.model, images.shape[1:]))
    seconds = 0.0
    # Not in inference mode: what a model caches there is of no use to derivatives.
    with torch.no_grad(), autocast(subject.precision, device):
        for _ in range(2):  # the first pass warms up
            began = time.perf_counter()
            subject.model(images)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds = time.perf_counter() - began
    return seconds / len(images)
