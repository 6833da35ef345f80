"""The run folder: `RUN/<diagnostic>/<job digest>/` with job.json and one Parquet file per part.

What is done is told by the part files alone. A file is written under another name in the same folder, flushed to the
disk and renamed, so that a reader or a later run never sees half of one, whatever was killed and however many write.
"""

import dataclasses
import datetime
import errno
import io
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from visionscope.core.table import LEADING, from_table, schema_of, to_table, with_leading_of
from visionscope.core.types import MeasuringDiagnostic
from visionscope.errors import StoreError
from visionscope.running.records import LISTED, diagnostic_from, lacking, points_from

_ABANDONED_SECONDS = 3600.0


@dataclasses.dataclass(frozen=True)
class JobState:
    """How far one job is, told by file names alone.

    Attributes:
        record: what its job.json says.
        done: parts with a file.
        failed: parts without a file but with an error, with that error's message.
        left: all other parts.
    """

    record: Mapping[str, Any]
    done: tuple[str, ...]
    failed: Mapping[str, str]
    left: tuple[str, ...]


class Store:
    """Reads and writes one run folder; any number of processes may write at once.

    Args:
        run: the folder; made by the first write.
    """

    def __init__(self, run: Path | str) -> None:
        self.run = Path(run)

    def jobs(self) -> list[dict[str, Any]]:
        """What every job.json of the run says, sorted by diagnostic and label.

        Raises:
            StoreError: when the folder is none, holds no job, or a job.json can't be read.
        """
        records, damaged = self.readable_jobs()
        for message in damaged.values():
            raise StoreError(message)
        return records

    def readable_jobs(self) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """What the job.json files of the run say that can be read, and for the others, by diagnostic/job, why not.

        Raises:
            StoreError: when the folder is none, or holds no job.
        """
        if not self.run.is_dir():
            raise StoreError(f"{self.run}: is not a run folder; `visionscope diagnose --out {self.run}` makes one")
        records: list[dict[str, Any]] = []
        damaged: dict[str, str] = {}
        for path in sorted(self.run.glob("*/*/job.json")):
            record = _read_json(path)
            if record is None or lacking(record, LISTED):
                name = f"{path.parent.parent.name}/{path.parent.name[:12]}"
                damaged[name] = f"{path}: can't be read; run the study again to write it anew"
            else:
                records.append(record)
        if not records and not damaged:
            raise StoreError(f"{self.run}: holds no job; is it the folder that --out named?")
        order = sorted(records, key=lambda record: (record["diagnostic"], record["model"]["label"], record["job"]))
        return order, damaged

    def states(self) -> list[JobState]:
        """How far every job of the run is; reads names and job.json only."""
        return [self.state(record) for record in self.jobs()]

    def state(self, record: Mapping[str, Any]) -> JobState:
        """How far the job is that a job.json describes."""
        folder, parts = self.folder(record), record["parts"]
        done = tuple(part for part in parts if (folder / f"{part}.parquet").is_file())
        failed = {part: _message(folder / f"{part}.error.json") for part in parts if part not in done}
        failed = {part: message for part, message in failed.items() if message}
        left = tuple(part for part in parts if part not in done and part not in failed)
        return JobState(record, done, failed, left)

    def folder(self, record: Mapping[str, Any]) -> Path:
        """The folder of the job that a job.json describes."""
        return self.run / str(record["diagnostic"]) / str(record["job"])

    def write_job(self, record: Mapping[str, Any]) -> None:
        """Writes or replaces job.json.

        Raises:
            StoreError: when the disk refuses.
        """
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        self._write(self.folder(record) / "job.json", text.encode())

    def read_job(self, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the stored job.json of the same job says, or None where it is absent or torn."""
        return _read_json(self.folder(record) / "job.json")

    def sweep(self, record: Mapping[str, Any]) -> None:
        """Removes what killed processes left half-written in a job's folder an hour ago or earlier."""
        for path in self.folder(record).glob(".*.tmp"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink()

    def write_study(self, text: str) -> Path:
        """Writes RUN/study.yaml and returns its path.

        Raises:
            StoreError: when the disk refuses.
        """
        path = self.run / "study.yaml"
        self._write(path, text.encode())
        return path

    def write_part(self, record: Mapping[str, Any], part: str, row_type: type, rows: Sequence[Any]) -> None:
        """Stores one part and removes its error, if it had one.

        Args:
            record: the job.
            part: its name.
            row_type: the dataclass of the rows.
            rows: what was measured.

        Raises:
            StoreError: when the disk refuses; nothing that was stored before is lost.
        """
        buffer = io.BytesIO()
        pq.write_table(to_table(row_type, rows), buffer, write_page_checksum=True)
        folder = self.folder(record)
        self._write(folder / f"{part}.parquet", buffer.getvalue())
        with _refusals(folder), suppress(FileNotFoundError):
            os.unlink(folder / f"{part}.error.json")

    def write_error(self, record: Mapping[str, Any], part: str, error: Mapping[str, Any]) -> None:
        """Stores why a part failed, as `<part>.error.json` with at least `type` and `message`.

        Raises:
            StoreError: when the disk refuses.
        """
        text = json.dumps({"part": part, **error}, indent=1, ensure_ascii=False) + "\n"
        self._write(self.folder(record) / f"{part}.error.json", text.encode())

    def read_part(self, record: Mapping[str, Any], part: str, row_type: type) -> list[Any] | None:
        """The rows of a stored part, or None where it is absent, torn, or of another form: then it is not done.

        Args:
            record: the job.
            part: its name.
            row_type: the dataclass of its rows.
        """
        path = self.folder(record) / f"{part}.parquet"
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{path}: can't be read ({error.strerror})") from error
        try:
            table = pq.read_table(io.BytesIO(content), page_checksum_verification=True)
            if not table.schema.equals(schema_of(row_type), check_metadata=False):
                raise StoreError("its columns are not those of this version")
            return from_table(row_type, table)
        except (pa.ArrowException, OSError, StoreError) as error:
            first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.log(f"unreadable {path.relative_to(self.run)}: {first_line}; it counts as not done")
            return None

    def log(self, line: str) -> None:
        """Appends one line with its time and process to RUN/log.txt.

        Raises:
            StoreError: when the disk refuses.
        """
        stamp = now()
        with _refusals(self.run):
            self.run.mkdir(parents=True, exist_ok=True)
            # One write to a file opened for appending: lines of several processes never mix.
            descriptor = os.open(self.run / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
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
            StoreError: when the run holds no job of that name.
        """
        records = [record for record in self.jobs() if record["diagnostic"] == name]
        if not records:
            raise StoreError(f"{self.run}: holds no job of the diagnostic {name!r}")
        return pa.concat_tables([self.job_table(record) for record in records])

    def job_table(self, record: Mapping[str, Any]) -> pa.Table:
        """The result of one job; see `table`."""
        return self.reduced(record, self.stored_parts(record))

    def stored_parts(self, record: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The rows of every part of a job that is there and can be read, in the order of job.json."""
        diagnostic = diagnostic_from(record)
        row_type = diagnostic.row if isinstance(diagnostic, MeasuringDiagnostic) else diagnostic.state_row
        found = {part: self.read_part(record, part, row_type) for part in record["parts"]}
        return {part: rows for part, rows in found.items() if rows is not None}

    def reduced(self, record: Mapping[str, Any], parts: Mapping[str, list[Any]]) -> pa.Table:
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

    def _write(self, path: Path, content: bytes) -> None:
        with _refusals(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(path, content)


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


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _message(path: Path) -> str:
    if not path.is_file():
        return ""
    return str((_read_json(path) or {}).get("message") or "its error file can't be read")


def _write_whole(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        # Ctrl-C and a full disk leave no litter; what kill -9 leaves ends in .tmp and is never read.
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the file system is read-only; name another folder with --out",
    errno.EACCES: "permission denied; name another folder with --out",
    errno.EPERM: "permission denied; name another folder with --out",
    errno.ENOTDIR: "a file stands where a folder should be; move it away",
    errno.EEXIST: "a file stands where a folder should be; move it away",
    errno.EISDIR: "a folder stands where a file should be; move it away",
}


@contextmanager
def _refusals(where: Path) -> Iterator[None]:
    """Turns what the disk refuses into one line that says what to do."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, f"{error.strerror or error}; mend that")
        raise StoreError(
            f"{error.filename or where}: {advice}, then start the same command again: what is stored is kept"
        ) from error
