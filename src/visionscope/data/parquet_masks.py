"""Parquet files with two columns of images: photographs, and masks with a class for every pixel."""

import functools
from pathlib import Path

from PIL import Image

from visionscope.data.decode import decode_mask
from visionscope.data.mask_folder import class_extent, numbered_classes
from visionscope.data.parquet import ParquetSource, label_columns
from visionscope.data.parquet_files import ParquetFile, column_type, files_by_split
from visionscope.errors import DataError, nearest

MASK_NAMES = ("mask", "masks", "annotation", "segmentation_mask", "semantic_mask", "label", "labels")
"""What a column of masks is called; the first that there is, is taken."""


def find_mask_column(spec: str, path: Path) -> str | None:
    """The column of masks of Parquet files, or None where there is none or a column of labels is there, too.

    It bears one of `MASK_NAMES` and holds image files, as another column does.

    Args:
        spec: the data spec, for messages.
        path: a Parquet file, or a folder as `ParquetSource` takes it.

    Raises:
        DataError: when the files can't be read.
    """
    file = _first(spec, path)
    held = _image_columns(file)
    named = [name for name in MASK_NAMES if name in held]
    return named[0] if len(held) > 1 and named and not label_columns(file) else None


class ParquetMaskSource(ParquetSource):
    """Images and masks in columns of Parquet files; see `ParquetSource` for files, splits and the column of images.

    A cell of the column of masks is like one of images, of a PNG of class numbers, grey or with a palette, 255 for
    pixels that don't count. The masks of all splits are read at once to count the classes.

    Args:
        spec: the data spec, for messages.
        path: a Parquet file, or a folder with such files in it or in its subfolder `data`.
        split: the split that the user named, or None.
        mask_column: the column of masks.
        default_split: see `choose_split`.
        image_column: the column of images; by default the first other one that the metadata call an image, else the
            only other one that holds bytes.

    Raises:
        DataError: for columns that don't exist, hold something else or can't be chosen, masks that can't be read or
            have one class alone, and what `ParquetSource` refuses.
    """

    def __init__(
        self,
        spec: str,
        path: Path,
        split: str | None,
        *,
        mask_column: str,
        default_split: str = "test",
        image_column: str | None = None,
    ) -> None:
        column = image_column or _image_column(spec, _first(spec, path), mask_column)
        super().__init__(spec, path, split, default_split=default_split, image_column=column)
        self._masks = _masks_of(spec, path, self.split, mask_column)
        self.classes = _numbered(spec, path, mask_column, _written(path))

    def label(self, index: int) -> int | None:
        """None: the image's pixels have classes, not the image."""
        return None

    def mask(self, index: int) -> Image.Image:
        """The class of every pixel, grey.

        Raises:
            DataError: when the row can't be read or decoded.
        """
        return decode_mask(self._masks.content(index), self._masks.name(index))


def _first(spec: str, path: Path) -> ParquetFile:
    return ParquetFile(next(iter(files_by_split(spec, path).values()))[0])


def _image_columns(file: ParquetFile) -> list[str]:
    return [field.name for field in file.schema if column_type(field.type) in ("bytes", "images")]


def _image_column(spec: str, file: ParquetFile, mask: str) -> str:
    held = _image_columns(file)
    if mask not in held:
        raise DataError(f"mask_column must be a column of image files of {spec!r}, not {mask!r}.{nearest(mask, held)}")
    others = [name for name in held if name != mask]
    described = [name for name in file.features.of_type("Image") if name in others]
    if not described and len(others) != 1:
        raise DataError(f"data {spec!r} must have one column of images beside its masks; name it with image_column")
    return (described or others)[0]


def _masks_of(spec: str, path: Path, split: str, column: str) -> ParquetSource:
    """The masks as a source of images."""
    return ParquetSource(spec, path, None if split == "all" else split, image_column=column)


def _written(path: Path) -> tuple[int, ...]:
    """Tells files that were changed from what they were."""
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    return tuple(file.stat().st_mtime_ns for file in files)


@functools.lru_cache(maxsize=4)  # both splits of a training are opened, and by each model of a run
def _numbered(spec: str, path: Path, column: str, written: tuple[int, ...]) -> tuple[str, ...]:
    """Of the masks of all splits."""
    sources = [_masks_of(spec, path, split, column) for split in files_by_split(spec, path)]
    return numbered_classes(
        spec,
        (
            class_extent(decode_mask(masks.content(index), masks.name(index)))
            for masks in sources
            for index in range(len(masks))
        ),
    )
