"""From stored parts to results: tables, what models differ in, sentences, limits; what fails costs its own section."""

import dataclasses
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from visionscope.core.diagnostic import Answer, MeasuringDiagnostic
from visionscope.core.failures import Failures, models_of, of_models
from visionscope.core.figure import Figure
from visionscope.core.finding import Finding
from visionscope.core.reference import POINTS
from visionscope.core.registry import diagnostic_class
from visionscope.core.table import to_table
from visionscope.errors import StoreError
from visionscope.running.records import diagnostic_from, points_from
from visionscope.running.store import JobState, Store, data_text

Job = dict[str, Any]

_FEW = 3  # values of a field that a label spells out
LAST = 100
"""Where a diagnostic stands that does not say its place."""


@dataclasses.dataclass(frozen=True)
class Reduced:
    """What a run came to.

    Attributes:
        jobs: their `job.json` dicts, under labels that tell them apart; `errors`, a list of part and message.
        answers: what each diagnostic found.
        failures: what could not be made.
    """

    jobs: tuple[Job, ...]
    answers: tuple[Answer, ...]
    failures: Failures


def reduce(store: Store, beside: Mapping[str, Sequence[pa.Table]] = {}) -> Reduced:
    """Makes the results of a run from what is stored.

    Args:
        store: the run.
        beside: by diagnostic, tables of others to be put beside its own.

    Raises:
        StoreError: when the folder holds no job that can be read.
    """
    failures = Failures(functools.partial(_logged, store))
    jobs = _jobs(store, failures)
    answers = []
    for name in dict.fromkeys(job["diagnostic"] for job in jobs):
        own = [job for job in jobs if job["diagnostic"] == name]
        pieces = [(job, _job_table(store, job, failures)) for job in own]
        known = [(job, table) for job, table in pieces if table is not None]
        with failures.caught("table", name):
            rows = pa.concat_tables([*(table for _, table in known), *beside.get(name, ())]) if known else None
            if rows is not None and rows.num_rows:
                answers.append(_answer(store, name, rows, [job for job, _ in known], failures))
    return Reduced(tuple(jobs), tuple(answers), failures)


def _answer(store: Store, name: str, rows: pa.Table, jobs: Sequence[Job], failures: Failures) -> Answer:
    by_fields = [(diagnostic, own) for diagnostic, own in _by_fields(rows, jobs) if own.num_rows]
    asked = by_fields[0][0]
    between = _between(store, asked, jobs, failures) if hasattr(asked, "between") else None
    return answer_from(rows, by_fields, failures, between, points_table(jobs))


def answer_from(
    rows: pa.Table,
    by_fields: Sequence[tuple[Any, pa.Table]],
    failures: Failures,
    between: pa.Table | None = None,
    points: pa.Table | None = None,
) -> Answer:
    """What one diagnostic makes of its rows.

    Args:
        rows: of all models, with the leading columns.
        by_fields: the diagnostic with each set of its fields, and the rows that belong to it.
        failures: takes what could not be made.
        between: what its observers' sums say of each two models.
        points: `model`, `job` and `kind` of each point, for sentences that depend on what networks are made of.
    """
    asked = by_fields[0][0]
    tables: dict[str, pa.Table] = {"rows": rows}
    steps = [step for step in ("summary", "comparisons", "outcomes") if hasattr(asked, step)]
    for step in steps:
        # What was asked in another way is not compared.
        made = [failures.spared(step, asked.name, getattr(one, step), own) for one, own in by_fields]
        found = [table for table in made if table is not None and table.num_rows]
        if found:
            tables[step] = pa.concat_tables(found)
    figures = list(_figures(by_fields, failures))
    if between is not None:
        tables["between"] = between
        with failures.caught("figure", asked.name):
            figures.append(asked.between_figure(between))
    findings: Sequence[Finding] = ()
    limits: Sequence[str] = ()
    failed = failures.of(asked.name, steps)
    if hasattr(asked, "findings") and "" not in failed:
        # Sentences rest on these tables: what lacks in one says nothing.
        known = tables if points is None else {**tables, POINTS: points}
        told = of_models(known, [name for name in models_of(rows) if name not in failed]) if failed else known
        findings = failures.spared("sentences", asked.name, lambda own: list(asked.findings(own)), told) or ()
    measures = failures.spared("overview", asked.name, asked.measures, tables) if hasattr(asked, "measures") else ()
    if hasattr(asked, "limits"):
        with failures.caught("limits", asked.name):
            limits = tuple(asked.limits(tables))
    return Answer(
        diagnostic=asked.name,
        theme=str(getattr(asked, "theme", "")),
        place=getattr(asked, "place", LAST),
        tables=tables,
        figures=tuple(figures),
        findings=tuple(
            dataclasses.replace(one, diagnostic=asked.name, anchor=f"rows-{asked.name}-{number}")
            for number, one in enumerate(findings, start=1)
        ),
        measures=tuple(measures or ()),
        limits=tuple(limits),
    )


