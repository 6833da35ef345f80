"""From a run folder to its page: tables of all jobs, one figure per set of fields, labels that tell jobs apart."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from visionscope.core.diagnostic import MeasuringDiagnostic
from visionscope.core.failures import Failure, Failures
from visionscope.core.figure import Figure
from visionscope.core.registry import diagnostic_class
from visionscope.core.table import to_table
from visionscope.diagnostics.landscape import published_landscape
from visionscope.diagnostics.similarity import BetweenRow, between
from visionscope.errors import ConfigError, StoreError
from visionscope.running.records import diagnostic_from, points_from
from visionscope.running.store import JobState, Store, data_text

Job = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Page:
    """A page that was written.

    Attributes:
        path: of `report.html`.
        failures: the sections that could not be made in full; the page says so in each.
    """

    path: Path
    failures: tuple[Failure, ...]


def write_report(run: Path | str, published: Sequence[str] = ()) -> Page:
    """Builds RUN/report.html, its figures and its tables from what is stored.

    What fails - a damaged job, a table, a figure, a sentence - costs its own section alone.

    Args:
        run: the run folder.
        published: names of landscapes that the authors published (`ViT-Ti`, `ResNet-50`), to be drawn beside the run's.

    Raises:
        ConfigError: for another name, or where the run has no landscape to put them beside.
        StoreError: when the folder holds no job that can be read, or the disk refuses.
    """
    from visionscope.report.page import build_report

    store = Store(run)
    failures = Failures(functools.partial(_logged, store))
    beside = [published_landscape(one) for one in published]
    jobs = _jobs(store, failures)
    if published and not any(job["diagnostic"] == "landscape" for job in jobs):
        raise ConfigError("published: the run has no landscape to draw them beside; diagnose with --only landscape")
    tables: dict[str, pa.Table] = {}
    figures: list[Figure] = []
    reduced = [(job, _job_table(store, job, failures)) for job in jobs]
    known = [job for job, table in reduced if table is not None]
    for name in sorted({job["diagnostic"] for job in known}):
        own = [table for job, table in reduced if table is not None and job["diagnostic"] == name]
        with failures.caught("table", name):
            tables[name] = pa.concat_tables([*own, *(beside if name == "landscape" else ())])
            asked = [job for job in known if job["diagnostic"] == name]
            figures.extend(_figures(tables[name], asked, failures))
            summary = _summary(tables[name], asked, failures)
            if summary is not None:
                tables[f"{name}_summary"] = summary
    between = _between(store, [job for job in known if job["diagnostic"] == "similarity"], failures)
    if between is not None:
        tables["similarity_between"] = between
    page = build_report(Path(run), tables, jobs, figures, failures)
    return Page(page, tuple(failures.all))


def _logged(store: Store, line: str) -> None:
    """Logs a line; a log that can't be written costs no page."""
    with suppress(StoreError):
        store.log(line)


def _jobs(store: Store, failures: Failures) -> list[Job]:
    """The jobs that the page can show, under labels that tell them apart."""
    records, damaged = store.readable_jobs()
    for damage in damaged:
        failures.add("job.json", damage.diagnostic, damage.label, f"{damage.name}: {damage.message}")
    shown = []
    for record in records:
        with failures.caught("table", record["diagnostic"], record["model"]["label"]):
            diagnostic_from(record)  # of another version, or of other parameters
            shown.append(_with_errors(store.state(record, read=False)))
    if not shown:
        raise StoreError(f"{store.run}: {failures.all[0].text}")
    return _told_apart(shown)


def _job_table(store: Store, job: Job, failures: Failures) -> pa.Table | None:
    """The rows of one job; a part that can't be read any more is added to the job's errors."""
    label, name = job["model"]["label"], job["diagnostic"]
    with failures.caught("table", name, label):
        parts, unusable = store.usable_parts(job)
        for part, reason in unusable.items():
            message = f"its file can't be used ({reason}); run the study again to compute it anew"
            job["errors"].append({"part": part, "message": message})
            failures.add(f"part {part}", name, label, message)
        return store.reduced(job, parts)
    return None


