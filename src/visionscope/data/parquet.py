"""A folder of Parquet files in the Hugging Face layout, read lazily by row group."""

import bisect
import json
import re
import threading
from collections import OrderedDict
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from visionscope.data.decode import decode
from visionscope.data.splits import SPLIT_NAMES, choose_split
from visionscope.errors import DataError, nearest

_CACHE_BYTES = 256 * 2**20
_LABEL_NAMES = ("label", "labels", "fine_label", "target", "class")
_SHARD = re.compile(r"(?P<split>.+)-\d+-of-\d+")
_UNLABELLED = -1


class ParquetSource:
    """Images and labels in columns of Parquet files, one split per file-name prefix (`test-00000-of-00001.parquet`).

    The image column is the one that the Hugging Face metadata call an image, else a struct with the field `bytes`,
    else the only binary column; it may hold paths beside or instead of bytes. The label column is the first that the
    metadata call a class label, else an integer column named label, labels, fine_label, target or class, else the
    only integer column. The label -1 means "not labelled", as in the Hugging Face layout. Row groups are read when
    one of their images is, and the last 256 MiB of them are kept.

    Args:
        spec: the data spec, for messages.
        path: a Parquet file, or a folder with such files in it or in its subfolder `data`.
        split: the split that the user named, or None.
        default_split: see `choose_split`.
        image_column: overrides the choice of the image column.
        label_column: overrides the choice of the label column; text columns work too and are numbered in sorted order.
        num_classes: classes that the model knows, or None; where the files name another number of classes, all labels
            are None.

    Raises:
        DataError: for unreadable files, a wrong split, and columns that don't exist or can't be chosen.
    """

    def __init__(
        self,
        spec: str,
        path: Path,
        split: str | None,
        *,
        default_split: str = "test",
        image_column: str | None = None,
        label_column: str | None = None,
        num_classes: int | None = None,
    ) -> None:
        self.spec = spec
        by_split = _files_by_split(path)
        self.split = choose_split(spec, [name for name in by_split if name != "all"], split, default_split)
        self._paths = by_split[self.split]
        self._files = [_open(file) for file in self._paths]
        schema = self._files[0].schema_arrow
        features = _features(schema)
        self._image_column = _choose(spec, "image_column", image_column, schema, _image_columns(schema, features))
        if self._image_column is None:
            raise DataError(
                f"data {spec!r} has no image column among: {', '.join(schema.names)}; name it with image_column"
            )
        self._label_column = _choose(spec, "label_column", label_column, schema, _label_columns(schema, features))
        for file, place in zip(self._files, self._paths, strict=True):
            for column in filter(None, (self._image_column, self._label_column)):
                if column not in file.schema_arrow.names:
                    raise DataError(f"{place} lacks the column {column!r} that {self._paths[0].name} has")
        self._groups = [
            (number, group, file.metadata.row_group(group).num_rows)
            for number, file in enumerate(self._files)
            for group in range(file.num_row_groups)
        ]
        self._ends = list(accumulate(rows for _, _, rows in self._groups))
        self._cache: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()
        self.classes, self._labels = self._read_labels(features)
        self._mappable = not self.classes or num_classes in (None, len(self.classes))
        if not len(self):
            raise DataError(f"data {spec!r}: no images in its split {self.split!r}")

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def name(self, index: int) -> str:
        """The file's name and the row in it."""
        group, _ = self._find(index)
        number = self._groups[group][0]
        before = sum(rows for other, _, rows in self._groups if other < number)
        return f"{self._paths[number].name} row {index - before}"

    def label(self, index: int) -> int | None:
        """The class of the image, or None where it isn't labelled or the model has other classes.

        Raises:
            DataError: when the label is negative or beyond the named classes.
        """
        value = self._labels[index] if self._labels is not None else None
        if value is None or value == _UNLABELLED or not self._mappable:
            return None
        if value < 0 or (self.classes and value >= len(self.classes)):
            rule = f"0 to {len(self.classes) - 1}" if self.classes else "0 or more"
            raise DataError(f"label {value} of {self.name(index)} is out of range: it must be {rule}")
        return value

    def content(self, index: int) -> bytes:
        """The image file's bytes.

        Raises:
            DataError: when the row holds none, or its row group or the file that it points to can't be read.
        """
        group, row = self._find(index)
        value = self._column(group)[row].as_py()
        if isinstance(value, dict):
            path = value.get("path")
            value = value.get("bytes")
            if value is None and path:
                return _read(self._paths[self._groups[group][0]].parent / path, self.name(index))
        if not isinstance(value, bytes):
            raise DataError(f"image {self.name(index)} is missing: its column {self._image_column!r} is empty there")
        return value

    def image(self, index: int) -> Image.Image:
        """The image in RGB; see `decode.to_rgb` for other modes.

        Raises:
            DataError: when the row can't be read or decoded.
        """
        return decode(self.content(index), self.name(index))

    def _find(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} images")
        group = bisect.bisect_right(self._ends, index)
        return group, index - (self._ends[group - 1] if group else 0)

    def _column(self, group: int) -> pa.ChunkedArray:
        with self._lock:
            if group in self._cache:
                self._cache.move_to_end(group)
                return self._cache[group]
            number, place, _ = self._groups[group]
            try:
                column = self._files[number].read_row_group(place, [self._image_column]).column(0)
            except (OSError, pa.ArrowException) as error:
                reason = str(error).splitlines()[0]
                raise DataError(f"row group {place} of {self._paths[number]} can't be read: {reason}") from error
            self._cache[group] = column
            while len(self._cache) > 1 and sum(kept.nbytes for kept in self._cache.values()) > _CACHE_BYTES:
                self._cache.popitem(last=False)
            return column

    def _read_labels(self, features: dict[str, Any]) -> tuple[tuple[str, ...], list[int | None] | None]:
        """Class names, and each row's label; text labels are numbered in sorted order."""
        if self._label_column is None:
            return (), None
        values: list[Any] = []
        for file, path in zip(self._files, self._paths, strict=True):
            try:
                values += file.read([self._label_column]).column(0).to_pylist()
            except (OSError, pa.ArrowException) as error:
                raise DataError(
                    f"column {self._label_column!r} of {path} can't be read: {str(error).splitlines()[0]}"
                ) from error
        if any(isinstance(value, str) for value in values):
            classes = tuple(sorted({value for value in values if value is not None}))
            place = {name: number for number, name in enumerate(classes)}
            return classes, [None if value is None else place[value] for value in values]
        if not all(value is None or isinstance(value, int) for value in values):
            kind = self._files[0].schema_arrow.field(self._label_column).type
            raise DataError(f"label_column {self._label_column!r} must hold integers or texts, not {kind}")
        return tuple(features.get(self._label_column, {}).get("names") or ()), values


