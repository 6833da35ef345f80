"""A folder of class folders, or a plain folder of images, read lazily."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from visionscope.core.printable import printable
from visionscope.data.decode import decode, read_image
from visionscope.data.listing import KINDS, child_folders, list_images, natural_key
from visionscope.data.splits import SPLIT_NAMES, choose_split
from visionscope.errors import DataError

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
        DataError: for a wrong split, a folder without images, a class folder without images, images beside class
            folders, and whatever would leave images out in silence (see `listing.list_images`).
    """

    def __init__(
        self, spec: str, root: Path, split: str | None, *, default_split: str = "test", num_classes: int | None = None
    ) -> None:
        self.spec = spec
        self.split, self._root = _find_split(spec, root, split, default_split)
        listing = list_images(spec, self._root)
        self._files = listing.files
        _refuse_empty_classes(spec, self._files, listing.folders)
        if not self._files:
            raise DataError(f"data {spec!r}: no images in {self._root} of the kinds {', '.join(KINDS)}")
        folders = [os.path.basename(os.path.dirname(file)) for file in self._files]
        self.classes, place = _number_classes(spec, sorted(set(folders), key=natural_key), num_classes)
        self._labels = [place[folder] for folder in folders]

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """The file's path from the folder on, as it may be shown."""
        return printable(self._files[index])

    def label(self, index: int) -> int | None:
        """The class of the image, or None where the model's classes don't have it."""
        return self._labels[index]

    def content(self, index: int) -> bytes:
        """The file's bytes.

        Raises:
            DataError: when the file can't be read any more.
        """
        path = self._root / self._files[index]
        return read_image(path, str(path))

    def image(self, index: int) -> Image.Image:
        """The image in RGB; see `decode.to_rgb` for other modes.

        Raises:
            DataError: when the file can't be read or decoded.
        """
        return decode(self.content(index), str(self._root / self._files[index]))


def imagenet_labels(names: Sequence[str], num_classes: int | None) -> tuple[tuple[str, ...], dict[str, int | None]]:
    """Numbers WordNet ids by timm's ImageNet table.

    Args:
        names: WordNet ids such as `n01440764`.
        num_classes: classes that the model knows; 1,000, 11,221, 11,821, 21,841, 21,842 and 21,843 have their tables,
            anything else is read as ImageNet-1k's 1,000.

    Returns:
        All class names of the table, and each name's index in it, None where it isn't in the table.
    """
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": num_classes}) or "imagenet-1k"
    info: Any = ImageNetInfo(subset)
    table: tuple[str, ...] = tuple(info.label_names())
    place = {name: index for index, name in enumerate(table)}
    return table, {name: place.get(name) for name in names}


def _number_classes(
    spec: str, names: Sequence[str], num_classes: int | None
) -> tuple[tuple[str, ...], dict[str, int | None]]:
    """Class names as they may be shown, and the label of each class folder."""
    if list(names) == [""]:
        return (), {"": None}
    if "" in names:
        raise DataError(f"data {spec!r} has images beside its class folders; put them into a class folder or away")
    if all(_WNID.fullmatch(name) for name in names):
        return imagenet_labels(names, num_classes)
    known = num_classes in (None, len(names))
    return tuple(map(printable, names)), {name: number if known else None for number, name in enumerate(names)}


def _find_split(spec: str, root: Path, wanted: str | None, default: str) -> tuple[str, Path]:
    """The split's name and folder; a folder is split when all of its subfolders bear names of splits."""
    children = child_folders(spec, root)
    splits = children if children and all(name in SPLIT_NAMES for name in children) else []
    split = choose_split(spec, splits, wanted, default)
    return split, root / split if splits else root


def _refuse_empty_classes(spec: str, files: Sequence[str], folders: Sequence[str]) -> None:
    """An empty class folder would shift the numbers of all classes after it if it were left out silently."""
    filled = {os.path.dirname(file) for file in files}
    for folder in folders:
        if folder and folder not in filled:
            raise DataError(
                f"data {spec!r}: class folder {os.path.basename(folder)!r} has no images; fill it or remove it, "
                "for leaving it out would renumber the classes after it"
            )
