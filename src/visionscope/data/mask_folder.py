"""A folder of images with a mask for each: `images/a.jpg` and `masks/a.png`, read lazily."""

import functools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from visionscope.core.files import read_regular
from visionscope.core.printable import printable
from visionscope.core.sample import IGNORED
from visionscope.data.decode import decode, decode_mask, read_image
from visionscope.data.listing import KINDS, child_folders, list_images
from visionscope.data.splits import SPLIT_NAMES, choose_split
from visionscope.errors import DataError

LAYOUT = "images/NAME.jpg and masks/NAME.png, each or both in folders named by split"
_IMAGES, _MASKS, _NAMES = "images", "masks", "classes.txt"
_MOST_BYTES = 2**20  # of the names of 255 classes

Pair = tuple[str, str]
"""An image and its mask, as paths from the folder on."""


def is_mask_folder(spec: str, root: Path) -> bool:
    """Whether a folder holds images with masks rather than class folders.

    Args:
        spec: the data spec, for messages.
        root: the folder.

    Raises:
        DataError: when it can't be read.
    """
    children = child_folders(spec, root)
    if _holds_both(children):
        return True
    split = bool(children) and all(name in SPLIT_NAMES for name in children)
    return split and any(_holds_both_below(spec, root / name) for name in children)


def _holds_both_below(spec: str, folder: Path) -> bool:
    try:
        return _holds_both(child_folders(spec, folder))
    except DataError:  # of a split that may not be asked for
        return False


class MaskFolderSource:
    """Images whose pixels have classes, told by a PNG of class numbers beside each.

    `PATH/images/NAME.jpg` and `PATH/masks/NAME.png`, where NAME may have folders in it, too; or the same in
    `PATH/SPLIT/images` and `PATH/SPLIT/masks`, or in `PATH/images/SPLIT` and `PATH/masks/SPLIT`. A mask is grey or has
    a palette, of which the numbers count; it has its image's size, and 255 marks pixels that don't count.

    `PATH/classes.txt` names the classes, one a line, from class 0 on. Without it the masks of all splits are read at
    once to count the classes, which are then called `class 0`, `class 1` and so on.

    Args:
        spec: the data spec, for messages.
        root: the folder.
        split: the split that the user named, or None.
        default_split: see `choose_split`.
        num_classes: classes that the model knows, or None; where `classes.txt` names another number, all masks are
            None.

    Raises:
        DataError: for a wrong split, an image without mask, a mask without image, a split without both, images
            beside the folders of splits, masks that have one class alone, and whatever would leave images out in
            silence (see `listing.list_images`).
    """

    def __init__(
        self, spec: str, root: Path, split: str | None, *, default_split: str = "test", num_classes: int | None = None
    ) -> None:
        self.spec, self._root = spec, root
        places = _places(spec, root)
        self.split = choose_split(spec, [name for name in places if name != "all"], split, default_split)
        self._pairs = _paired(spec, root, *places[self.split])
        own_first = {self.split: places[self.split], **places}
        named, extents = _class_names(spec, root / _NAMES), _extents(spec, root, own_first)
        if len(named) > 1:
            check_two_classes(spec, extents)
        self.classes = named or numbered_classes(spec, extents)
        self._mappable = not named or num_classes in (None, len(named))

    def __len__(self) -> int:
        return len(self._pairs)

    def name(self, index: int) -> str:
        """The image's path from the folder on, as it may be shown."""
        return printable(self._pairs[index][0])

    def label(self, index: int) -> int | None:
        """None: the image's pixels have classes, not the image."""
        return None

    def content(self, index: int) -> bytes:
        """The image file's bytes.

        Raises:
            DataError: when the file can't be read any more.
        """
        path = self._root / self._pairs[index][0]
        return read_image(path, str(path))

    def image(self, index: int) -> Image.Image:
        """The image in RGB; see `decode.to_rgb` for other modes.

        Raises:
            DataError: when the file can't be read or decoded.
        """
        return decode(self.content(index), str(self._root / self._pairs[index][0]))

    def mask(self, index: int) -> Image.Image | None:
        """The class of every pixel, grey; None where the model has other classes.

        Raises:
            DataError: when the file can't be read or decoded.
        """
        return _read_mask(self._root / self._pairs[index][1]) if self._mappable else None


def _holds_both(names: Sequence[str]) -> bool:
    return _IMAGES in names and _MASKS in names


def _places(spec: str, root: Path) -> dict[str, tuple[str, str]]:
    """The folders of images and of masks of each split, from `root` on; of `all` where there are no splits."""
    children = child_folders(spec, root)
    if not _holds_both(children):
        return _places_by_split(spec, root, children)
    if beside := next((name for name in children if name in SPLIT_NAMES), None):
        raise DataError(
            f"data {spec!r}: {root / beside} lies beside {_IMAGES} and {_MASKS}, where splits are read from; move its "
            f"images to {root / _IMAGES / beside} and its masks to {root / _MASKS / beside}, or it away"
        )
    inside = child_folders(spec, root / _IMAGES)
    if not inside or not all(name in SPLIT_NAMES for name in inside):
        return {"all": (_IMAGES, _MASKS)}
    masked = child_folders(spec, root / _MASKS)
    for name in inside:
        if name not in masked:
            raise DataError(f"data {spec!r}: its split {name!r} has images, but there is no {root / _MASKS / name}")
    for name in masked:
        if name not in inside:
            raise DataError(f"data {spec!r}: there is {root / _MASKS / name}, but no {root / _IMAGES / name}")
    for kind in (_IMAGES, _MASKS):
        for path in sorted((root / kind).iterdir()):
            if path.suffix.lower() in KINDS and not path.name.startswith("."):
                raise DataError(
                    f"data {spec!r}: {path} lies beside the folders of splits ({', '.join(inside)}); move it into one"
                )
    return {name: (f"{_IMAGES}/{name}", f"{_MASKS}/{name}") for name in inside}


