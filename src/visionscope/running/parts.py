"""Part files: rows in Parquet that say of which job and part they are, so that none passes for another.

A checksum of the whole file stands in what it says. So whether a part is done is told by the bytes, without Parquet.
"""

import functools
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from visionscope.core.diagnostic import MeasuringDiagnostic
from visionscope.core.files import read_regular
from visionscope.core.table import from_table, schema_of, to_table
from visionscope.errors import StoreError
from visionscope.running.records import FORMAT, points_from

_KEY = b"visionscope"
_CHECKSUM = b'{"checksum": "'
"""How what a file says of itself begins; its last place in a file is in the footer, after all rows."""
_BLANK = b"00000000"
"""In the place of the checksum while it is computed."""
_MOST_BYTES = 2 * 2**30
_MOST_VALUES = 2**28  # that a file may declare: a few bytes can declare billions


def part_content(record: Mapping[str, Any], part: str, row_type: type, rows: Sequence[Any]) -> bytes:
    """A part's file: its rows, whose they are, and a checksum of it all.

    Args:
        record: the job.
        part: its name.
        row_type: the dataclass of the rows.
        rows: what was measured.
    """
    table = to_table(row_type, rows)
    said = {"checksum": _BLANK.decode(), **_told_of(record, part, row_type), "rows": table.num_rows}
    buffer = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata({_KEY: json.dumps(said, sort_keys=True)}), buffer, write_page_checksum=True
    )
    content = buffer.getvalue()
    begin = content.rindex(_CHECKSUM) + len(_CHECKSUM)
    return content[:begin] + _checksum(content, begin) + content[begin + len(_BLANK) :]


def is_as_written(path: Path, record: Mapping[str, Any], part: str, row_type: type) -> bool:
    """Whether a part's file has the very bytes that were written for it; looks into no Parquet.

    False is no proof that it can't be used: files of versions that wrote no checksum have to be read.

    Args:
        path: the file.
        record: the job.
        part: its name.
        row_type: the dataclass of its rows.
    """
    try:
        content = read_regular(path, _MOST_BYTES)
    except OSError:
        return False
    said = _said_of_all(content)
    return {**said, **_told_of(record, part, row_type)} == said


def part_table(path: Path, record: Mapping[str, Any], part: str) -> pa.Table | None:
    """The content of a part's file, checked against what the file says of itself; None where there is no file.

    Needs no diagnostic, hence no torch. Files of versions that said nothing are checked by `part_rows` alone, except
    that none is empty.

    Args:
        path: the file.
        record: the job.
        part: its name.

    Raises:
        StoreError: when it can't be read, is torn or damaged, or is another part; says why, without the path.
    """
    try:
        content = read_regular(path, _MOST_BYTES)
        table = _table_in(content)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError:
        raise StoreError("a folder stands in its place: move it away") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or type(error).__name__
        raise StoreError(reason) from error
    said = _said(table)
    if said is None:
        if not table.num_rows:
            raise StoreError("it holds no rows")
        return table
    if said.get("format") != FORMAT:
        raise StoreError(f"it is of format {said.get('format')!r}, this version reads {FORMAT}")
    if said.get("job") != record["job"]:
        raise StoreError(f"it is a part of another job, {str(said.get('job'))[:12]!r}")
    if said.get("part") != part:
        raise StoreError(f"it is the part {said.get('part')!r}")
    if said.get("rows") != table.num_rows:
        raise StoreError(f"it holds {table.num_rows} of {said.get('rows')!r} rows")
    if "checksum" in said and not _said_of_all(content):
        raise StoreError("its bytes are not those that were written")
    return table


def part_rows(table: pa.Table, record: Mapping[str, Any], part: str, diagnostic: Any) -> list[Any]:
    """The rows of a part, checked against its name.

    Args:
        table: from `part_table`.
        record: the job.
        part: its name.
        diagnostic: the question, which may say by `is_whole(part, rows, points)` whether rows are all of a part's and
            no other's; rows with a column `part` say it themselves.

    Raises:
        StoreError: when they are of another form or of another part.
    """
    row_type = stored_row(diagnostic)
    if not table.schema.equals(schema_of(row_type), check_metadata=False):
        raise StoreError("its columns are not those of this version")
    rows = from_table(row_type, table)
    others = sorted({str(row.part) for row in rows if hasattr(row, "part")} - {part})
    if others:
        raise StoreError(f"its rows are of the part {others[0]!r}")
    if hasattr(diagnostic, "is_whole") and not diagnostic.is_whole(part, rows, points_from(record)):
        raise StoreError("its rows are not those of this part")
    return rows


def stored_row(diagnostic: Any) -> type:
    """The dataclass of the rows that a diagnostic's parts hold.

    Args:
        diagnostic: any.
    """
    row: type = diagnostic.row if isinstance(diagnostic, MeasuringDiagnostic) else diagnostic.state_row
    return row


def _table_in(content: bytes) -> pa.Table:
    file = pq.ParquetFile(io.BytesIO(content), page_checksum_verification=True)
    declared = file.metadata
    groups = [declared.row_group(index) for index in range(declared.num_row_groups)]
    values = sum(group.column(index).num_values for group in groups for index in range(group.num_columns))
    if max(values, declared.num_rows) > _MOST_VALUES:
        raise StoreError(f"it declares {max(values, declared.num_rows):,} values; at most {_MOST_VALUES:,} are read")
    return file.read(use_threads=False)  # starting threads takes longer than a part does


def _said(table: pa.Table) -> dict[str, Any] | None:
    text = (table.schema.metadata or {}).get(_KEY)
    if text is None:
        return None
    return _read_said(text)


def _said_of_all(content: bytes) -> dict[str, Any]:
    """What a file says of itself where its checksum is that of all its bytes; else nothing."""
    at = content.rfind(_CHECKSUM)
    begin = at + len(_CHECKSUM)
    if at < 0 or content[begin : begin + len(_BLANK)] != _checksum(content, begin):
        return {}
    return _read_said(content[at : content.find(b"}", at) + 1])


def _read_said(text: bytes) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    return said if isinstance(said, dict) else {}


def _told_of(record: Mapping[str, Any], part: str, row_type: type) -> dict[str, Any]:
    """What every file of a part says of itself."""
    return {"columns": _columns(row_type), "format": FORMAT, "job": record["job"], "part": part}


@functools.cache
def _columns(row_type: type) -> str:
    """Stands for the names and types of a dataclass's columns, so that files of others are told without reading."""
    columns = [(field.name, str(field.type), field.nullable) for field in schema_of(row_type)]
    return f"{zlib.crc32(json.dumps(columns).encode()):08x}"


def _checksum(content: bytes, begin: int) -> bytes:
    """CRC-32 of a file, with zeros in the place of the checksum itself, in hexadecimal digits."""
    view = memoryview(content)
    before = zlib.crc32(_BLANK, zlib.crc32(view[:begin]))
    return b"%08x" % zlib.crc32(view[begin + len(_BLANK) :], before)