def points_table(jobs: Sequence[Job]) -> pa.Table:
    """What the networks are made of: a row per point."""
    found = [
        {"model": job["model"]["label"], "job": job["job"][:12], "kind": point["kind"]}
        for job in jobs
        for point in job["points"]
    ]
    return pa.Table.from_pylist(found, pa.schema([(name, pa.string()) for name in ("model", "job", "kind")]))


def _logged(store: Store, line: str) -> None:
    """Logs a line; a log that can't be written costs no page."""
    with suppress(StoreError):
        store.log(line)


def _jobs(store: Store, failures: Failures) -> list[Job]:
    """The jobs that can be shown, under labels that tell them apart."""
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
    return told_apart(shown)


def _with_errors(state: JobState) -> Job:
    errors = [{"part": part, "message": message} for part, message in state.failed.items()]
    return {**state.record, "errors": errors}


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


def _between(store: Store, asked: Any, jobs: Sequence[Job], failures: Failures) -> pa.Table | None:
    """Each two models that saw the same images and were asked the same; None without such a pair.

    Why a pair is left out goes to the log.
    """
    rows: list[Any] = []
    stored: dict[str, list[Any]] = {}
    for x, y in itertools.combinations(jobs, 2):
        labels = [job["model"]["label"] for job in (x, y)]
        names = " and ".join(labels)
        if x["data"]["image_digest"] != y["data"]["image_digest"]:
            store.log(f"left out {asked.name} between {names}: they saw different images")
        elif x["fields"] != y["fields"]:
            store.log(f"left out {asked.name} between {names}: they were measured with different parameters")
        else:
            with failures.caught("table", asked.name, names):
                for job in (x, y):
                    if job["job"] not in stored:  # each is read once, however many pairs it is in
                        stored[job["job"]] = [row for part in store.stored_parts(job).values() for row in part]
                states = [stored[job["job"]] for job in (x, y)]
                rows += asked.between(*states, points_from(x), points_from(y), model_x=labels[0], model_y=labels[1])
    return to_table(asked.between_row, rows) if rows else None


def _figures(by_fields: Sequence[tuple[Any, pa.Table]], failures: Failures) -> Iterator[Figure]:
    """One figure per set of fields: curves of unequal conventions never share axes."""
    for number, (diagnostic, rows) in enumerate(by_fields):
        figure = failures.spared("figure", diagnostic.name, diagnostic.figure, rows)
        if figure is not None:
            yield figure if not number else dataclasses.replace(figure, name=f"{figure.name}-{number + 1}")


def _by_fields(table: pa.Table, jobs: Sequence[Job]) -> Iterator[tuple[Any, pa.Table]]:
    """The rows of each set of fields, with the diagnostic that has them; rows of no job go with the first."""
    known = {job["job"][:12] for job in jobs}
    others = set(table["job"].to_pylist()) - known
    for fields in _distinct([job["fields"] for job in jobs]):
        own = [job for job in jobs if job["fields"] == fields]
        wanted = {job["job"][:12] for job in own} | others
        others = set()
        yield diagnostic_from(own[0]), table.filter(pc.is_in(table["job"], pa.array(sorted(wanted), pa.string())))


def told_apart(jobs: Sequence[Job]) -> list[Job]:
    """The jobs with labels that stand for one network, one sample and one set of fields: what differs is added.

    Observers share their sample; a measuring diagnostic has its own, and is compared with its like.

    Args:
        jobs: `job.json` dicts.
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
        like = [other for other in known if other["diagnostic"] == job["diagnostic"]]
        differing = [*_differing(job, known, _facts), *_differing(job, like, _fields)]
        label = f"{job['model']['label']}{' (' if differing else ''}{', '.join(differing)}{')' if differing else ''}"
        renamed.append({**job, "model": {**job["model"], "label": label}})
    counts = Counter((job["diagnostic"], job["model"]["label"]) for job in renamed)
    for job in renamed:
        if counts[job["diagnostic"], job["model"]["label"]] > 1:  # whatever else the digest holds
            job["model"]["label"] += f" (job {job['job'][:6]})"
    return renamed


def _differing(job: Job, jobs: Sequence[Job], facts_of: Callable[[Job], Sequence[str]]) -> list[str]:
    alike = [facts_of(other) for other in jobs]
    return [fact for place, fact in enumerate(facts_of(job)) if any(facts[place] != fact for facts in alike)]


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


def _fields(job: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{name.replace('_', ' ')} {_short(value)}" for name, value in job["fields"].items())


def _short(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    return ", ".join(map(str, value)) if len(value) <= _FEW else f"{len(value)} of them"


def _distinct(values: Sequence[Any]) -> list[Any]:
    return [value for number, value in enumerate(values) if value not in values[:number]]
