"""Computes what is missing: one forward pass per span of images for all observers, then what measures on its own."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from visionscope.core.diagnostic import Cost, Observer
from visionscope.core.failures import Failure
from visionscope.core.inputs import image_like, place_of
from visionscope.core.spans import span_of
from visionscope.core.subject import Point, Subject
from visionscope.core.terminal import tell
from visionscope.running.constancy import Constancy
from visionscope.running.failures import failed, named
from visionscope.running.measuring import cost_of, measure_job, memory_warning, missing_of
from visionscope.running.plan import Job, PlannedSubject
from visionscope.running.progress import Bar, Progress
from visionscope.running.store import PartStore, now
from visionscope.running.surroundings import as_found, autocast, on_device

LONG_PART_SECONDS = 600.0
_PROBE_IMAGES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """What the missing parts of one subject's observers will cost.

    Attributes:
        seconds_per_image: with all its observers, loading included.
        images: how many images still have to pass through the model.
    """

    seconds_per_image: float
    images: int

    @property
    def seconds(self) -> float:
        """The whole cost."""
        return self.seconds_per_image * self.images


def execute(
    planned: Sequence[PlannedSubject], store: PartStore, *, batch: int, device: torch.device, bars: bool = True
) -> list[Failure]:
    """Computes and stores every part that is not done yet.

    Args:
        planned: subjects with their jobs.
        store: where parts are looked for and written.
        batch: images per forward pass.
        device: where the models run; they are moved there one after the other, and back.
        bars: whether bars show how far it is, where there is a terminal, after a warning of what needs more memory than
            there is; else lines do.

    Returns:
        The parts that failed; the others were stored.

    Raises:
        StoreError: when the disk refuses; what was stored before is kept.
    """
    failures: list[Failure] = []
    for subject in planned:
        for job in subject.jobs:
            store.sweep(job.record)
            store.write_job(job.record)
    costs = _costs(planned, store, device) if bars else {}
    with Progress(_bars(planned, costs), bars=bars) as progress:
        for subject in planned:
            failures.extend(_execute_observers(subject, store, batch=batch, device=device, progress=progress))
            for job in subject.measuring:
                failures.extend(measure_job(job, store, device=device, progress=progress))
    return failures


def missing_parts(planned: PlannedSubject, store: PartStore) -> dict[str, list[Job]]:
    """The parts of the observers that are not done, each with the jobs that lack it, in span order."""
    missing: dict[str, list[Job]] = {}
    for part in planned.observing[0].parts if planned.observing else ():
        jobs = [job for job in planned.observing if not store.is_done(job.record, part, job.diagnostic)]
        if jobs:
            missing[part] = jobs
    return missing


def estimate(planned: PlannedSubject, store: PartStore, *, batch: int, device: torch.device) -> Estimate | None:
    """Times a small batch through the model and its observers; None where the images can't be read.

    Args:
        planned: the subject.
        store: tells what is done already.
        batch: images per forward pass.
        device: where the model runs.
    """
    missing = missing_parts(planned, store)
    images = sum(stop - start for start, stop in map(span_of, missing))
    if not images:
        return Estimate(seconds_per_image=0.0, images=0)
    count = min(_PROBE_IMAGES, batch, len(planned.subject.samples["eval"]))
    seconds = 0.0
    with on_device(planned.subject.model, device):
        for _ in range(2):  # the first pass warms up
            observers = {
                job.diagnostic.name: job.diagnostic.observer(planned.subject.points) for job in planned.observing
            }
            began = time.perf_counter()
            if observe(planned.subject, observers, (0, count), batch=count):
                return None
            seconds = time.perf_counter() - began
    return Estimate(seconds_per_image=seconds / count, images=images)


def observe(
    subject: Subject,
    observers: Mapping[str, Observer],
    span: tuple[int, int],
    *,
    batch: int,
    seen: Callable[[int], None] = lambda images: None,
) -> dict[str, Exception]:
    """Feeds several observers from one forward pass over a span of the subject's images.

    The model is left as it was found: mode, parameters, hooks and random state, also after an exception.

    Args:
        subject: the model, where it runs, its points and its sample `eval`.
        observers: by key.
        span: first position and the one after the last.
        batch: images per forward pass.
        seen: called with the number of images after each batch.

    Returns:
        By key, what went wrong with an observer; one whose key is absent has seen the whole span. An error of the
        model or of the images is every observer's.
    """
    alive = dict(observers)
    errors: dict[str, Exception] = {}
    positions = torch.empty(0)

    def feed(point: Point, maps: Tensor, method: str = "update") -> None:
        for key, observer in list(alive.items()):
            take = getattr(observer, method, None)
            try:
                if take is not None:
                    take(point, maps, positions)
            except Exception as error:
                errors[key] = error
                del alive[key]

    # Only where somebody wants them: prefix tokens are copied.
    wanted = any(hasattr(observer, "update_beside") for observer in observers.values())
    beside = {"beside": functools.partial(feed, method="update_beside")} if wanted else {}
    try:
        precise = autocast(subject.precision, place_of(subject.model))
        like = None
        with as_found(subject.model, seed=span[0]), torch.inference_mode(), precise:
            for loaded in subject.samples["eval"].batches(*span, batch):
                positions = loaded.positions
                like = image_like(subject.model, loaded.images.shape[1:]) if like is None else like
                images = loaded.images.to(like)
                with subject.watch(feed, **beside):
                    subject.model(images)
                seen(len(positions))
                if not alive:
                    break
    except Exception as error:
        errors.update(dict.fromkeys(alive, error))
    return errors


def _costs(planned: Sequence[PlannedSubject], store: PartStore, device: torch.device) -> dict[str, Cost]:
    """What each measuring job needs, by digest; says of one that needs more memory than is free what would help."""
    costs = {}
    for subject in planned:
        for job in subject.measuring:
            if missing_of(job, store) and (cost := cost_of(job, device)) is not None:
                costs[job.record["job"]] = cost
                line = memory_warning(job, cost, device)
                if line:
                    store.log(f"warning {line}")
                    tell(f"visionscope: warning: {line}")
    return costs


def _execute_observers(
    planned: PlannedSubject, store: PartStore, *, batch: int, device: torch.device, progress: Progress
) -> list[Failure]:
    failures: list[Failure] = []
    began = time.perf_counter()
    missing = missing_parts(planned, store)
    for job in planned.observing:
        for part in job.parts:
            if job not in missing.get(part, ()):
                progress.skip(job.record["job"], _length(part))
    if not missing:
        return failures
    with on_device(planned.subject.model, device):
        constancy = _constancy(planned.subject)
        for part in missing:
            # Another process may have done it meanwhile.
            jobs = [job for job in missing[part] if not store.is_done(job.record, part, job.diagnostic)]
            if jobs:
                failures.extend(
                    _compute_part(planned.subject, jobs, part, store, constancy, batch=batch, progress=progress)
                )
    seconds = round(time.perf_counter() - began, 3)
    for job in planned.observing:
        store.write_job(job.record, finished=now(), seconds=seconds)
    return failures


def _constancy(subject: Subject) -> Constancy | None:
    try:
        return Constancy(subject)
    except Exception:  # the part's own passes tell what is wrong
        return None


def _compute_part(
    subject: Subject,
    jobs: Sequence[Job],
    part: str,
    store: PartStore,
    constancy: Constancy | None,
    *,
    batch: int,
    progress: Progress,
) -> list[Failure]:
    by_digest = {job.record["job"]: job for job in jobs}
    observers = {digest: job.diagnostic.observer(subject.points) for digest, job in by_digest.items()}
    began = time.perf_counter()
    count = 0

    def seen(images: int) -> None:
        nonlocal count
        if not count:
            _warn_if_long((time.perf_counter() - began) / images * _length(part), subject, part, store, progress)
        count += images
        progress.advance(by_digest, images)

    errors = observe(subject, observers, span_of(part), batch=batch, seen=seen)
    if constancy is not None and len(errors) < len(observers):
        try:
            constancy.check()
        except Exception as raised:  # what was computed is no function of the images
            errors.update(dict.fromkeys(by_digest, raised))
    seconds = time.perf_counter() - began
    failures = []
    for digest, job in by_digest.items():
        error = errors.get(digest)
        if error is None:
            try:
                state = observers[digest].state()
            except Exception as raised:
                error = raised
        if error is None:
            # Written before the file: a part that was computed but never stored shows in the log, too.
            store.log(f"computed {named(job, part, seconds)}")
            store.write_part(job.record, part, job.diagnostic.state_row, state)
        else:
            failures.append(failed(store, job, part, error, seconds))
    return failures


def _warn_if_long(seconds: float, subject: Subject, part: str, store: PartStore, progress: Progress) -> None:
    if seconds > LONG_PART_SECONDS:
        line = f"slow {subject.label}: part {part} takes about {seconds / 60:.0f} minutes; a stop can lose that much"
        store.log(line)
        progress.say(line)


def _bars(planned: Sequence[PlannedSubject], costs: Mapping[str, Cost]) -> Iterator[Bar]:
    for subject in planned:
        for job in subject.jobs:
            key, text = job.record["job"], f"{subject.subject.label} {job.diagnostic.name}"
            if job.subject is None:
                yield Bar(key, text, sum(map(_length, job.parts)))
            else:
                yield Bar(key, text, len(job.parts), "parts", costs[key].passes if key in costs else 1.0)


def _length(part: str) -> int:
    start, stop = span_of(part)
    return stop - start
