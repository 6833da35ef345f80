"""Parquet files that others wrote: what they declare is checked before anything is read."""

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from visionscope.core.files import open_regular
from visionscope.core.printable import printable
from visionscope.data.splits import SPLIT_NAMES
from visionscope.errors import DataError

_SHARD = re.compile(r"(?P<split>.+)-\d+-of-\d+")
_MOST_FILES = 20_000
_MOST_GROUP_BYTES = 2 * 2**30  # of the images of a row group, unpacked
_MOST_DECLARED = 4 * _MOST_GROUP_BYTES  # of all columns of a row group
_MOST_METADATA_BYTES = 2**26
_ROWS_AT_ONCE = 64
_BYTES_AT_ONCE = 2**28


def is_parquet(path: Path) -> bool:
    """Whether a path is a Parquet file or a folder that holds some.

    Raises:
        DataError: when the folder can't be read.
    """
    return bool(_parquet_files(path))


def files_by_split(spec: str, path: Path) -> dict[str, list[Path]]:
    """The Parquet files of each split, in the order of their names; `all` where their names tell none.

    Args:
        spec: the data spec, for messages.
        path: a Parquet file, or a folder with such files in it or in its subfolder `data`.

    Raises:
        DataError: when the folder can't be read, or holds more files than are opened.
    """
    files = _parquet_files(path)
    if len(files) > _MOST_FILES:
        raise DataError(f"data {spec!r} has {len(files):,} Parquet files; at most {_MOST_FILES:,} are opened")
    splits: dict[str, list[Path]] = {}
    for file in files:
        shard = _SHARD.fullmatch(file.stem)
        prefix = shard["split"] if shard else re.split(r"[-_.]", file.stem)[0]
        splits.setdefault(prefix if shard or prefix in SPLIT_NAMES else "all", []).append(file)
    return splits


