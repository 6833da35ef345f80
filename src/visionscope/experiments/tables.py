"""The tables of an experiment: what trainings and diagnoses came to, by variant, seed and moment, in RUN/tables.

A row stays when what it was made of is removed: weights and parts may go, or stay on another machine.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from visionscope.claims.one_seed import LAST
from visionscope.claims.scores import with_scores
from visionscope.core.diagnostic import Answer
from visionscope.core.failures import Failures
from visionscope.core.files import write_whole
from visionscope.core.refusals import refusals
from visionscope.core.table import LEADING, tidy
from visionscope.diagnostics.calibration.question import Calibration
from visionscope.diagnostics.calibration.results import by_bin
from visionscope.experiments.done import FOLDER, KEYS, RESULTS, DoneJob, Tables, done_jobs, known_results, stored_tables
from visionscope.experiments.plan import DiagnoseTask, Plan, TrainTask
from visionscope.running.records import diagnostic_from
from visionscope.running.reduce import answer_from, points_table
from visionscope.running.store import Store

TRAINING, CURVES, POINTS, MEASURES, FAILURES = "training", "curves", "points", "measures", "failures"
BINS = "calibration_bins"
_OF_ONE = ("rows", "summary")
_OF_A_LOG = ("epoch", "loss", "top_1", "top_5", "nll", "nll_train", "seconds")
_OF_MASKS = ("mean_iou", "pixel_accuracy")


def gather(plan: Plan, run: Path, note: Callable[[str], None] = lambda line: None) -> Tables:
    """Adds what is new in a run folder to its tables, writes them, and gives those of the plan's trainings.

    Args:
        plan: the tasks.
        run: the run folder.
        note: takes a line about a result that can't be made.

    Returns:
        By name, the rows of the plan's variants and seeds alone, and the table `failures`.

    Raises:
        StoreError: when the disk refuses.
    """
    tables = stored_tables(run)
    known, done = known_results(tables), done_jobs(run)
    new: dict[str, list[pd.DataFrame]] = {}
    failures: list[dict[str, Any]] = []

    def add(table: str, rows: pd.DataFrame, train: TrainTask, snapshot: str, question: str) -> None:
        values = dict(zip(KEYS, (train.variant.name, train.seed, snapshot, train.training, question), strict=True))
        new.setdefault(table, []).append(with_keys(rows, values))

    for train in plan.trainings:
        for name, rows in _of_training(train, run):
            place = (train.training, LAST, name)
            if place not in known:
                add(name, rows, train, LAST, name)
                add(RESULTS, pd.DataFrame([{"result": name}]), train, LAST, name)
                known.add(place)  # another variant may be the same training
        failures += _training_failures(train, run)
    for task in plan.diagnoses:
        for name, key in task.keys.items():
            place = (task.train.training, task.asked.snapshot, key)
            job = done.get(place)
            if job is not None and job.whole and place not in known:
                for table, rows in job_tables(job, run, failures_of := Failures(note)):
                    add(table, rows, task.train, task.asked.snapshot, key)
                add(RESULTS, pd.DataFrame([{"result": name}]), task.train, task.asked.snapshot, key)
                known.add(place)
                failures += [_failure(task.train, task.asked.snapshot, name, one.text) for one in failures_of.all]
            failures += _diagnosis_failures(task, name, job, run)
    add_rows(run, tables, new)
    own = own_tables(plan, tables)
    own[FAILURES] = pd.DataFrame(failures, columns=["variant", "seed", "snapshot", "diagnostic", "reason"])
    return own


def add_rows(run: Path, tables: Tables, new: Mapping[str, Sequence[pd.DataFrame]]) -> None:
    """Adds rows to tables, and writes those that changed.

    What a table holds counts once `results` says so, which is written last: a kill may come between two of them.

    Args:
        run: the run folder.
        tables: by name; they are changed.
        new: by name, the rows that come on top.

    Raises:
        StoreError: when the disk refuses.
    """
    for name, pieces in sorted(new.items(), key=lambda item: item[0] == RESULTS):
        tables[name] = pd.concat([*([tables[name]] if name in tables else []), *pieces], ignore_index=True)
        _write(run / FOLDER / f"{name}.parquet", tables[name])


def own_tables(plan: Plan, tables: Mapping[str, pd.DataFrame]) -> Tables:
    """The rows of a plan's results, under its variants' names, in its order; scores of trainings are measures, too.

    Args:
        plan: the tasks.
        tables: of the run folder, of other studies, too.
    """
    trainings = pd.DataFrame(
        [(train.training, train.variant.name, train.seed) for train in plan.trainings],
        columns=["training", "variant", "seed"],
    )
    asked = {(task.asked.snapshot, key) for task in plan.diagnoses for key in task.keys.values()}
    asked |= {(LAST, TRAINING), (LAST, CURVES)}
    found = {}
    for name, table in tables.items():
        rows = trainings.merge(table.drop(columns=["variant", "seed"]), on="training", how="inner")
        kept = [place in asked for place in zip(rows["snapshot"], rows["question"], strict=True)]
        if any(kept):
            found[name] = rows[kept].reset_index(drop=True)[[*KEYS, *(c for c in rows.columns if c not in KEYS)]]
    return with_scores(found)


def _of_training(train: TrainTask, run: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """The row of a training that went to its end, and the rows of its log."""
    if not train.weights(run, LAST).is_file():
        return
    path = train.folder(run) / "log.csv"
    try:
        log = pd.read_csv(path)
        last = log.iloc[-1]
        told = json.loads((train.folder(run) / "train.json").read_bytes())
    except (OSError, ValueError, IndexError):
        return
    yield CURVES, log
    scores = {name: float(last.get(name, math.nan)) for name in _OF_A_LOG}
    scores |= {name: float(last[name]) for name in _OF_MASKS if name in last}
    row = {
        "model": train.variant.model,
        "recipe": told["recipe name"],
        "fraction": train.variant.fraction,
        "images": train.images,
        "parameters": train.parameters,
        "gmacs": train.gmacs,
        "error": 1 - scores.get("pixel_accuracy", scores["top_1"]),
    }
    yield TRAINING, pd.DataFrame([{**row, **scores}])


def job_tables(job: DoneJob, run: Path, failures: Failures) -> Iterator[tuple[str, pd.DataFrame]]:
    """The tables of one job, without the columns that say whose they are.

    Args:
        job: with all its parts.
        run: the run folder.
        failures: takes what can't be made.
    """
    store, record = Store(run), dict(job.record)
    name = record["diagnostic"]
    with failures.caught("table", name):
        rows = store.job_table(record)
        if not rows.num_rows:
            return
        answer = answer_from(rows, [(diagnostic_from(record), rows)], failures, None, points_table([record]))
        yield from _tables_of(name, answer)
        if name == Calibration.name:
            yield BINS, _shown(by_bin(rows))
        points = [{"diagnostic": name, **point} for point in record["points"]]
        if points:
            columns = ["diagnostic", "name", "kind", "stage", "depth", "channels", "follows"]
            yield POINTS, pd.DataFrame(points)[columns]


def _tables_of(name: str, answer: Answer) -> Iterator[tuple[str, pd.DataFrame]]:
    for step in _OF_ONE:
        if step in answer.tables:
            yield name if step == "rows" else f"{name}_{step}", _shown(answer.tables[step])
    measures = [
        {"diagnostic": name, "measure": one.name, "value": one.value, "unit": one.unit}
        for one in answer.measures
        if one.value is not None
    ]
    if measures:
        yield MEASURES, pd.DataFrame(measures)


def _shown(table: pa.Table) -> pd.DataFrame:
    """One value per cell, without what the keys of an experiment say."""
    kept = tidy(table)
    frame: pd.DataFrame = kept.drop_columns([name for name in LEADING if name in kept.column_names]).to_pandas()
    return frame


def with_keys(rows: pd.DataFrame, values: Mapping[str, Any]) -> pd.DataFrame:
    """Rows after columns that say whose they are; a column of that name gets another.

    Args:
        rows: of a table.
        values: of the leading columns, in their order.
    """
    rows = rows.rename(columns={name: f"{name}_" for name in values if name in rows.columns}).assign(**values)
    return rows[[*values, *(name for name in rows.columns if name not in values)]]


def _failure(train: TrainTask, snapshot: str, diagnostic: str, reason: str) -> dict[str, Any]:
    named = {"variant": train.variant.name, "seed": train.seed, "snapshot": snapshot}
    return {**named, "diagnostic": diagnostic, "reason": reason}


def _training_failures(train: TrainTask, run: Path) -> Iterator[dict[str, Any]]:
    path = train.folder(run) / "error.json"
    if path.is_file():
        yield _failure(train, "", "", str(json.loads(path.read_bytes())["message"]))


def _diagnosis_failures(task: DiagnoseTask, name: str, job: DoneJob | None, run: Path) -> Iterator[dict[str, Any]]:
    if job is not None:
        for diagnostic, reason in job_failures(name, job, run):
            yield _failure(task.train, task.asked.snapshot, diagnostic, reason)


def job_failures(name: str, job: DoneJob, run: Path) -> Iterator[tuple[str, str]]:
    """The diagnostic and the reason of each part of a job that failed, and of what has nothing to ask of its network.

    Args:
        name: of the job's diagnostic.
        job: any.
        run: the run folder.
    """
    for path in sorted(Store(run).folder(job.record).glob("*.error.json")):
        yield name, f"part {path.name.removesuffix('.error.json')}: {json.loads(path.read_bytes())['message']}"
    for one in job.record.get("not_applicable", ()):
        yield one["diagnostic"], one["reason"]


def _write(path: Path, table: pd.DataFrame) -> None:
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), content, compression="zstd")
    with refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.getvalue())
