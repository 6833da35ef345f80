"""Data sets that torchvision and Hugging Face `datasets` know by name, opened through timm's `create_dataset`."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from timm.data.dataset_factory import create_dataset

from visionscope.core.printable import printable
from visionscope.data.decode import decode, read_image, to_rgb
from visionscope.data.specs import TORCH_NAMES, torch_splits
from visionscope.data.splits import choose_split
from visionscope.errors import DataError, nearest

_NEED_FOLDERS = ("imagenet",)


class TorchSource:
    """A torchvision data set, as `torch/cifar100`; what isn't on disk yet is downloaded.

    Args:
        spec: the data spec, for messages.
        name: one of timm's names of torchvision data sets.
        split: the split that the user named, or None.
        default_split: see `choose_split`.
        root: the folder that holds the data or takes the download.
        num_classes: classes that the model knows, or None; where the data set has another number, all labels are None.

    Raises:
        DataError: for an unknown name, a wrong split, or data that can neither be found nor fetched.
    """

    def __init__(
        self,
        spec: str,
        name: str,
        split: str | None,
        *,
        default_split: str = "test",
        root: Path,
        num_classes: int | None = None,
    ) -> None:
        if name not in TORCH_NAMES:
            raise DataError(f"data {spec!r}: timm has no torchvision data set {name!r}.{nearest(name, TORCH_NAMES)}")
        self.spec = spec
        self.split = choose_split(spec, torch_splits(name), split, default_split)
        with _one_line(spec, root):
            try:
                self._data = _create_torch(name, root, self.split, download=False)
            # Each torchvision class raises its own kind of error for data that isn't there yet.
            except Exception:
                if name in _NEED_FOLDERS:
                    raise
                root.mkdir(parents=True, exist_ok=True)
                self._data = _create_torch(name, root, self.split, download=True)
        self.classes: tuple[str, ...] = tuple(printable(str(name)) for name in getattr(self._data, "classes", ()))
        self._mappable = not self.classes or num_classes in (None, len(self.classes))
        targets = getattr(self._data, "targets", None)
        self._targets = [int(target) for target in targets] if targets is not None else None

    def __len__(self) -> int:
        return len(self._data)

    def name(self, index: int) -> str:
        """The data set, its split and the image's number."""
        return f"{self.spec} {self.split} image {index}"

    def label(self, index: int) -> int | None:
        """The class of the image, or None where the model has other classes.

        Raises:
            DataError: when the image must be read for it and can't be.
        """
        if not self._mappable:
            return None
        return self._targets[index] if self._targets is not None else int(self._get(index)[1])

    def content(self, index: int) -> bytes:
        """Mode, size and pixels, since torchvision hides the files.

        Raises:
            DataError: when the image can't be read.
        """
        image = self._get(index)[0]
        return f"{image.mode} {image.width} {image.height} ".encode() + image.tobytes()

    def image(self, index: int) -> Image.Image:
        """The image in RGB; see `decode.to_rgb` for other modes.

        Raises:
            DataError: when the image can't be read.
        """
        return to_rgb(self._get(index)[0], self.name(index))

    def _get(self, index: int) -> tuple[Image.Image, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} images")
        try:
            image, target = self._data[index]
            image.load()
        # The data set's own loader raises whatever its decoder does.
        except Exception as error:
            raise DataError(f"image {self.name(index)} can't be read: {_first_line(error)}") from error
        return image, target


