"""The run folder: `RUN/<diagnostic>/<job digest>/` with job.json and one Parquet file per part.

What is done is told by the part files alone, each of which says whose it is. Files are written whole or not at all
(`core.files`), so that a reader or a later run never sees half of one, whatever was killed and however many write.
"""

import dataclasses
import datetime
import errno
import json
import os
import socket
import stat
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from visionscope.core.diagnostic import MeasuringDiagnostic
from visionscope.core.failures import one_line
from visionscope.core.files import given_path, read_regular, write_whole
from visionscope.core.refusals import refusals
from visionscope.core.table import LEADING, to_table, with_leading_of
from visionscope.errors import StoreError, VisionscopeError
from visionscope.running.parts import is_as_written, part_content, part_rows, part_table, stored_row
from visionscope.running.records import (
    FORMAT,
    Damage,
    NewerError,
    RecordError,
    diagnostic_from,
    points_from,
    read_record,
)

_ABANDONED_SECONDS = 3600.0
_MOST_ERROR_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class JobState:
    """How far one job is.

    Attributes:
        record: what its job.json says.
        done: parts with a file.
        failed: parts without a file but with an error, with that error's message.
        left: all other parts.
        unusable: those of `left` that have a file which is not theirs or can't be read, with the reason.
    """

    record: Mapping[str, Any]
    done: tuple[str, ...]
    failed: Mapping[str, str]
    left: tuple[str, ...]
    unusable: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> tuple[str, str]:
        """Diagnostic and digest."""
        return self.record["diagnostic"], self.record["job"]


class PartStore(Protocol):
    """Where jobs are carried out to: a run folder, or memory; each may raise `StoreError` when a disk refuses."""

    def sweep(self, record: Mapping[str, Any]) -> None:
        """Removes what killed processes left half-written of a job an hour ago or earlier."""

    def write_job(self, record: Mapping[str, Any], **times: Any) -> None:
        """Writes what there is to say of a job, with the times that were known of it and these."""

    def write_part(self, record: Mapping[str, Any], part: str, row_type: type, rows: Sequence[Any]) -> None:
        """Stores the rows of one part and removes its error, if it had one; loses nothing that was there before."""

    def write_error(self, record: Mapping[str, Any], part: str, error: Exception) -> None:
        """Stores why a part failed."""

    def is_done(self, record: Mapping[str, Any], part: str, diagnostic: Any) -> bool:
        """Whether a part is there, whole, and no other job's or part's."""

    def log(self, line: str) -> None:
        """Notes one line with its time."""


