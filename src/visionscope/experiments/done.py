"""What is there of experiments in a run folder: jobs with all their parts, and rows of tables; needs no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from visionscope.errors import StoreError
from visionscope.running.records import RecordError, read_record

FOLDER, RESULTS = "tables", "results"
KEYS = ("variant", "seed", "snapshot", "training", "question")
"""The leading columns of every table."""

Place = tuple[str, str, str]
"""Training, snapshot and key of a question: where a result belongs."""

Tables = dict[str, pd.DataFrame]


@dataclasses.dataclass(frozen=True)
class DoneJob:
    """A job of a run folder that an experiment asked for.

    Attributes:
        record: what its job.json says.
        whole: whether all its parts are there.
    """

    record: Mapping[str, Any]
    whole: bool


def done_jobs(run: Path) -> dict[tuple[str, str, str], DoneJob]:
    """The jobs of a run folder that experiments asked for, by training, snapshot and key of the question.

    Args:
        run: the run folder, which need not be there.
    """
    found = {}
    for path in run.glob("*/*/job.json"):
        try:
            record = read_record(path)
        except RecordError:
            continue  # as if it were not there: it is computed again
        told = (record or {}).get("experiment")
        if record is not None and told:
            whole = all((path.parent / f"{part}.parquet").is_file() for part in record["parts"])
            found[told["training"], told["snapshot"], told["question"]] = DoneJob(record, whole)
    return found


def not_applicable(done: Mapping[Place, DoneJob]) -> set[Place]:
    """Training, snapshot and name of each diagnostic that has nothing to ask of those weights.

    Args:
        done: from `done_jobs`.
    """
    return {
        (training, snapshot, one["diagnostic"])
        for (training, snapshot, _), job in done.items()
        for one in job.record.get("not_applicable", ())
    }


def stored_tables(run: Path) -> Tables:
    """The tables that a run folder has; rows of a result that was not written in full are left out.

    Args:
        run: the run folder, which need not be there.

    Raises:
        StoreError: when a table can't be read.
    """
    found = {}
    for path in sorted((run / FOLDER).glob("*.parquet")):
        try:
            found[path.stem] = pq.read_table(path, use_threads=False).to_pandas()
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{path}: can't be read ({error}); move it away to make it anew") from error
    tables = {name: table for name, table in found.items() if set(KEYS) <= set(table.columns)}
    known = known_results(tables)
    for name, table in tables.items():
        places = zip(table["training"], table["snapshot"], table["question"], strict=True)
        tables[name] = table[[place in known for place in places]].reset_index(drop=True)
    return tables


def known_results(tables: Mapping[str, pd.DataFrame]) -> set[Place]:
    """Where every result belongs that tables hold in full, as the table `results` says, which is written last.

    Args:
        tables: by name.
    """
    if RESULTS not in tables:
        return set()
    rows = tables[RESULTS]
    return set(zip(rows["training"], rows["snapshot"], rows["question"], strict=True))