class HuggingFaceSource:
    """A data set for Hugging Face `datasets`, as `hfds/uoft-cs/cifar100`: a name on the hub or a local folder.

    Args:
        spec: the data spec, for messages.
        name: what `datasets.load_dataset` takes.
        split: the split that the user named, or None.
        default_split: see `choose_split`.
        root: the cache folder, or None for that of `datasets`.
        image_column: the column of images; by default the first that the data set calls an image.
        label_column: the column of labels; by default the first that it calls a class label.
        num_classes: classes that the model knows, or None; where the data set has another number, all labels are None.

    Raises:
        DataError: for a wrong split or column, or data that can neither be found nor fetched.
    """

    def __init__(
        self,
        spec: str,
        name: str,
        split: str | None,
        *,
        default_split: str = "test",
        root: Path | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        num_classes: int | None = None,
    ) -> None:
        import datasets

        # Older versions of the library would ask whether to run a script that comes with the data.
        datasets.config.HF_DATASETS_TRUST_REMOTE_CODE = False
        self.spec = spec
        cache = None if root is None else str(root)
        if Path(name).is_dir():
            _refuse_pipes(spec, Path(name))
        self._roots = _data_roots(name, cache)
        with _one_line(spec, root):
            available = datasets.get_dataset_split_names(name)
        self.split = choose_split(spec, available, split, default_split)
        with _one_line(spec, root):
            # timm has to be told the columns, which are known once the data are there; it then finds them in the cache.
            features = datasets.load_dataset(name, split=self.split, cache_dir=cache, trust_remote_code=False).features
        image_column = _column(spec, "image_column", image_column, features, "Image") or "image"
        label_column = _column(spec, "label_column", label_column, features, "ClassLabel") or "label"
        if image_column not in features:
            raise DataError(
                f"data {spec!r} has no image column among: {', '.join(features)}; name it with image_column"
            )
        with _one_line(spec, root):
            data = create_dataset(
                f"hfds/{name}",
                root=cache,
                split=self.split,
                input_key=image_column,
                target_key=label_column,
                trust_remote_code=False,
            )
        self._reader = data.reader
        order: dict[str, int] = self._reader.class_to_idx
        self.classes: tuple[str, ...] = tuple(map(printable, sorted(order, key=order.__getitem__)))
        self._mappable = not self.classes or num_classes in (None, len(self.classes))

    def __len__(self) -> int:
        return len(self._reader)

    def name(self, index: int) -> str:
        """The data set, its split and the row."""
        return f"{self.spec} {self.split} row {index}"

    def label(self, index: int) -> int | None:
        """The class of the image, None where it is -1 ("not labelled") or missing.

        Raises:
            DataError: when the label is beyond the named classes, or no number.
        """
        value = self._reader.dataset[index].get(self._reader.label_key)
        if value is None or value == -1 or not self._mappable:
            return None
        if not isinstance(value, int) or not 0 <= value < (len(self.classes) or value + 1):
            raise DataError(
                f"label {value} of {self.name(index)} is out of range: it must be 0 to {len(self.classes) - 1}"
            )
        return value

    def content(self, index: int) -> bytes:
        """The image file's bytes.

        Raises:
            DataError: when the row can't be read.
        """
        try:
            cell = self._reader.dataset[index][self._reader.image_key] or {}
            content, path = cell.get("bytes"), cell.get("path")
        # A row that is broken raises whatever Arrow and the library's own decoders do.
        except Exception as error:
            raise DataError(f"image {self.name(index)} can't be read: {_first_line(error)}") from error
        if isinstance(content, bytes) and content:
            return content
        if not path:
            raise DataError(f"image {self.name(index)} is missing: its row is empty there")
        place = Path(str(path))
        if not any(place.resolve().is_relative_to(root) for root in self._roots):
            raise DataError(f"image {self.name(index)} points to {str(path)[:80]!r}, which is outside of its data")
        return read_image(place, f"{self.name(index)} points to {path}, which")

    def image(self, index: int) -> Image.Image:
        """The image in RGB; see `decode.to_rgb` for other modes.

        Raises:
            DataError: when the row can't be read or decoded.
        """
        return decode(self.content(index), self.name(index))


def _data_roots(name: str, cache: str | None) -> list[Path]:
    """Where the files of a data set may lie: its own folder, or where the hub's are kept."""
    import datasets
    import huggingface_hub.constants

    places = [datasets.config.HF_DATASETS_CACHE, huggingface_hub.constants.HF_HUB_CACHE, cache]
    places += [name] if Path(name).is_dir() else []
    return [Path(place).resolve() for place in places if place is not None]


def _refuse_pipes(spec: str, folder: Path) -> None:
    """The library would wait for a pipe and read a device without end."""
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            place = Path(parent) / name
            try:
                mode = place.stat().st_mode
            except OSError as error:
                raise DataError(f"data {spec!r}: {place} can't be accessed: {error.strerror}") from error
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise DataError(f"data {spec!r}: {place} is neither a folder nor a file; remove it")


def _create_torch(name: str, root: Path, split: str, *, download: bool) -> Any:
    return create_dataset(f"torch/{name}", root=str(root), split=split, download=download)


def _column(spec: str, parameter: str, given: str | None, features: Any, kind: str) -> str | None:
    if given is not None:
        if given not in features:
            raise DataError(f"{parameter} must be a column of {spec!r}, not {given!r}.{nearest(given, list(features))}")
        return given
    found = [name for name, feature in features.items() if type(feature).__name__ == kind]
    return found[0] if found else None


@contextmanager
def _one_line(spec: str, root: Path | None) -> Iterator[None]:
    """Turns whatever a missing network or data set raises into one line that says what to do instead."""
    try:
        yield
    except Exception as error:
        place = f" and isn't complete in {root}" if root is not None else ""
        raise DataError(
            f"data {spec!r} can't be fetched{place} ({_first_line(error)}); "
            "give a folder of class folders, a folder of Parquet files, or 'embedded'"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
