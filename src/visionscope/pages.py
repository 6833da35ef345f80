"""From a run folder to its page: tables of all jobs, one figure per set of fields, labels that tell jobs apart."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from visionscope.core.registry import diagnostic_class
from visionscope.core.table import to_table
from visionscope.core.types import Figure, MeasuringDiagnostic
from visionscope.diagnostics.landscape import published_landscape
from visionscope.diagnostics.similarity import BetweenRow, SimilarityState, between
from visionscope.errors import ConfigError
from visionscope.running.store import JobState, Store, data_text, diagnostic_from, points_from


def write_report(run: Path | str, published: Sequence[str] = ()) -> Path:
    """Builds RUN/report.html, its figures and its tables from what is stored.

    Args:
        run: the run folder.
        published: names of landscapes that the authors published (`ViT-Ti`, `ResNet-50`), to be drawn beside the run's.

    Raises:
        ConfigError: for another name, or where the run has no landscape to put them beside.
        StoreError: when the folder holds no job, or the disk refuses.
    """
    from visionscope.report.page import build_report

    store = Store(run)
    jobs = _told_apart([_with_errors(state) for state in store.states()])
    tables: dict[str, pa.Table] = {}
    figures: list[Figure] = []
    for name in sorted({job["diagnostic"] for job in jobs}):
        own = [job for job in jobs if job["diagnostic"] == name]
        beside = [published_landscape(one) for one in published] if name == "landscape" else []
        tables[name] = pa.concat_tables([*(store.job_table(job) for job in own), *beside])
        figures.extend(_figures(tables[name], own))
        summary = _summary(tables[name], own)
        if summary is not None:
            tables[f"{name}_summary"] = summary
    if published and "landscape" not in tables:
        raise ConfigError("published: the run has no landscape to draw them beside; diagnose with --only landscape")
    between = _between(store, [job for job in jobs if job["diagnostic"] == "similarity"])
    if between is not None:
        tables["similarity_between"] = between
    return build_report(Path(run), tables, jobs, figures)


def _between(store: Store, jobs: Sequence[Mapping[str, Any]]) -> pa.Table | None:
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
            states = [[row for part in store.stored_parts(job, SimilarityState) for row in part] for job in (x, y)]
            places = [points_from(job) for job in (x, y)]
            rows += between(*states, *places, model_x=x["model"]["label"], model_y=y["model"]["label"])
    return to_table(BetweenRow, rows) if rows else None


def _figures(table: pa.Table, jobs: Sequence[Mapping[str, Any]]) -> Iterator[Figure]:
    """One figure per set of fields: curves of unequal conventions never share axes."""
    for number, (diagnostic, rows) in enumerate(_by_fields(table, jobs)):
        if rows.num_rows:
            figure = diagnostic.figure(rows)
            yield figure if not number else dataclasses.replace(figure, name=f"{figure.name}-{number + 1}")


def _summary(table: pa.Table, jobs: Sequence[Mapping[str, Any]]) -> pa.Table | None:
    """What the rows come to, for a diagnostic that says so."""
    groups = [(diagnostic, rows) for diagnostic, rows in _by_fields(table, jobs) if rows.num_rows]
    summaries = [diagnostic.summary(rows) for diagnostic, rows in groups if hasattr(diagnostic, "summary")]
    return pa.concat_tables(summaries) if summaries else None


def _by_fields(table: pa.Table, jobs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Any, pa.Table]]:
    """The rows of each set of fields, with the diagnostic that has them; rows of no job go with the first."""
    known = {job["job"][:12] for job in jobs}
    others = set(table["job"].to_pylist()) - known
    for fields in _distinct([job["fields"] for job in jobs]):
        own = [job for job in jobs if job["fields"] == fields]
        wanted = {job["job"][:12] for job in own} | others
        others = set()
        yield diagnostic_from(own[0]), table.filter(pc.is_in(table["job"], pa.array(sorted(wanted), pa.string())))


def _with_errors(state: JobState) -> dict[str, Any]:
    errors = [{"part": part, "message": message} for part, message in state.failed.items()]
    return {**state.record, "errors": errors}


def _told_apart(jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
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