class Store:
    """The `PartStore` of one run folder, and what reads it; any number of processes may write at once.

    Args:
        run: the folder; made by the first write.

    Raises:
        ConfigError: for what is no path.
    """

    def __init__(self, run: Path | str) -> None:
        self.run = given_path("run", run)

    def jobs(self) -> list[dict[str, Any]]:
        """What every job.json of the run says, sorted by diagnostic and label; snapshots of a training by step.

        Raises:
            StoreError: when the folder is none, holds no job, or a job.json can't be used.
        """
        records, damaged = self.readable_jobs()
        for damage in damaged:
            raise StoreError(f"{self.run / damage.path}: {damage.message}")
        return records

    def has_jobs(self) -> bool:
        """Whether the folder has a job.json, readable or not."""
        return any(self.run.glob("*/*/job.json"))

    def readable_jobs(self) -> tuple[list[dict[str, Any]], list[Damage]]:
        """What the job.json files of the run say that can be used, and which jobs' can't.

        Raises:
            StoreError: when the folder is none, or holds no job.
        """
        if not self.run.is_dir():
            raise StoreError(f"{self.run}: is not a run folder; `visionscope diagnose --out {self.run}` makes one")
        records: list[dict[str, Any]] = []
        damaged: list[Damage] = []
        for folder in sorted(self.run.glob("*/*/")):
            try:
                record = read_record(folder / "job.json")
                if record is not None:
                    records.append(record)
            except RecordError as error:
                damaged.append(Damage(folder.parent.name, folder.name, error.label, f"{error}; {error.remedy}"))
        if not records and not damaged:
            raise StoreError(f"{self.run}: holds no job; is it the folder that --out named?")
        return sorted(records, key=_place), damaged

    def states(self) -> list[JobState]:
        """How far every job of the run is, every part file read; see `jobs` and `state`."""
        return [self.state(record) for record in self.jobs()]

    def state(self, record: Mapping[str, Any], *, read: bool = True) -> JobState:
        """How far the job is that a job.json describes.

        Args:
            record: from `jobs`.
            read: whether part files are read, and checked against what they say of themselves; else a name will do.
        """
        folder, parts = self.folder(record), record["parts"]
        unusable: dict[str, str] = {}
        done = []
        for part in parts:
            path = folder / f"{part}.parquet"
            try:
                there = part_table(path, record, part) is not None if read else path.is_file()
            except StoreError as error:
                there, unusable[part] = False, str(error)
            if there:
                done.append(part)
        errors = {part: _message(folder / f"{part}.error.json") for part in parts if part not in done}
        failed = {part: message for part, message in errors.items() if message and part not in unusable}
        left = tuple(part for part in parts if part not in done and part not in failed)
        return JobState(record, tuple(done), failed, left, unusable)

    def folder(self, record: Mapping[str, Any]) -> Path:
        """The folder of the job that a job.json describes."""
        return self.run / str(record["diagnostic"]) / str(record["job"])

    def write_job(self, record: Mapping[str, Any], **times: Any) -> None:
        path = self.folder(record) / "job.json"
        known = {**record["times"], **self._times(path), **times}
        text = json.dumps({"format": FORMAT, **record, "times": known}, indent=1, ensure_ascii=False) + "\n"
        self._write(path, text.encode())

    def sweep(self, record: Mapping[str, Any]) -> None:
        for path in self.folder(record).glob(".*.tmp"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink()

    def write_part(self, record: Mapping[str, Any], part: str, row_type: type, rows: Sequence[Any]) -> None:
        folder = self.folder(record)
        self._write(folder / f"{part}.parquet", part_content(record, part, row_type, rows))
        with refusals(folder), suppress(FileNotFoundError):
            os.unlink(folder / f"{part}.error.json")

    def write_error(self, record: Mapping[str, Any], part: str, error: Exception) -> None:
        said = {"part": part, "type": type(error).__name__, "message": one_line(error), "time": now()}
        if not isinstance(error, VisionscopeError):
            said["traceback"] = "".join(traceback.format_exception(error))
        text = json.dumps(said, indent=1, ensure_ascii=False) + "\n"
        self._write(self.folder(record) / f"{part}.error.json", text.encode())

    def is_done(self, record: Mapping[str, Any], part: str, diagnostic: Any) -> bool:
        path = self.folder(record) / f"{part}.parquet"
        if path.is_dir():
            with refusals(path):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if is_as_written(path, record, part, stored_row(diagnostic)):
            return True  # by its checksum; only a file without one, of an earlier version, or with a wrong one is read
        try:
            table = part_table(path, record, part)
            if table is not None:
                part_rows(table, record, part, diagnostic)
        except StoreError as error:
            self.log(f"unreadable {path.relative_to(self.run)}: {error}; it counts as not done")
            return False
        return table is not None

    def log(self, line: str) -> None:
        stamp = now()
        with refusals(self.run / "log.txt"):
            self.run.mkdir(parents=True, exist_ok=True)
            # One write to a file opened for appending: lines of several processes never mix. A pipe in its place would
            # wait for a reader.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
            descriptor = os.open(self.run / "log.txt", flags, 0o666)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
                os.write(descriptor, f"{stamp} {socket.gethostname()}:{os.getpid()} {line}\n".encode())
            finally:
                os.close(descriptor)

    def table(self, name: str) -> pa.Table:
        """The result of one diagnostic over all jobs of the run, reduced from the parts that are done, in their order.

        Args:
            name: the diagnostic, such as `fourier`.

        Returns:
            The columns model, data, weights, precision and job (12 digits), then those of the diagnostic's rows.

        Raises:
            StoreError: when the run holds no job of that name, or one whose job.json can't be used.
        """
        everything, damaged = self.readable_jobs()
        records = [record for record in everything if record["diagnostic"] == name]
        for damage in damaged:
            if damage.diagnostic == name:
                raise StoreError(f"{self.run / damage.path}: {damage.message}")
        if not records:
            raise StoreError(f"{self.run}: holds no job of the diagnostic {name!r}")
        return pa.concat_tables([self.job_table(record) for record in records])

    def job_table(self, record: Mapping[str, Any]) -> pa.Table:
        """The result of one job; see `table`."""
        return self.reduced(record, self.stored_parts(record))

    def stored_parts(self, record: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The rows of every part of a job that is there and whole, in the order of job.json."""
        return self.usable_parts(record)[0]

    def usable_parts(self, record: Mapping[str, Any]) -> tuple[dict[str, list[Any]], dict[str, str]]:
        """The rows of every part of a job that is there and whole, and of those that are there, why others are not."""
        diagnostic = diagnostic_from(record)
        rows: dict[str, list[Any]] = {}
        unusable: dict[str, str] = {}
        for part in record["parts"]:
            try:
                table = part_table(self.folder(record) / f"{part}.parquet", record, part)
                if table is not None:
                    rows[part] = part_rows(table, record, part, diagnostic)
            except StoreError as error:
                unusable[part] = str(error)
        return rows, unusable

    @staticmethod
    def reduced(record: Mapping[str, Any], parts: Mapping[str, list[Any]]) -> pa.Table:
        """The result of one job; see `table`.

        Args:
            record: the job.
            parts: its `stored_parts`.
        """
        diagnostic = diagnostic_from(record)
        if isinstance(diagnostic, MeasuringDiagnostic):
            measured = [row for part in parts.values() for row in part]
            return with_leading(to_table(diagnostic.row, measured), leading_of(record))
        rows: Iterator[Any] = iter(())
        if parts:
            observer = diagnostic.observer(points_from(record))
            for part in parts.values():
                observer.load(part)
            rows = observer.rows()
        return with_leading(to_table(diagnostic.row, rows), leading_of(record))

    @staticmethod
    def _times(path: Path) -> dict[str, Any]:
        """The times that the stored job.json of the same job tells; none where it is absent or can't be used."""
        try:
            return dict((read_record(path) or {}).get("times", {}))
        except NewerError as error:
            raise StoreError(f"{path}: {error}; {error.remedy}") from error
        except RecordError:
            return {}

    def _write(self, path: Path, content: bytes) -> None:
        with refusals(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)


def now() -> str:
    """This moment in UTC, as job.json and the log write it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def leading_of(record: Mapping[str, Any]) -> dict[str, str]:
    """The values of a job's leading columns."""
    model = record["model"]
    values = (model["label"], data_text(record["data"]), model["weights"], record["precision"], record["job"][:12])
    return dict(zip(LEADING, values, strict=True))


def data_text(data: Mapping[str, Any]) -> str:
    """What tables say of a job's images: the data spec, and of training images their split and augmentation, too."""
    spec, split, augmentation = data["spec"], data["split"], data.get("augmentation")
    if augmentation is None:
        return str(spec)
    named = split == "all" or ":" in str(spec).rpartition("/")[2]
    seed = f", seed {data['seed']}" if data.get("seed") else ""
    way = "no" if augmentation == "none" else augmentation
    return f"{spec}{'' if named else f':{split}'}, {way} augmentation{seed}"


def with_leading(table: pa.Table, values: Mapping[str, str]) -> pa.Table:
    """A result table with the same leading values in front of every row.

    Args:
        table: rows of one job.
        values: by the names of `LEADING`.
    """
    return with_leading_of(table, [values] * table.num_rows)


def _place(record: Mapping[str, Any]) -> tuple[str, str, float, str, str]:
    """Where a job stands among all of a run."""
    label, moment = record["model"]["label"], record["model"].get("moment")
    if moment is None or moment["step"] is None:
        return record["diagnostic"], label, 0, label, record["job"]
    return record["diagnostic"], f"{moment['label']} {moment['training']}", moment["step"], label, record["job"]


def _message(path: Path) -> str:
    """What an error.json says; "" where there is none."""
    if not path.is_file():
        return ""
    try:
        content = json.loads(read_regular(path, _MOST_ERROR_BYTES))
        message = content.get("message") if isinstance(content, dict) else None
    except (OSError, ValueError, RecursionError):
        message = None
    if not isinstance(message, str) or not message:
        return "its error file can't be read"
    return message.encode(errors="backslashreplace").decode()  # half a character goes into no file
