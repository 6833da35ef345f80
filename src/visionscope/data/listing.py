"""Which image files lie in a folder: all of them or an error, whatever else lies there."""

import dataclasses
import os
import re
import stat
from pathlib import Path

from visionscope.errors import DataError

KINDS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
_UNREAD = (
    ".avif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".svg", ".tga", ".dng", ".cr2", ".nef", ".arw",
)  # fmt: skip
_DEEPEST = 32  # folders below each other


@dataclasses.dataclass(frozen=True)
class Listing:
    """What lies in a folder.

    Attributes:
        files: paths from the folder on, in natural order ("class2" before "class10").
        folders: paths from the folder on, of all folders in it that aren't hidden and have no folders in them.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...]


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sorts names as timm does: without regard to case, and runs of digits as numbers; equal ones by their characters.

    Args:
        name: of a file or a folder.
    """
    pieces = re.split(r"(\d+)", name.lower())
    return [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)], name


def list_images(spec: str, root: Path) -> Listing:
    """Lists the image files in a folder and all folders below it, links followed.

    Args:
        spec: the data spec, for messages.
        root: the folder.

    Raises:
        DataError: for what would leave images out in silence or never end: a folder that can't be read, one that is
            reached twice, a link to nowhere, an image's name on something that is no file, and images of a kind that
            isn't read.
    """
    files: list[str] = []
    leaves: list[str] = []
    seen: dict[tuple[int, int], str] = {}
    waiting = [("", 0)]
    while waiting:
        inside, depth = waiting.pop()
        _refuse_again(spec, root, inside, depth, seen)
        folders = []
        for entry in _entries(spec, root / inside):
            place = os.path.join(inside, entry.name)
            if _is_folder(spec, entry):
                folders.append(place)
            elif entry.name.lower().endswith(KINDS):
                _check_file(spec, entry)
                files.append(place)
            elif entry.name.lower().endswith(_UNREAD):
                raise DataError(
                    f"data {spec!r}: {root / place} is of a kind of image that is not read ({', '.join(KINDS)} are); "
                    "convert it or remove it"
                )
        if not folders:
            leaves.append(inside)
        waiting += [(folder, depth + 1) for folder in folders]
    return Listing(tuple(sorted(files, key=natural_key)), tuple(sorted(leaves, key=natural_key)))


def child_folders(spec: str, root: Path) -> list[str]:
    """The names of the folders in a folder, but for hidden ones.

    Args:
        spec: the data spec, for messages.
        root: the folder.

    Raises:
        DataError: when it can't be read.
    """
    return sorted(entry.name for entry in _entries(spec, root) if _is_folder(spec, entry))


def _entries(spec: str, folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(
            f"data {spec!r}: folder {folder} can't be read: {error.strerror}; leaving it out would change the data"
        ) from error


def _is_folder(spec: str, entry: "os.DirEntry[str]") -> bool:
    try:
        if entry.is_symlink():
            entry.stat()  # a link to nowhere may have been a class, on a disk that is away
        return entry.is_dir()
    except OSError as error:
        raise DataError(f"data {spec!r}: {entry.path} can't be read: {error.strerror}") from error


def _check_file(spec: str, entry: "os.DirEntry[str]") -> None:
    """An image's name on a pipe, a device or a link to nowhere."""
    try:
        if entry.is_file():
            return
        mode = entry.stat().st_mode
    except OSError as error:
        raise DataError(f"data {spec!r}: image {entry.path} can't be read: {error.strerror}") from error
    kind = "named pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
    raise DataError(f"data {spec!r}: image {entry.path} is a {kind}, not a file; remove it")


def _refuse_again(spec: str, root: Path, inside: str, depth: int, seen: dict[tuple[int, int], str]) -> None:
    """A folder that holds a link to itself would be read for ever, and one under two names counts its images twice."""
    try:
        found = (root / inside).stat()
    except OSError as error:
        raise DataError(f"data {spec!r}: folder {root / inside} can't be accessed: {error.strerror}") from error
    key = (found.st_dev, found.st_ino)
    if key in seen:
        raise DataError(
            f"data {spec!r}: {root / inside} is a link to {root / seen[key]}, whose images would count twice; "
            "remove the link"
        )
    if depth > _DEEPEST:
        raise DataError(f"data {spec!r}: {root / inside} lies more than {_DEEPEST} folders deep")
    seen[key] = inside
