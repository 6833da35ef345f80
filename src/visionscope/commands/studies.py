"""Studies: diagnose, run, status and report."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from argparse import SUPPRESS
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from visionscope.commands.buildup import tell_buildup
from visionscope.commands.experiments import (
    check_trains_nothing,
    run_experiment,
    sitting_flags,
    sitting_of,
    tell_experiments,
)
from visionscope.commands.output import exit_code, folder_of, say_page, tell_failures
from visionscope.config import study_from_file, study_from_flags
from visionscope.core.display import show_table
from visionscope.core.documents import read_document
from visionscope.core.files import user_path
from visionscope.core.refusals import check_can_be_written
from visionscope.core.registry import diagnostic_names
from visionscope.core.sample import SPAN
from visionscope.core.terminal import ask, interrupted, say, tell
from visionscope.core.ticking import duration
from visionscope.core.values import Rule, Value
from visionscope.data.published import LANDSCAPES
from visionscope.errors import ConfigError, StoreError
from visionscope.flags import Parser, add_study_flags
from visionscope.running.store import JobState, Store, data_text
from visionscope.running.studies import JobName, StudyFile, read_studies, run_folder_of
from visionscope.running.study import Study, check_asked

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

    from visionscope.core.failures import Failure
    from visionscope.experiments.sitting import Sitting
    from visionscope.running.execute import Estimate
    from visionscope.running.measuring import Prospect
    from visionscope.running.plan import Job, PlannedSubject
    from visionscope.running.records import Damage

_PUBLISHED = Value(tuple[str, ...], Rule(choices=LANDSCAPES, count=(0, len(LANDSCAPES)), distinct=True))
_OUTCOMES = Value(str, Rule(choices=("parquet", "csv")), default="parquet")
ASK_SECONDS = 600.0


def _how_flags(parser: Parser) -> None:
    parser.add_switch("--dry-run", "list the jobs and what they will cost, and compute nothing")
    parser.add_switch("--yes", "start without asking, however long it takes")


def diagnose_flags(parser: Parser) -> None:
    """Adds the flags of diagnose."""
    add_study_flags(parser)
    _how_flags(parser)


def diagnose(parsed: Namespace) -> int:
    """Carries out the study that the flags describe."""
    return _carry_out(study_from_flags(parsed), parsed)


def run_flags(parser: Parser) -> None:
    """Adds the flags of run."""
    parser.add_argument("study", metavar="STUDY", help=SUPPRESS)  # the line above the flags tells it
    for name, help in (("out", "run folder"), ("device", "device"), ("batch", "images per forward pass")):
        parser.add_field(Study, name, help=f"{help} instead of the file's", default=None)
    _how_flags(parser)
    sitting_flags(parser, "data")


def run(parsed: Namespace) -> int:
    """Carries out the study in a file; one that lies in a run folder, wherever that is now, goes on there."""
    path = user_path("study", parsed.study)
    folder = run_folder_of(path)
    out = parsed.out if parsed.out is not None or folder is None else str(folder)
    if path.is_file() and "train" in read_document("study", path):
        return run_experiment(path, out, parsed)
    check_trains_nothing(parsed)
    study = study_from_file(path, out=out, device=parsed.device, batch=parsed.batch, data=parsed.data)
    return _carry_out(study, parsed, sitting_of(parsed))


def _carry_out(study: Study, parsed: Namespace, sitting: Sitting | None = None) -> int:
    try:
        return _computed(study, parsed, sitting)
    except KeyboardInterrupt as stop:
        studies = read_studies(user_path("out", study.out))
        on = f"Go on with: {studies[0].command}" if studies else "The same command starts again."
        interrupted(f"Stopped; finished parts are kept. {on}")
        return exit_code(stop)


def _computed(study: Study, parsed: Namespace, sitting: Sitting | None) -> int:
    check_asked(study)
    if not parsed.dry_run:
        check_can_be_written(user_path("out", study.out))

    from visionscope.running.devices import device_of

    device_of(study.device)  # what is wrong is told before more libraries are imported than it needs

    from visionscope.running.plan import plan

    planned = plan(study)

    from visionscope.api import run_planned

    for subject in planned:
        for name, reason in subject.skipped:
            tell(f"visionscope: left out: {name} of {reason}")
    everything = len(study.only) > 1 and study.only == diagnostic_names()
    if parsed.dry_run or (everything and not parsed.yes):
        outlooks = _outlooks(study, planned)
        if parsed.dry_run:
            _list_jobs(study, outlooks)
            return 0
        _ask(sum(outlook.seconds for outlook in outlooks))
    run = run_planned(study, planned, note=_note, compute=_sharing(sitting))
    say_page(run.findings, run.page)
    return tell_failures(run.failures)


def _sharing(sitting: Sitting | None) -> Any:
    """What shares the parts out among workers; None where this process computes them."""
    if sitting is None or (sitting.on, sitting.workers) == ("local", 1):
        return None

    from visionscope.experiments.executors.choosing import executor_for
    from visionscope.experiments.session import gpus_of
    from visionscope.experiments.sharing import shared_out

    def compute(study: Study, planned: Sequence[PlannedSubject], store: Store) -> list[Failure]:
        with executor_for(sitting.on, workers=sitting.workers, folder=store.run / "slurm") as executor:
            return shared_out(study, planned, store, executor, gpus=gpus_of(sitting))

    return compute


def _note(line: str) -> None:
    tell(f"visionscope: note: {line}")


@dataclasses.dataclass(frozen=True)
class _Outlook:
    """What a subject will need: its observers together (None: unknown), each of its measuring jobs on its own."""

    planned: PlannedSubject
    estimate: Estimate | None
    prospects: tuple[tuple[Job, Prospect], ...]

    @property
    def seconds(self) -> float:
        known = [found.seconds for found in (self.estimate, *(prospect for _, prospect in self.prospects)) if found]
        return sum(seconds for seconds in known if seconds is not None)


def _outlooks(study: Study, planned: tuple[PlannedSubject, ...]) -> list[_Outlook]:
    from visionscope.running.devices import device_of
    from visionscope.running.execute import estimate
    from visionscope.running.measuring import prospect

    store, device = Store(user_path("out", study.out)), device_of(study.device)
    outlooks = []
    for subject in planned:
        own = [(job, prospect(job, store, device=device)) for job in subject.measuring]
        outlooks.append(_Outlook(subject, estimate(subject, store, batch=study.batch, device=device), tuple(own)))
    return outlooks


def _list_jobs(study: Study, outlooks: list[_Outlook]) -> None:
    from visionscope.running.devices import device_of
    from visionscope.running.execute import missing_parts
    from visionscope.running.measuring import memory_warning, missing_of

    store, rows = Store(user_path("out", study.out)), []
    for outlook in outlooks:
        missing = missing_parts(outlook.planned, store)
        for job in outlook.planned.jobs:
            measured = job.subject is not None
            left = len(missing_of(job, store)) if measured else sum(job in jobs for jobs in missing.values())
            count, data = len(job.parts), job.record["data"]
            names = (outlook.planned.subject.label, job.diagnostic.name, job.record["job"][:12], data_text(data))
            rows.append((*names, str(count), str(count - left), str(data["images"])))
    columns = ("model", "diagnostic", "job", "data", "parts", "done", "images")
    show_table(f"{study.data}, {study.precision}", columns, rows)
    for outlook in outlooks:
        _say_cost(outlook)
        for job, prospect in outlook.prospects:
            line = memory_warning(job, prospect.cost, device_of(study.device)) if prospect.cost else ""
            if line:
                tell(f"visionscope: warning: {line}")
    total = sum(outlook.seconds for outlook in outlooks)
    say(f"in total about {duration(total)}; nothing was computed")


def _say_cost(outlook: _Outlook) -> None:
    from visionscope.running.execute import LONG_PART_SECONDS
    from visionscope.running.measuring import size_text

    label, estimate = outlook.planned.subject.label, outlook.estimate
    long = f"{label}: one part takes more than 10 minutes; a stop can lose that much"
    if estimate is None:
        say(f"{label}: cost unknown, its first images can't be measured")
    elif outlook.planned.observing:
        line = f"{label}: {estimate.images} images left, about {duration(estimate.seconds)}"
        say(f"{line} ({estimate.seconds_per_image * 1000:.0f} ms per image)")
        if estimate.seconds_per_image * min(SPAN, estimate.images) > LONG_PART_SECONDS:
            say(long)
    for job, prospect in outlook.prospects:
        about = "cost unknown" if prospect.seconds is None else f"about {duration(prospect.seconds)}"
        memory = "" if prospect.cost is None else f", {size_text(prospect.cost.memory)} beside the model"
        left = f"{prospect.parts} part{'' if prospect.parts == 1 else 's'} left"
        line = f"{label}: {job.diagnostic.name}: {left}, {about}{memory}"
        say(line)
        if prospect.seconds and prospect.seconds / prospect.parts > LONG_PART_SECONDS:
            say(long.replace(label, f"{label}: {job.diagnostic.name}", 1))


def _ask(seconds: float) -> None:
    if seconds <= ASK_SECONDS:
        return
    is_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    if is_terminal and ask(f"All diagnostics take about {duration(seconds)}. Start?"):
        return
    raise ConfigError(f"only: all takes about {duration(seconds)}; name some diagnostics, or add --yes")


def run_folder_flags(parser: Parser) -> None:
    """Adds the flags of a run folder."""
    parser.add_argument("run", metavar="RUN", help="the folder that --out named")


def status(parsed: Namespace) -> int:
    """Lists the jobs of a run, after reading every file of theirs."""
    store = Store(folder_of("run", parsed.run))
    if tell_buildup(store.run) or tell_experiments(store.run):
        return 0
    from visionscope.running.trajectories import has_monitor

    studies = read_studies(store.run) if store.run.is_dir() else []
    monitored = has_monitor(store.run)
    try:
        records, damaged = store.readable_jobs()
    except StoreError:
        if monitored and not studies:
            return _status_of_monitors(store.run)
        if not studies:
            raise
        records, damaged = [], []
    states = [store.state(record) for record in records]
    _list_states(store, states, studies)
    for line in (*_troubles(states, damaged), "checked: every job.json and every part file was read"):
        say(line)
    for line in _outlook(states, damaged, studies):
        say(line)
    unread = _list_monitored(store.run) if monitored else 0
    return 1 if damaged or unread or any(state.unusable for state in states) else 0


def _status_of_monitors(run: Path) -> int:
    """Lists what monitors left in a folder that holds nothing else; the exit code."""
    unread = _list_monitored(run)
    say(f"visionscope report {shlex.quote(str(run))} draws them")
    return 1 if unread else 0


def _list_monitored(run: Path) -> int:
    """Lists what monitors left, training by training; how many of their files can't be read."""
    from visionscope.core.failures import Failures
    from visionscope.running.trajectories import monitored

    failures, rows = Failures(), []
    for one in monitored(run, failures):
        moments = one.rows["step"].unique()
        failed = one.rows.filter(pc.equal(one.rows["column"], ""))["step"].unique()
        last = one.rows.slice(one.rows.num_rows - 1).to_pylist()[0]
        rows.append([one.training, one.diagnostic, *map(str, (len(moments), len(failed), last["step"]))])
        rows[-1].append(f"{last['epoch']:.4g}")
    show_table("measured by a monitor", ("training", "diagnostic", "moments", "failed", "last step", "epoch"), rows)
    for failure in failures.all:
        say(f"damaged: {failure.text}")
    return len(failures.all)


