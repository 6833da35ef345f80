"""What a run folder holds of trainings, moment by moment: a monitor's rows, and diagnostics of several snapshots."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from visionscope.core.diagnostic import Answer
from visionscope.core.failures import Failures
from visionscope.core.files import read_regular
from visionscope.core.table import schema_of, to_table
from visionscope.core.trajectory import MONITOR, SNAPSHOTS, Trajectory
from visionscope.errors import ConfigError, StoreError
from visionscope.models.snapshots import Moment, name_of, training_label
from visionscope.running.moments import TABLE, MonitorRow, numbers_of
from visionscope.running.records import diagnostic_from

_PART = "step-*.parquet"
_MOST_BYTES = 2**24
_STEP = "monitor's rows"

Job = Mapping[str, Any]


def has_monitor(run: Path) -> bool:
    """Whether a folder holds rows of a monitor, its own or those of trainings below it.

    Args:
        run: a run folder, or the folder of one training.
    """
    return any(any(folder.glob(_PART)) for folder in _monitors(run))


def monitored(run: Path, failures: Failures) -> list[Trajectory]:
    """What monitors wrote into a run folder, a trajectory for each training and diagnostic.

    Args:
        run: a run folder, or the folder of one training.
        failures: takes the files that can't be read.
    """
    tables: dict[tuple[str, str], list[pa.Table]] = {}
    for folder in _monitors(run):
        for path in sorted(folder.glob(_PART)):
            with failures.caught(_STEP, "", folder.parent.name):
                table = _read(path)
                tables.setdefault((_label(folder.parent), folder.parent.name), []).append(table)
    labels = [label for label, _ in tables]
    found = []
    for (label, folder_name), own in tables.items():
        name = label if labels.count(label) == 1 else f"{label} {folder_name[:6]}"
        table = pa.concat_tables(own)
        for diagnostic in table["diagnostic"].unique().to_pylist():
            rows = table.filter(pc.equal(table["diagnostic"], diagnostic))
            if diagnostic and rows.num_rows:
                found.append(Trajectory(diagnostic, name, MONITOR, rows))
    return found


def of_snapshots(
    answers: Sequence[Answer], jobs: Sequence[Job], failures: Failures, beside: Sequence[Trajectory] = ()
) -> list[Trajectory]:
    """What diagnostics say of several snapshots of one training.

    Args:
        answers: of the run.
        jobs: the run's `job.json` dicts, under the labels of the answers' tables.
        failures: takes what could not be made.
        beside: what a monitor wrote, which other numbers of the same training are told from.
    """
    monitored_too = {one.training for one in beside}
    trainings: dict[str, set[str]] = {}
    for _, moment in _moments(jobs):
        trainings.setdefault(moment.label, set()).add(moment.training)
    groups: dict[tuple[str, ...], list[tuple[Job, Moment]]] = {}
    for job, moment in _moments(jobs):
        asked = json.dumps([job["fields"], job["data"]["image_digest"], job["precision"]], sort_keys=True)
        groups.setdefault((job["diagnostic"], moment.training, asked), []).append((job, moment))
    known = {answer.diagnostic: answer.tables["rows"] for answer in answers}
    found: list[Trajectory] = []
    for (diagnostic, _, _), own in groups.items():
        moment = own[0][1]
        name = name_of(moment, trainings[moment.label])
        name += f" ({SNAPSHOTS})" if name in monitored_too else ""
        if diagnostic in known and len({one.step for _, one in own}) > 1:
            if any((one.diagnostic, one.training) == (diagnostic, name) for one in found):
                name += f" (job {own[0][0]['job'][:6]})"  # asked in another way
            with failures.caught("trajectory", diagnostic, name):
                found.append(Trajectory(diagnostic, name, SNAPSHOTS, _numbers(known[diagnostic], own)))
    return found


def _numbers(table: pa.Table, own: Sequence[tuple[Job, Moment]]) -> pa.Table:
    rows: list[MonitorRow] = []
    for job, moment in sorted(own, key=lambda one: one[1].step or 0):
        measured = table.filter(pc.equal(table["job"], job["job"][:12]))
        if measured.num_rows and moment.step is not None:
            epoch = float("nan") if moment.epoch is None else moment.epoch
            rows += numbers_of(diagnostic_from(job), measured, moment.step, epoch)[0]
    return to_table(MonitorRow, rows)


def _moments(jobs: Sequence[Job]) -> Iterator[tuple[Job, Moment]]:
    """The jobs of snapshots whose step is known; an average of weights is no place that the training passed."""
    for job in jobs:
        told = job["model"].get("moment")
        moment = Moment(**told) if told else None
        if moment is not None and moment.step is not None and moment.is_on_the_way:
            yield job, moment


def _monitors(run: Path) -> Iterator[Path]:
    yield from (folder for folder in (run / TABLE, *sorted(run.glob(f"train/*/{TABLE}"))) if folder.is_dir())


def _read(path: Path) -> pa.Table:
    table = pq.ParquetFile(path).read()
    schema = schema_of(MonitorRow)
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise StoreError(f"{path.name}: it lacks the column {missing[0]!r}; it is no monitor's")
    return table.select(schema.names).cast(schema)


def _label(folder: Path) -> str:
    """How the training is called that left its rows in a folder; of a loop of one's own, the folder's name."""
    try:
        asked = json.loads(read_regular(folder / "train.json", _MOST_BYTES))["model"]
        return training_label(str(asked))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ConfigError):
        return folder.resolve().name
