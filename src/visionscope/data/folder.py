"""A folder of class folders, or a plain folder of images, read lazily through timm."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from timm.data.dataset_factory import create_dataset
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

from visionscope.data.decode import decode
from visionscope.data.splits import SPLIT_NAMES, choose_split
from visionscope.errors import DataError

_KINDS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
_WNID = re.compile(r"n\d{8}")


class FolderSource:
    """Images in folders named by class.

    `PATH/CLASS/*.jpg`, `PATH/SPLIT/CLASS/*.jpg`, or images straight in PATH, which then have no labels. What is hidden
    (a name with a leading dot) is left out, and so are files without the ending of an image. Classes are
    numbered in timm's natural order of their names. Folders that are all named by WordNet ids (`n01440764`) are
    numbered by timm's table of the ImageNet subset with the model's number of classes, ImageNet-1k otherwise; a
    folder that isn't in the table has the label None.

    Args:
        spec: the data spec, for messages.
        root: the folder.
        split: the split that the user named, or None.
        default_split: see `choose_split`.
        num_classes: classes that the model knows, or None; where folders aren't named by WordNet ids and their number
            differs, no label can be mapped and all are None.

    Raises:
        DataError: for a wrong split, a folder without images, a class folder without images, or images beside class
            folders.
    """

    def __init__(
        self, spec: str, root: Path, split: str | None, *, default_split: str = "test", num_classes: int | None = None
    ) -> None:
        self.spec = spec
        self.split, self._root = _find_split(spec, root, split, default_split)
        _refuse_empty_classes(spec, self._root)
        samples, place = _find_images(self._root)
        self._samples = [(file, folder) for file, folder in samples if not self._is_hidden(Path(file))]
        if not self._samples:
            raise DataError(f"data {spec!r}: no images in {self._root} of the kinds {', '.join(_KINDS)}")
        used = {folder for _, folder in self._samples}
        folders = {name: number for name, number in place.items() if number in used}
        self.classes, self._labels = _number_classes(spec, folders, num_classes)

    def __len__(self) -> int:
        return len(self._samples)

    def name(self, index: int) -> str:
        """The file's path from the folder on."""
        return str(Path(self._samples[index][0]).relative_to(self._root))

    def label(self, index: int) -> int | None:
        """The class of the image, or None where the model's classes don't have it."""
        return self._labels[self._samples[index][1]]

    def content(self, index: int) -> bytes:
        """The file's bytes.

        Raises:
            DataError: when the file can't be read any more.
        """
        try:
            return Path(self._samples[index][0]).read_bytes()
        except OSError as error:
            raise DataError(f"image {self._samples[index][0]} can't be read: {error.strerror}") from error

    def image(self, index: int) -> Image.Image:
        """The image in RGB; see `decode.to_rgb` for other modes.

        Raises:
            DataError: when the file can't be read or decoded.
        """
        return decode(self.content(index), self._samples[index][0])

    def _is_hidden(self, file: Path) -> bool:
        return any(part.startswith(".") for part in file.relative_to(self._root).parts)


def imagenet_labels(names: list[str], num_classes: int | None) -> tuple[tuple[str, ...], dict[str, int | None]]:
    """Numbers WordNet ids by timm's ImageNet table.

    Args:
        names: WordNet ids such as `n01440764`.
        num_classes: classes that the model knows; 1,000, 11,221, 11,821, 21,841, 21,842 and 21,843 have their tables,
            anything else is read as ImageNet-1k's 1,000.

    Returns:
        All class names of the table, and each name's index in it, None where it isn't in the table.
    """
    subset = infer_imagenet_subset({"num_classes": num_classes}) or "imagenet-1k"
    info: Any = ImageNetInfo(subset)
    table: tuple[str, ...] = tuple(info.label_names())
    place = {name: index for index, name in enumerate(table)}
    return table, {name: place.get(name) for name in names}


def _find_images(root: Path) -> tuple[list[tuple[str, int]], dict[str, int]]:
    """All files with their folder's number, and the folders' numbers, as timm finds them."""
    try:
        reader = create_dataset("", root=str(root), search_split=False, input_key=";".join(_KINDS)).reader
    except RuntimeError:
        # timm's way to say that there is none.
        return [], {}
    return reader.samples, reader.class_to_idx


def _number_classes(
    spec: str, folders: Mapping[str, int], num_classes: int | None
) -> tuple[tuple[str, ...], dict[int, int | None]]:
    """Class names, and the label for each of timm's folder numbers."""
    names = sorted(folders, key=folders.__getitem__)
    if names == [""]:
        return (), {0: None}
    if "" in names:
        raise DataError(f"data {spec!r} has images beside its class folders; put them into a class folder or away")
    if all(_WNID.fullmatch(name) for name in names):
        table, place = imagenet_labels(names, num_classes)
        return table, {folders[name]: place[name] for name in names}
    known = num_classes in (None, len(names))
    return tuple(names), {folders[name]: number if known else None for number, name in enumerate(names)}


def _find_split(spec: str, root: Path, wanted: str | None, default: str) -> tuple[str, Path]:
    """The split's name and folder; a folder is split when all of its subfolders bear names of splits."""
    children = sorted(child.name for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
    splits = children if children and all(name in SPLIT_NAMES for name in children) else []
    split = choose_split(spec, splits, wanted, default)
    return split, root / split if splits else root


def _refuse_empty_classes(spec: str, root: Path) -> None:
    """An empty class folder would shift the numbers of all classes after it, since timm leaves it out silently."""
    for folder, subfolders, files in os.walk(root, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        is_leaf = Path(folder) != root and not subfolders
        if is_leaf and not any(file.lower().endswith(_KINDS) and not file.startswith(".") for file in files):
            raise DataError(
                f"data {spec!r}: class folder {Path(folder).name!r} has no images; fill it or remove it, "
                "for leaving it out would renumber the classes after it"
            )
