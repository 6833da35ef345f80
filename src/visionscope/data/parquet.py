"""A folder of Parquet files in the Hugging Face layout, read lazily by row group."""

import bisect
import threading
from collections import OrderedDict
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from visionscope.core.printable import printable
from visionscope.data.decode import decode, read_image
from visionscope.data.parquet_files import Features, ParquetFile, column_type, files_by_split
from visionscope.data.splits import choose_split
from visionscope.errors import DataError, nearest

_CACHE_BYTES = 256 * 2**20
_LABEL_NAMES = ("label", "labels", "fine_label", "target", "class")
_UNLABELLED = -1
_LARGEST_LABEL = 2**31 - 1
_MOST_IMAGES = 200_000_000


class ParquetSource:
    """Images and labels in columns of Parquet files, one split per file-name prefix (`test-00000-of-00001.parquet`).

    The image column is the one that the Hugging Face metadata call an image, else a struct with the field `bytes`,
    else the only binary column; it may hold paths beside or instead of bytes, which stay inside the folder. The label
    column is the first that the
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
        DataError: for unreadable files, files that don't belong together, a wrong split, and columns that don't exist,
            hold something else or can't be chosen.
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
        self._root = path if path.is_dir() else path.parent
        by_split = files_by_split(spec, path)
        self.split = choose_split(spec, [name for name in by_split if name != "all"], split, default_split)
        self._files = [ParquetFile(file) for file in by_split[self.split]]
        first = self._files[0]
        self._image_column = _choose(spec, "image_column", image_column, first, _image_columns(first))
        if self._image_column is None:
            names = printable(", ".join(first.schema.names))
            raise DataError(f"data {spec!r} has no image column among: {names}; name it with image_column")
        self._label_column = _choose(spec, "label_column", label_column, first, label_columns(first))
        _check_columns(self._files, self._image_column, self._label_column)
        self._groups = [
            (number, group, rows) for number, file in enumerate(self._files) for group, rows in enumerate(file.rows)
        ]
        self._ends = list(accumulate(rows for _, _, rows in self._groups))
        if not len(self):
            raise DataError(f"data {spec!r}: no images in its split {self.split!r}")
        if len(self) > _MOST_IMAGES:
            raise DataError(f"data {spec!r} declares {len(self):,} images; at most {_MOST_IMAGES:,} are opened")
        self._cache: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()
        self.classes, self._labels = self._read_labels(first.features)
        self._mappable = not self.classes or num_classes in (None, len(self.classes))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def name(self, index: int) -> str:
        """The file's name and the row in it."""
        group, _ = self._find(index)
        number = self._groups[group][0]
        before = sum(rows for other, _, rows in self._groups if other < number)
        return f"{printable(self._files[number].path.name)} row {index - before}"

    def label(self, index: int) -> int | None:
        """The class of the image, or None where it isn't labelled or the model has other classes.

        Raises:
            DataError: when the label is negative or beyond the named classes.
        """
        value = self._labels[index] if self._labels is not None else None
        if value is None or value == _UNLABELLED or not self._mappable:
            return None
        most = len(self.classes) - 1 if self.classes else _LARGEST_LABEL
        if not 0 <= value <= most:
            raise DataError(f"label {value} of {self.name(index)} is out of range: it must be 0 to {most}")
        return value

    def content(self, index: int) -> bytes:
        """The image file's bytes.

        Raises:
            DataError: when the row holds none, or its row group or the file that it points to can't be read.
        """
        group, row = self._find(index)
        try:
            value = self._column(group)[row].as_py()
        except ValueError as error:
            raise DataError(f"image {self.name(index)} can't be read: its path is not UTF-8") from error
        if isinstance(value, dict):
            path = value.get("path")
            value = value.get("bytes")
            if value is None and path:
                return self._linked(path, self._files[self._groups[group][0]].path.parent, self.name(index))
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
            assert self._image_column is not None
            column = self._files[number].images(place, self._image_column)
            self._cache[group] = column
            while len(self._cache) > 1 and sum(kept.nbytes for kept in self._cache.values()) > _CACHE_BYTES:
                self._cache.popitem(last=False)
            return column

    def _linked(self, path: object, beside: Path, name: str) -> bytes:
        """The file that a row points to: data from elsewhere must not name any file of this machine."""
        try:
            target = (beside / str(path)).resolve()
            inside = not Path(str(path)).is_absolute() and target.is_relative_to(self._root.resolve())
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(f"image {name} points to {str(path)[:80]!r}, which is not a path: {error}") from error
        if not inside:
            raise DataError(
                f"image {name} points to {str(path)[:80]!r}, which is outside of its folder; only paths inside, "
                "relative to the Parquet file, are followed"
            )
        return read_image(target, f"{name} points to {target}, which")

    def _read_labels(self, features: Features) -> tuple[tuple[str, ...], list[int | None] | None]:
        """Class names, and each row's label; text labels are numbered in sorted order."""
        if self._label_column is None:
            return (), None
        values: list[Any] = []
        for file in self._files:
            values += file.labels(self._label_column)
        if any(isinstance(value, str) for value in values):
            classes = sorted({value for value in values if value is not None})
            place = {name: number for number, name in enumerate(classes)}
            return tuple(map(printable, classes)), [None if value is None else place[value] for value in values]
        return features.class_names(self._label_column), values


def _image_columns(file: ParquetFile) -> list[str]:
    described = file.features.of_type("Image")
    structs = [
        field.name
        for field in file.schema
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
    ]
    binary = [field.name for field in file.schema if column_type(field.type) == "bytes"]
    return described[:1] or structs or binary


def label_columns(file: ParquetFile) -> list[str]:
    """The column that holds the labels, if any.

    Args:
        file: one of them.
    """
    described = file.features.of_type("ClassLabel")
    integers = [field.name for field in file.schema if column_type(field.type) == "integers"]
    named = [name for name in _LABEL_NAMES if name in integers]
    return described[:1] or named[:1] or (integers if len(integers) == 1 else [])


def _choose(spec: str, parameter: str, given: str | None, file: ParquetFile, candidates: list[str]) -> str | None:
    names = file.schema.names
    if given is not None:
        if given not in names:
            raise DataError(f"{parameter} must be a column of {spec!r}, not {given!r}.{nearest(given, names)}")
        return given
    if len(candidates) > 1:
        raise DataError(
            f"data {spec!r} has several columns that could be meant; set {parameter} to one of: {', '.join(candidates)}"
        )
    return candidates[0] if candidates else None


def _check_columns(files: list[ParquetFile], image: str, label: str | None) -> None:
    """All files must hold the two columns once, of one type each, and name the same classes."""
    first = files[0]
    for file in files:
        for column in filter(None, (image, label)):
            file.check_column(column, first)
    kind = first.schema.field(image).type
    if column_type(kind) not in ("bytes", "images"):
        raise DataError(
            f"image_column {image!r} of {first.path} must hold bytes, or structs with the fields bytes and path; "
            f"not {_short(kind)}"
        )
    if label is None:
        return
    kind = first.schema.field(label).type
    if column_type(kind) not in ("integers", "texts"):
        raise DataError(f"label_column {label!r} must hold integers or texts, not {_short(kind)}")
    names = first.features.class_names(label)
    for file in files:
        if file.features.class_names(label) != names:
            raise DataError(f"{file.path} names other classes than {first.path.name}; all files must name the same")


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 60 else f"{text[:57]}..."
