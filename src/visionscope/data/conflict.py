"""Cue-conflict images: the shape of one class in the texture of another (Geirhos et al. 2019)."""

import hashlib
import os
import re
from pathlib import Path

from PIL import Image

from visionscope.core.files import user_path
from visionscope.core.printable import printable
from visionscope.data.decode import decode, read_image
from visionscope.data.listing import child_folders, list_images
from visionscope.data.sources import Source, open_source
from visionscope.errors import DataError, NotApplicableError

IMAGENET = 1000
_ENDINGS = (".png", ".jpg", ".jpeg")
_NAME = re.compile(r"(?P<shape>.+?)\d*-(?P<texture>.+?)\d*")


def _ranges(text: str) -> tuple[int, ...]:
    ends = (part.partition("-")[::2] for part in text.split())
    return tuple(index for first, last in ends for index in range(int(first), int(last or first) + 1))


ENTRY_LEVEL = {
    "airplane": _ranges("404"),
    "bear": _ranges("294-297"),
    "bicycle": _ranges("444 671"),
    "bird": _ranges("8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145"),
    "boat": _ranges("472 554 625 814 914"),
    "bottle": _ranges("440 720 737 898-899 901 907"),
    "car": _ranges("436 511 817"),
    "cat": _ranges("281-286"),
    "chair": _ranges("423 559 765 857"),
    "clock": _ranges("409 530 892"),
    "dog": _ranges("152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268"),
    "elephant": _ranges("385-386"),
    "keyboard": _ranges("508 878"),
    "knife": _ranges("499"),
    "oven": _ranges("766"),
    "truck": _ranges("555 569 656 675 717 734 864 867"),
}
"""The 207 classes of ImageNet-1k, by index, that belong to the 16 entry-level classes (rgeirhos/texture-vs-shape)."""


class ConflictFolder:
    """A folder in the layout of texture-vs-shape: `SHAPE/SHAPE1-TEXTURE2.png`, a folder for each shape.

    The label is the shape; `texture` gives the class that the texture comes from. As in the paper, images whose shape
    and texture are of the same class are left out. Classes are the 16 entry-level ones where the network knows
    ImageNet's 1,000, and elsewhere the folders in the order of their names, which the head must have as many of.

    Args:
        root: the folder.
        num_classes: classes that the model knows, or None where unknown.

    Raises:
        DataError: for a folder that is not there or has no such images, a file named otherwise.
        NotApplicableError: for a head whose classes are neither.
    """

    split = "conflict"

    def __init__(self, root: str, num_classes: int | None) -> None:
        self.spec = root
        self._root = _folder(root)
        folders = child_folders(root, self._root)
        self._files = [(path, _cues(path, folders)) for path in _images(self._root, folders)]
        self._files = [(path, cues) for path, cues in self._files if cues[0] != cues[1]]
        if not self._files:
            raise DataError(
                f"shape_bias.folder: no cue-conflict images in {root}; they are named SHAPE/SHAPE1-TEXTURE2.png"
            )
        entry_level = set(folders) <= set(ENTRY_LEVEL)
        self._place = {name: index for index, name in enumerate(ENTRY_LEVEL if entry_level else folders)}
        self.classes = tuple(map(printable, self._place))
        known = {IMAGENET, len(ENTRY_LEVEL)} if entry_level else {len(folders)}
        if num_classes not in known:
            raise NotApplicableError(
                f"shape_bias.folder: the head must have {' or '.join(map(str, sorted(known)))} classes for these "
                f"images; it has {'an unknown number' if num_classes is None else num_classes}"
            )

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """The file's path from the folder on, as it may be shown."""
        return printable(str(self._files[index][0].relative_to(self._root)))

    def label(self, index: int) -> int | None:
        """The shape's class index."""
        return self._place[self._files[index][1][0]]

    def texture(self, index: int) -> int:
        """The class index that the texture belongs to."""
        return self._place[self._files[index][1][1]]

    def content(self, index: int) -> bytes:
        """The file's bytes.

        Raises:
            DataError: when the file can't be read any more.
        """
        path = self._files[index][0]
        return read_image(path, str(path))

    def image(self, index: int) -> Image.Image:
        """The image in RGB.

        Raises:
            DataError: when the file can't be read or decoded.
        """
        return decode(self.content(index), str(self._files[index][0]))


def open_conflict(folder: str, spec: str, num_classes: int | None) -> Source:
    """The cue-conflict images of a folder, or of the embedded data where the study is about these.

    Args:
        folder: in the layout of texture-vs-shape, or empty.
        spec: the study's data spec.
        num_classes: classes that the model knows, or None where unknown.

    Raises:
        DataError: for a folder without such images.
        NotApplicableError: without such images for these data, and for a head with other classes.
    """
    if folder:
        return ConflictFolder(folder, num_classes)
    if spec.partition(":")[0] != "embedded":
        raise NotApplicableError(
            "shape_bias.folder: must name a folder of cue-conflict images in the layout of texture-vs-shape, since "
            f"data {spec!r} has none of its own (embedded has)"
        )
    source = open_source("embedded:conflict", num_classes=num_classes)
    if num_classes not in (None, len(source.classes)):
        raise NotApplicableError(
            f"shape_bias: the head must have the {len(source.classes)} classes of the embedded data; "
            f"it has {num_classes}"
        )
    return source


def names_digest(folder: str) -> str:
    """Identifies the names of a folder's images, which tell shapes and textures.

    Args:
        folder: in the layout of texture-vs-shape.

    Raises:
        DataError: when it is not there.
    """
    root = _folder(folder)
    names = [str(path.relative_to(root)) for path in _images(root, child_folders(folder, root))]
    return hashlib.sha256(os.fsencode("\n".join(names))).hexdigest()


def _folder(text: str) -> Path:
    root = user_path("shape_bias.folder", text)
    if not root.is_dir():
        raise DataError(f"shape_bias.folder: must be an existing folder; got {text!r}")
    return root


def _images(root: Path, folders: list[str]) -> list[Path]:
    found = []
    for folder in folders:
        inside = (name for name in list_images(str(root), root / folder).files if os.sep not in name)
        found += [root / folder / name for name in sorted(inside) if name.lower().endswith(_ENDINGS)]
    return found


def _cues(path: Path, folders: list[str]) -> tuple[str, str]:
    """Shape and texture that a file's name tells."""
    match = _NAME.fullmatch(path.stem)
    if match is None or match["shape"] != path.parent.name or match["texture"] not in folders:
        raise DataError(
            f"shape_bias.folder: images must be named SHAPE/SHAPE1-TEXTURE2.png after the folders "
            f"{', '.join(folders)}; got {path.parent.name}/{path.name}"
        )
    return match["shape"], match["texture"]