def _places_by_split(spec: str, root: Path, splits: Sequence[str]) -> dict[str, tuple[str, str]]:
    for name in splits:
        if not _holds_both(child_folders(spec, root / name)):
            raise DataError(f"data {spec!r}: its split {name!r} must have the folders images and masks")
    return {name: (f"{name}/{_IMAGES}", f"{name}/{_MASKS}") for name in splits}


def _paired(spec: str, root: Path, images: str, masks: str) -> tuple[Pair, ...]:
    """Each image with its mask, in the natural order of the images."""
    found = {_stem(file): file for file in list_images(spec, root / masks).files}
    pairs: dict[str, Pair] = {}
    for file in list_images(spec, root / images).files:
        stem = _stem(file)
        if stem in pairs:
            raise DataError(
                f"data {spec!r}: {root / images / file} and {root / pairs[stem][0]} have one name; rename one"
            )
        if stem not in found:
            raise DataError(f"data {spec!r}: {root / images / file} has no mask {root / masks / stem}.png")
        if not found[stem].lower().endswith(".png"):
            raise DataError(f"data {spec!r}: {root / masks / found[stem]} must be a PNG, which keeps class numbers")
        pairs[stem] = (f"{images}/{file}", f"{masks}/{found[stem]}")
    for stem in found:
        if stem not in pairs:
            raise DataError(f"data {spec!r}: {root / masks / found[stem]} has no image {root / images / stem}.jpg")
    if not pairs:
        raise DataError(f"data {spec!r}: no images in {root / images}")
    return tuple(pairs.values())


def _stem(file: str) -> str:
    return os.path.splitext(file)[0]


def _class_names(spec: str, path: Path) -> tuple[str, ...]:
    """The names of a file, one a line; empty where there is none."""
    try:
        lines = read_regular(path, _MOST_BYTES).decode().splitlines()
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:  # what is no UTF-8 is a ValueError
        raise DataError(f"data {spec!r}: {path} can't be read: {getattr(error, 'strerror', None) or error}") from error
    names = tuple(printable(line.strip()) for line in lines)
    if not names or "" in names or len(set(names)) < len(names) or len(names) > IGNORED:
        raise DataError(f"data {spec!r}: {path} must name 1 to {IGNORED} different classes, one a line")
    return names


def numbered_classes(spec: str, extents: Iterable[tuple[int, int]]) -> tuple[str, ...]:
    """`class 0` to the largest in any mask.

    Args:
        spec: the data spec, for messages.
        extents: `class_extent` of each mask.

    Raises:
        DataError: where all pixels that count are of one class, as where the second was saved as `IGNORED`.
    """
    smallest, largest = IGNORED, 0
    for low, high in extents:
        smallest, largest = min(smallest, low), max(largest, high)
    if smallest >= largest:
        raise _of_one_class(spec, smallest, largest)
    return tuple(f"class {number}" for number in range(largest + 1))


def check_two_classes(spec: str, extents: Iterable[tuple[int, int]]) -> None:
    """Refuses masks that have one class alone; takes no more of them than show a second.

    Args:
        spec: the data spec, for messages.
        extents: `class_extent` of each mask.

    Raises:
        DataError: as `numbered_classes`.
    """
    smallest, largest = IGNORED, 0
    for low, high in extents:
        smallest, largest = min(smallest, low), max(largest, high)
        if smallest < largest:
            return
    raise _of_one_class(spec, smallest, largest)


def _of_one_class(spec: str, smallest: int, largest: int) -> DataError:
    had = f"only class {largest}" if smallest == largest else "no class"
    return DataError(
        f"data {spec!r}: its masks have {had} and {IGNORED}, which is ignored; save the second class as "
        f"{int(largest == 0)}"
    )


def class_extent(mask: Image.Image) -> tuple[int, int]:
    """The smallest and the largest class in a mask; `IGNORED` and 0 where no pixel counts.

    Args:
        mask: from `decode_mask`.
    """
    values = np.asarray(mask)
    counted = values[values != IGNORED]
    return int(counted.min(initial=IGNORED)), int(counted.max(initial=0))


def _extents(spec: str, root: Path, places: Mapping[str, tuple[str, str]]) -> Iterator[tuple[int, int]]:
    """Of the masks of all splits, so that all splits have the same classes; each is read when it is asked for."""
    for place in places.values():
        for _, mask in _paired(spec, root, *place):
            path = root / mask
            told = path.stat() if path.exists() else None
            yield _extent(path, (told.st_mtime_ns, told.st_size) if told else None)


@functools.lru_cache(maxsize=2**17)  # both splits of a training are opened, and by each model of a run
def _extent(path: Path, written: tuple[int, int] | None) -> tuple[int, int]:
    """`class_extent` of a file; `written` tells one that was changed from what it was."""
    return class_extent(_read_mask(path))


def _read_mask(path: Path) -> Image.Image:
    return decode_mask(read_image(path, str(path), "mask"), str(path))