def _list_states(store: Store, states: Sequence[JobState], studies: Sequence[StudyFile]) -> None:
    several, rows = len(studies) > 1, []
    for state in states:
        record = state.record
        counts = (len(state.done), len(state.failed), len(state.left), record["data"]["images"])
        cells = [record["model"]["label"], *state.name, *map(str, counts)]
        if several:
            cells.append(", ".join(study.name for study in studies if state.name in (study.jobs or ())) or "none")
        cells[2] = cells[2][:12]
        rows.append(cells)
    columns = ("model", "diagnostic", "job", "done", "failed", "left", "images", *(("study",) if several else ()))
    show_table(str(store.run), columns, rows)


def _troubles(states: Sequence[JobState], damaged: Sequence[Damage]) -> Iterator[str]:
    for state in states:
        label = state.record["model"]["label"]
        for part, message in state.failed.items():
            yield f"failed: {state.record['diagnostic']} of {label}, part {part}: {message}"
        for part, reason in state.unusable.items():
            where = f"{state.record['diagnostic']} of {label}, part {part}"
            yield f"left: {where}: its file can't be used ({reason}); it is computed again"
    for damage in damaged:
        yield f"damaged: {damage.name}: job.json: {damage.message}"


def _outlook(states: Sequence[JobState], damaged: Sequence[Damage], studies: Sequence[StudyFile]) -> Iterator[str]:
    """What is left, study by study, and the command that does it."""
    unfinished = {state.name for state in states if state.failed or state.left}
    finished = {state.name for state in states} - unfinished
    if not studies:
        yield (
            "no study.yaml here says what was asked for: start the same `visionscope diagnose` command again"
            if unfinished or damaged
            else "everything is done"
        )
        return
    asked = {name for study in studies for name in study.jobs or ()}
    told = any(study.jobs is None for study in studies)
    left = {study.name: _left(study, finished, unfinished, damaged) for study in studies}
    for study in studies:
        if left[study.name] and len(studies) > 1:
            count = f"{left[study.name]} of {len(study.jobs or ())} jobs left"
            yield f"study {study.name}: {count}; go on with: {study.command}"
        elif left[study.name]:
            yield f"go on with: {study.command}"
        elif len(studies) > 1:
            yield f"study {study.name}: done"
    for state in states:
        if state.name in unfinished - asked and not told:
            yield (
                f"left over: {state.record['diagnostic']}/{state.record['job'][:12]}: no study here needs it any "
                "more, because its model, images or formula changed; move its folder away to forget it"
            )
    if not any(left.values()):
        yield "everything is done"


def _left(study: StudyFile, finished: set[JobName], unfinished: set[JobName], damaged: Sequence[Damage]) -> int:
    if study.jobs is None:  # of a folder from before studies told their jobs
        return len(unfinished) + len(damaged)
    return len(set(study.jobs) - finished)


def report_flags(parser: Parser) -> None:
    """Adds the flags of report."""
    run_folder_flags(parser)
    parser.add_value("--published", _PUBLISHED, "the authors' landscapes to draw beside the run's, comma-separated")
    parser.add_value("--outcomes", _OUTCOMES, "format of tables with a row per image: parquet alone, or csv as well")


def report(parsed: Namespace) -> int:
    """Writes the page of a run."""
    folder = folder_of("run", parsed.run)
    from visionscope.running.trajectories import has_monitor

    if not has_monitor(folder):
        Store(folder).readable_jobs()  # refuses what is no run folder before the page's libraries are imported

    from visionscope.pages import write_report

    written = write_report(folder, parsed.published or (), csv_outcomes=parsed.outcomes == "csv")
    say_page(written.findings, written.path)
    return tell_failures(written.failures)
