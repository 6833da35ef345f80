"""The published corrupted images, CIFAR-10-C, CIFAR-100-C and ImageNet-C."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visionscope.core.files import open_regular, user_path
from visionscope.data.corruption_types import SEVERITIES
from visionscope.data.folder import FolderSource
from visionscope.data.listing import child_folders
from visionscope.data.sources import Source
from visionscope.errors import DataError

_LEVELS = len(SEVERITIES)
_GROUPS = ("", "blur", "digital", "noise", "weather")
_AT_ONCE = 1000  # images that are hashed together


class ArraySet:
    """CIFAR-10-C or CIFAR-100-C: an array of 8-bit images for each type, severity after severity, and their labels.

    `TYPE.npy` has the shape (5 n, row, column, 3), `labels.npy` (5 n,), five times the same n labels.

    Args:
        root: the folder.
        types: which are wanted.
        num_classes: classes that the model knows, or None where labels are not asked for.

    Raises:
        DataError: for a missing file, a wrong shape, and labels that don't fit.
    """

    is_tree = False

    def __init__(self, root: Path, types: Sequence[str], num_classes: int | None) -> None:
        self._arrays = {kind: _array(root, kind) for kind in types}
        first, *others = types
        shape = self._arrays[first].shape
        for kind in types:
            array = self._arrays[kind]
            wrong = array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8 or len(array) % _LEVELS
            if wrong or not array.size:
                raise DataError(
                    f"corruption.folder: {root / kind}.npy must hold 8-bit images (5 n, height, width, 3), severity "
                    f"after severity; it holds {array.dtype} {array.shape}"
                )
        for kind in others:
            if self._arrays[kind].shape != shape:
                raise DataError(
                    f"corruption.folder: {root / kind}.npy must be shaped as {first}.npy, {shape}; "
                    f"it is {self._arrays[kind].shape}"
                )
        self._labels = np.asarray(_array(root, "labels"))
        self._check_labels(root, shape[0], num_classes)
        self._root = root

    def source(self, kind: str, severity: int) -> Source:
        """The images of one type and severity."""
        count = len(self._labels) // _LEVELS
        first = (severity - 1) * count
        array = self._arrays[kind][first : first + count]
        return ArraySource(f"{self._root / kind}.npy", str(severity), array, self._labels[:count])

    def fingerprint(self) -> str:
        """Identifies the set by its labels and all bytes of the wanted types; seconds for all of CIFAR-10-C."""
        digest = hashlib.sha256(self._labels.astype("<i8").tobytes())
        for kind, array in self._arrays.items():
            digest.update(f"{kind} {array.shape} ".encode())
            for first in range(0, len(array), _AT_ONCE):
                digest.update(array[first : first + _AT_ONCE].tobytes())
        return digest.hexdigest()

    def _check_labels(self, root: Path, images: int, num_classes: int | None) -> None:
        labels, place = self._labels, root / "labels.npy"
        if labels.shape != (images,) or labels.dtype.kind not in "iu":
            raise DataError(
                f"corruption.folder: {place} must hold {images} whole numbers, a label for each image; "
                f"it holds {labels.dtype} {labels.shape}"
            )
        if not (labels.reshape(_LEVELS, -1) == labels[: images // _LEVELS]).all():
            raise DataError(f"corruption.folder: {place} must be five times the same labels, once for each severity")
        if labels.min() < 0 or (num_classes is not None and labels.max() >= num_classes):
            raise DataError(
                f"corruption.folder: labels must be 0 to the classes of the model's head ({num_classes}) less 1; "
                f"{place} holds {labels.min()} to {labels.max()}"
            )


class ArraySource:
    """The images of one type and severity in an array.

    Args:
        spec: the array's file.
        split: the severity.
        images: (image, row, column, 3).
        labels: (image,).
    """

    classes: tuple[str, ...] = ()

    def __init__(self, spec: str, split: str, images: NDArray[np.uint8], labels: NDArray[Any]) -> None:
        self.spec, self.split = spec, split
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> Image.Image:
        """The image."""
        return Image.fromarray(np.ascontiguousarray(self._images[index]))

    def label(self, index: int) -> int | None:
        """Its class index."""
        return int(self._labels[index])

    def name(self, index: int) -> str:
        """File, severity and number."""
        return f"{self.spec} severity {self.split} image {index}"

    def content(self, index: int) -> bytes:
        """Its pixels, row by row in RGB."""
        return bytes(self._images[index].tobytes())


class FolderSet:
    """ImageNet-C: `TYPE/SEVERITY/CLASS/*.JPEG`, or the same inside the folders blur, digital, noise and weather.

    Args:
        root: the folder.
        types: which are wanted.
        severities: which are wanted.
        num_classes: classes that the model knows, or None where labels are not asked for.

    Raises:
        DataError: for a missing folder or file, and classes that the model doesn't know.
    """

    is_tree = True

    def __init__(self, root: Path, types: Sequence[str], severities: Sequence[int], num_classes: int | None) -> None:
        self._num_classes = num_classes
        self._places = {kind: _type_folder(root, kind) for kind in types}
        self._severities = tuple(severities)
        whole: dict[str, dict[str, int]] | None = None
        digest = hashlib.sha256()
        for kind, place in self._places.items():
            for severity in severities:
                files = _files(place / str(severity))
                whole = whole or files
                _compare(files, whole, place / str(severity))
                for name, inside in files.items():
                    digest.update(os.fsencode(f"{kind} {severity} {name} {sorted(inside.items())} "))
        self._digest = digest.hexdigest()
        if not whole or not any(whole.values()):
            raise DataError(f"corruption.folder: no class folders with images in {self._places[types[0]]}/1")
        source = self.source(types[0], self._severities[0])
        unknown = [source.name(index) for index in range(len(source)) if source.label(index) is None]
        if unknown:
            raise DataError(
                f"corruption.folder: labels must be classes of this model's head of {num_classes}; "
                f"{Path(unknown[0]).parent.name} is not one"
            )

    def source(self, kind: str, severity: int) -> Source:
        """The images of one type and severity."""
        place = self._places[kind] / str(severity)
        return FolderSource(str(place), place, None, num_classes=self._num_classes)

    def fingerprint(self) -> str:
        """Identifies the set by the names and sizes of all files, since reading ImageNet-C takes hours.

        A file that changes and keeps its size goes unnoticed here; the table's column `sample` tells it apart.
        """
        return self._digest


def open_published(
    folder: str, types: Sequence[str], severities: Sequence[int], num_classes: int | None
) -> ArraySet | FolderSet:
    """Opens a published set and checks that all that is asked of it is there, without reading the images.

    Args:
        folder: where it lies.
        types: which are wanted.
        severities: which are wanted.
        num_classes: classes that the model knows, or None where labels are not asked for.

    Raises:
        DataError: for a missing file or folder, a wrong shape, and labels that don't fit.
    """
    root = user_path("corruption.folder", folder)
    if not root.is_dir():
        raise DataError(f"corruption.folder: must be an existing folder; got {folder!r}")
    if any(root.glob("*.npy")):
        return ArraySet(root, types, num_classes)
    return FolderSet(root, types, severities, num_classes)


def _array(root: Path, name: str) -> NDArray[Any]:
    path = root / f"{name}.npy"
    try:
        open_regular(path).close()
        # Not numpy.load, which would open archives and pickles, too; what is mapped is read when it is asked for.
        with np.errstate(over="raise"):
            found: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise DataError(f"corruption.folder: there is no {path}; name a folder that has it, or fewer types") from None
    # A header is a Python expression, and what it declares may overflow: numpy raises many kinds of errors.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"corruption.folder: {path} can't be read as an array: {reason}") from error
    return found


def _type_folder(root: Path, kind: str) -> Path:
    for group in _GROUPS:
        if (root / group / kind).is_dir():
            return root / group / kind
    raise DataError(
        f"corruption.folder: there is no {root / kind} (nor in {', '.join(_GROUPS[1:])}), and no {kind}.npy; name a "
        "folder that has it, or fewer types"
    )


def _files(place: Path) -> dict[str, dict[str, int]]:
    """The names of the files in each class folder, and their sizes in bytes."""
    if not place.is_dir():
        raise DataError(f"corruption.folder: there is no {place}; name a folder that has it, or fewer severities")
    return {name: _sizes(place / name) for name in child_folders(str(place), place)}


def _sizes(folder: Path) -> dict[str, int]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if not entry.name.startswith(".")}
    except OSError as error:
        raise DataError(f"corruption.folder: {folder} can't be read: {error.strerror}") from error


def _compare(files: dict[str, dict[str, int]], whole: dict[str, dict[str, int]], place: Path) -> None:
    for name in sorted({*files, *whole}):
        own, other = set(files.get(name, ())), set(whole.get(name, ()))
        if own != other:
            odd = min(own ^ other)
            raise DataError(
                f"corruption.folder: every type and severity must hold the same files; {place} "
                f"{'lacks' if odd in other else 'alone has'} {name}/{odd}"
            )