def _between(store: Store, jobs: Sequence[Job], failures: Failures) -> pa.Table | None:
    """CKA between the points of each two models that saw the same images in the same groups; None without such a pair.

    Why a pair is left out goes to the log.
    """
    rows: list[BetweenRow] = []
    for x, y in itertools.combinations(jobs, 2):
        names = f"{x['model']['label']} and {y['model']['label']}"
        if x["data"]["image_digest"] != y["data"]["image_digest"]:
            store.log(f"left out similarity between {names}: they saw different images")
        elif x["fields"] != y["fields"]:
            store.log(f"left out similarity between {names}: their groups differ")
        else:
            with failures.caught("table", "similarity_between", names):
                states = [[row for part in store.stored_parts(job).values() for row in part] for job in (x, y)]
                places = [points_from(job) for job in (x, y)]
                rows += between(*states, *places, model_x=x["model"]["label"], model_y=y["model"]["label"])
    return to_table(BetweenRow, rows) if rows else None


def _figures(table: pa.Table, jobs: Sequence[Job], failures: Failures) -> Iterator[Figure]:
    """One figure per set of fields: curves of unequal conventions never share axes."""
    for number, (diagnostic, rows) in enumerate(_by_fields(table, jobs)):
        if rows.num_rows:
            figure = failures.spared("figure", diagnostic.name, diagnostic.figure, [rows])
            if figure is not None:
                yield figure if not number else dataclasses.replace(figure, name=f"{figure.name}-{number + 1}")


def _summary(table: pa.Table, jobs: Sequence[Job], failures: Failures) -> pa.Table | None:
    """What the rows come to, for a diagnostic that says so."""
    groups = [(diagnostic, rows) for diagnostic, rows in _by_fields(table, jobs) if rows.num_rows]
    summaries = [
        failures.spared("summary", diagnostic.name, diagnostic.summary, [rows])
        for diagnostic, rows in groups
        if hasattr(diagnostic, "summary")
    ]
    known = [summary for summary in summaries if summary is not None]
    return pa.concat_tables(known) if known else None


def _by_fields(table: pa.Table, jobs: Sequence[Job]) -> Iterator[tuple[Any, pa.Table]]:
    """The rows of each set of fields, with the diagnostic that has them; rows of no job go with the first."""
    known = {job["job"][:12] for job in jobs}
    others = set(table["job"].to_pylist()) - known
    for fields in _distinct([job["fields"] for job in jobs]):
        own = [job for job in jobs if job["fields"] == fields]
        wanted = {job["job"][:12] for job in own} | others
        others = set()
        yield diagnostic_from(own[0]), table.filter(pc.is_in(table["job"], pa.array(sorted(wanted), pa.string())))


def _with_errors(state: JobState) -> Job:
    errors = [{"part": part, "message": message} for part, message in state.failed.items()]
    return {**state.record, "errors": errors}


def _told_apart(jobs: Sequence[Job]) -> list[Job]:
    """The jobs with labels that stand for one network on one sample: what differs is added to a label of several.

    Observers share their sample; a measuring diagnostic has its own, and is compared with its like.
    """
    measuring = {
        name: isinstance(diagnostic_class(name), MeasuringDiagnostic) for name in {job["diagnostic"] for job in jobs}
    }
    renamed = []
    for job in jobs:
        known = [
            other
            for other in jobs
            if job["model"]["label"] == other["model"]["label"]
            and (
                job["diagnostic"] == other["diagnostic"]
                or not (measuring[job["diagnostic"]] or measuring[other["diagnostic"]])
            )
        ]
        alike = [_facts(other) for other in known]
        differing = [fact for place, fact in enumerate(_facts(job)) if any(facts[place] != fact for facts in alike)]
        label = f"{job['model']['label']}{' (' if differing else ''}{', '.join(differing)}{')' if differing else ''}"
        renamed.append({**job, "model": {**job["model"], "label": label}})
    return renamed


def _facts(job: Mapping[str, Any]) -> tuple[str, ...]:
    data, objective = job["data"], job.get("objective") or {}
    return (
        data_text(data),
        f"{data['images']} images",
        f"seed {data['seed']}",
        "x".join(map(str, data["input"]["size"])),
        job["precision"],
        *(f"{name.replace('_', ' ')} {value}" for name, value in sorted(objective.items())),
        job["model"]["weights"],
        f"weights {job['model']['digest'][:6]}",
        f"{len(job['points'])} points",
    )


def _distinct(values: Sequence[Any]) -> list[Any]:
    return [value for number, value in enumerate(values) if value not in values[:number]]