def column_type(kind: pa.DataType) -> str:
    """What a column holds: `bytes`, `images` (structs of bytes and path), `integers`, `texts`, or `other`."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return "images" if place >= 0 and column_type(kind.field(place).type) in ("bytes", "nothing") else "other"
    is_binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    is_text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    if any(holds(kind) for holds in is_binary):
        return "bytes"
    if any(holds(kind) for holds in is_text):
        return "texts"
    if pa.types.is_null(kind):
        return "nothing"
    return "integers" if pa.types.is_integer(kind) else "other"


@dataclasses.dataclass(frozen=True)
class Features:
    """The descriptions of columns that Hugging Face `datasets` leaves in a schema.

    Attributes:
        path: of the file, for messages.
        columns: by name.
    """

    path: Path
    columns: dict[str, dict[str, Any]]

    def of_type(self, name: str) -> list[str]:
        """The columns of a type, such as `Image`."""
        return [column for column, feature in self.columns.items() if feature.get("_type") == name]

    def class_names(self, column: str) -> tuple[str, ...]:
        """The names of a column's classes, as they may be shown; empty where they aren't named.

        Raises:
            DataError: for what is no list of different names.
        """
        names = self.columns.get(column, {}).get("names")
        if names is None:
            return ()
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError(f"{self.path}: the metadata of column {column!r} must name its classes by a list of texts")
        if len(set(names)) < len(names):
            raise DataError(f"{self.path}: the metadata of column {column!r} name two classes alike")
        return tuple(map(printable, names))


class ParquetFile:
    """One file: its schema, and its columns read with bounds. It is open only while something is read.

    Args:
        path: of the file.

    Attributes:
        path: as given.
        schema: of its columns.
        rows: of each row group.

    Raises:
        DataError: when it can't be read as Parquet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opened("can't be read as Parquet") as file:
            self._metadata = file.metadata
            self.schema: pa.Schema = file.schema_arrow
            str(self.schema)  # a name that is no UTF-8 fails here
            self.rows = [self._metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        if min(self.rows, default=0) < 0:
            raise DataError(f"{path} can't be read as Parquet: it declares a negative number of rows")

    @cached_property
    def features(self) -> Features:
        """What Hugging Face metadata say of the columns; nothing where there are none.

        Raises:
            DataError: for metadata that are broken, for then the labels may mean anything.
        """
        text = (self.schema.metadata or {}).get(b"huggingface")
        if text is None:
            return Features(self.path, {})
        try:
            if len(text) > _MOST_METADATA_BYTES:
                raise ValueError(f"{len(text):,} bytes")
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{self.path}: its Hugging Face metadata are not valid JSON ({_line(error)}); {_ANEW}"
            ) from error
        info = found.get("info", {}) if isinstance(found, dict) else None
        columns = info.get("features") if isinstance(info, dict) else None
        if not isinstance(info, dict) or not isinstance(columns, dict | None):
            raise DataError(f"{self.path}: its Hugging Face metadata must hold info, and that features; {_ANEW}")
        return Features(self.path, {name: told for name, told in (columns or {}).items() if isinstance(told, dict)})

    def check_column(self, name: str, first: "ParquetFile") -> None:
        """Checks that a column is there once and of the type that it has in the first file.

        Raises:
            DataError: when it isn't.
        """
        count = self.schema.names.count(name)
        if count != 1:
            lacks = f"{self.path} lacks the column {name!r} that {first.path.name} has"
            raise DataError(lacks if not count else f"{self.path} has {count} columns {name!r}; it must have one")
        kind, wanted = self.schema.field(name).type, first.schema.field(name).type
        if column_type(kind) != column_type(wanted):
            raise DataError(f"column {name!r} of {self.path} holds {kind}; in {first.path.name} it holds {wanted}")

    def images(self, group: int, column: str) -> pa.ChunkedArray:
        """The column of images of a row group.

        Raises:
            DataError: when it can't be read, is larger than is sane, or has another number of rows than it declares.
        """
        place = f"row group {group} of {self.path}"
        # Of all columns: asking Arrow for one column's size ends the process where a file lies about its statistics.
        declared = self._metadata.row_group(group).total_byte_size
        if declared > _MOST_DECLARED:
            raise DataError(f"{place} declares {declared:,} bytes; at most {_MOST_DECLARED:,} are read. {_SMALLER}")
        pieces, size = [], 0
        with self._opened(f"can't be read (row group {group})") as file:
            # By the piece, since a few bytes may unpack to far more: each row may repeat the largest value.
            rows = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // max(1, declared)))
            for batch in file.iter_batches(rows, row_groups=[group], columns=[column], use_threads=False):
                size += batch.nbytes
                if size > _MOST_GROUP_BYTES:
                    most = f"at most {_MOST_GROUP_BYTES:,} are read"
                    raise DataError(f"{place} unpacks to {size:,} bytes of images or more; {most}. {_SMALLER}")
                pieces.append(batch.column(0))
        found = pa.chunked_array(pieces) if pieces else pa.chunked_array([], self.schema.field(column).type)
        if len(found) != self.rows[group]:
            raise DataError(f"{place} holds {len(found)} rows; it declares {self.rows[group]}")
        return found

    def labels(self, column: str) -> list[Any]:
        """A column of integers or texts.

        Raises:
            DataError: when it can't be read, or has another number of rows than it declares.
        """
        with self._opened(f"can't be read (column {column!r})") as file:
            values: list[Any] = file.read([column], use_threads=False).column(0).to_pylist()
        if len(values) != sum(self.rows):
            raise DataError(f"column {column!r} of {self.path} holds {len(values)} rows; it declares {sum(self.rows)}")
        return values

    @contextmanager
    def _opened(self, trouble: str) -> Iterator[pq.ParquetFile]:
        try:
            with open_regular(self.path) as opened, pq.ParquetFile(opened) as file:
                yield file
        # Arrow's errors, and those of Python about texts that are no UTF-8, sizes and memory.
        except (OSError, pa.ArrowException, ValueError, MemoryError, OverflowError) as error:
            raise DataError(f"{self.path} {trouble}: {_line(error)}") from error


_ANEW = "write the file anew, or take them out"
_SMALLER = "Write smaller row groups"


def _parquet_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path] if path.suffix == ".parquet" else []
    return _in_folder(path) or (_in_folder(path / "data") if (path / "data").is_dir() else [])


def _in_folder(folder: Path) -> list[Path]:
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise DataError(
            f"folder {folder} can't be read: {error.strerror}; leaving it out would change the data"
        ) from error
    return sorted(folder / name for name in names if name.endswith(".parquet") and not name.startswith("."))


def _line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