def is_parquet(path: Path) -> bool:
    """Whether a path is a Parquet file or a folder that holds some."""
    return bool(_parquet_files(path))


def _parquet_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    return sorted(path.glob("*.parquet")) or sorted((path / "data").glob("*.parquet"))


def _files_by_split(path: Path) -> dict[str, list[Path]]:
    splits: dict[str, list[Path]] = {}
    for file in _parquet_files(path):
        shard = _SHARD.fullmatch(file.stem)
        prefix = shard["split"] if shard else re.split(r"[-_.]", file.stem)[0]
        splits.setdefault(prefix if shard or prefix in SPLIT_NAMES else "all", []).append(file)
    return splits


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} can't be read as Parquet: {str(error).splitlines()[0]}") from error


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"image {name} points to {path}, which can't be read: {error.strerror}") from error


def _features(schema: pa.Schema) -> dict[str, Any]:
    """The column descriptions that Hugging Face `datasets` leaves in the schema, or none."""
    text = (schema.metadata or {}).get(b"huggingface")
    features = json.loads(text).get("info", {}).get("features") if text else None
    return {name: value for name, value in (features or {}).items() if isinstance(value, dict)}


def _image_columns(schema: pa.Schema, features: dict[str, Any]) -> list[str]:
    described = [name for name, feature in features.items() if feature.get("_type") == "Image"]
    structs = [
        field.name for field in schema if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
    ]
    binary = [field.name for field in schema if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)]
    return described[:1] or structs or binary


def _label_columns(schema: pa.Schema, features: dict[str, Any]) -> list[str]:
    described = [name for name, feature in features.items() if feature.get("_type") == "ClassLabel"]
    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    named = [name for name in _LABEL_NAMES if name in integers]
    return described[:1] or named[:1] or (integers if len(integers) == 1 else [])


def _choose(spec: str, parameter: str, given: str | None, schema: pa.Schema, candidates: list[str]) -> str | None:
    if given is not None:
        if given not in schema.names:
            raise DataError(f"{parameter} must be a column of {spec!r}, not {given!r}.{nearest(given, schema.names)}")
        return given
    if len(candidates) > 1:
        raise DataError(
            f"data {spec!r} has several columns that could be meant; set {parameter} to one of: {', '.join(candidates)}"
        )
    return candidates[0] if candidates else None
