"""From a run folder to its page: what the run came to, laid out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from visionscope.config import command_of
from visionscope.core.failures import Failure, Failures
from visionscope.errors import ConfigError, StoreError
from visionscope.running.reduce import Reduced, reduce
from visionscope.running.store import Store
from visionscope.running.studies import StudyFile, check_no_experiment, read_studies
from visionscope.running.trajectories import has_monitor, monitored, of_snapshots


@dataclasses.dataclass(frozen=True)
class Page:
    """A page that was written.

    Attributes:
        path: of `report.html`.
        failures: the sections that could not be made in full; the page says so in each.
        findings: the sentences at its top.
    """

    path: Path
    failures: tuple[Failure, ...]
    findings: tuple[str, ...] = ()


def write_report(run: Path | str, published: Sequence[str] = (), *, csv_outcomes: bool = False) -> Page:
    """Builds RUN/report.html, its figures and its tables from what is stored: jobs, and the rows of monitors.

    What fails - a damaged job, a table, a figure, a sentence - costs its own section alone.

    Args:
        run: the run folder.
        published: names of landscapes that the authors published (`ViT-Ti`, `ResNet-50`), to be drawn beside the run's.
        csv_outcomes: whether tables of a row per image are written as CSV, too; else as Parquet alone.

    Raises:
        ConfigError: for another name, where the run has no landscape to put them beside, and for the folder of an
            experiment.
        StoreError: when the folder holds no job that can be read and no monitor's rows, or the disk refuses.
    """
    from visionscope.report.page import build_report
    from visionscope.report.trajectories import trajectory_answers

    check_no_experiment(Path(run))
    beside = {}
    if published:
        from visionscope.diagnostics.landscape.published import published_landscape

        beside["landscape"] = [published_landscape(one) for one in published]
    store, reduced = Store(run), Reduced((), (), Failures())
    if not has_monitor(store.run):
        reduced = reduce(store, beside)
    elif store.has_jobs():
        try:
            reduced = reduce(store, beside)
        except StoreError as error:  # no job can be read, but a monitor's rows may
            reduced.failures.add("jobs", "", "", error)
    if published and not any(job["diagnostic"] == "landscape" for job in reduced.jobs):
        raise ConfigError("published: the run has no landscape to draw them beside; diagnose with --only landscape")
    commands = tuple(_command(study) for study in read_studies(Path(run)))
    rows = monitored(store.run, reduced.failures)
    snapshots = of_snapshots(reduced.answers, reduced.jobs, reduced.failures, rows)
    answers = [*reduced.answers, *trajectory_answers([*rows, *snapshots], reduced.failures)]
    page = build_report(
        Path(run), answers, reduced.jobs, reduced.failures, csv_outcomes=csv_outcomes, commands=commands
    )
    return Page(page, tuple(reduced.failures.all), _findings(Path(run) / "report.json"))


def _command(study: StudyFile) -> str:
    """What asks for a study; where flags can't say it, what goes on with its file."""
    try:
        return command_of(study.path)
    except ConfigError:
        return study.command


def _findings(path: Path) -> tuple[str, ...]:
    """The sentences at the top of a page, as report.json beside it has them."""
    told = json.loads(path.read_text(encoding="utf-8"))
    headlines = {one["anchor"]: one["headline"] for one in told["findings"]}
    return tuple(headlines[anchor] for anchor in told["main"])
