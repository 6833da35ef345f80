"""Where images come from: one function that opens a data spec, and the protocol that every source obeys."""

import os
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from visionscope.data.embedded import EmbeddedSource
from visionscope.data.folder import FolderSource
from visionscope.data.packaged import TORCH_NAMES, HuggingFaceSource, TorchSource
from visionscope.data.parquet import ParquetSource, is_parquet
from visionscope.errors import DataError, nearest

_DEFAULT_SIZE = 32
_STREAMS = ("hfids", "tfds", "wds")


class Source(Protocol):
    """Images with labels, read one by one; images and labels are checked when they are read, not before.

    Attributes:
        spec: what the user wrote.
        split: the split that was opened; `all` where there are none.
        classes: the names of the classes, empty where unknown.
    """

    spec: str
    split: str
    classes: tuple[str, ...]

    def __len__(self) -> int: ...

    def image(self, index: int) -> Image.Image:
        """The image in RGB."""

    def label(self, index: int) -> int | None:
        """Its class index, or None where it has none that the model knows."""

    def name(self, index: int) -> str:
        """File or row, as errors name it."""

    def content(self, index: int) -> bytes:
        """The bytes that identify the image."""


def open_source(
    spec: str,
    *,
    default_split: str = "test",
    size: int | None = None,
    seed: int = 0,
    num_classes: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    root: str | os.PathLike[str] | None = None,
) -> Source:
    """Opens a data spec.

    `embedded[:train|val|test|conflict]`, `torch/NAME[:SPLIT]`, `hfds/NAME[:SPLIT]`, or `PATH[:SPLIT]` of a folder of
    class folders, a folder of images, or a folder of Parquet files in the Hugging Face layout.

    Args:
        spec: the data spec.
        default_split: taken when the spec names none; where `test` is missing, a validation split stands in.
        size: pixels per side of embedded images, 32 by default.
        seed: of embedded images.
        num_classes: classes of the model that the labels are for; chooses among timm's ImageNet tables for folders
            named by WordNet id, and makes labels None where the source has another number of classes.
        image_column: of Parquet and Hugging Face data, where it can't be told from the schema.
        label_column: of Parquet and Hugging Face data, where it can't be told from the schema.
        root: folder for data that torchvision or Hugging Face download; VISIONSCOPE_DATA or ~/.cache/visionscope by
            default.

    Raises:
        DataError: for a spec that names nothing, a wrong split, data that can't be fetched, and sources without images.
    """
    head, wanted = _divide(spec)
    if head == "embedded":
        return EmbeddedSource(
            spec,
            wanted or default_split,
            size=_DEFAULT_SIZE if size is None else size,
            seed=seed,
            num_classes=num_classes,
        )
    columns: dict[str, Any] = {"image_column": image_column, "label_column": label_column}
    prefix, _, name = head.partition("/")
    if prefix.lower() == "torch" and name:
        place = Path(root or os.environ.get("VISIONSCOPE_DATA") or "~/.cache/visionscope").expanduser()
        return TorchSource(spec, name.lower(), wanted, default_split=default_split, root=place, num_classes=num_classes)
    if prefix.lower() == "hfds" and name:
        cache = None if root is None else Path(root)
        return HuggingFaceSource(
            spec, name, wanted, default_split=default_split, root=cache, num_classes=num_classes, **columns
        )
    if prefix.lower() in _STREAMS and name:
        raise DataError(
            f"data {spec!r} is a stream, but a frozen sample needs random access; use hfds/, torch/ or a folder"
        )
    path = Path(head).expanduser()
    if not path.exists():
        raise DataError(f"data {spec!r}: there is no {path}.{_nearest_path(path)}")
    if is_parquet(path):
        return ParquetSource(spec, path, wanted, default_split=default_split, num_classes=num_classes, **columns)
    if not path.is_dir():
        raise DataError(f"data {spec!r}: {path} is a file; give a folder of class folders or of Parquet files")
    return FolderSource(spec, path, wanted, default_split=default_split, num_classes=num_classes)


def _divide(spec: str) -> tuple[str, str | None]:
    """Spec and split; a colon inside an existing path divides nothing."""
    head, colon, split = spec.rpartition(":")
    if not colon or not head or "/" in split or Path(spec).expanduser().exists():
        return spec, None
    return head, split


def _nearest_path(path: Path) -> str:
    """What may have been meant: a sibling on disk or a name that needs no path."""
    parent = path.parent
    while not parent.is_dir():
        # The first folder that doesn't exist is the one that is misspelt.
        path, parent = parent, parent.parent
    siblings = [child.name for child in parent.iterdir() if child.is_dir() or child.suffix == ".parquet"]
    names = {str(parent / name) if str(parent) != "." else name: name for name in siblings}
    known = ["embedded", *(f"torch/{name}" for name in TORCH_NAMES)] if str(parent) == "." else []
    hint = nearest(path.name, [*siblings, *known])
    for full, name in names.items():
        hint = hint.replace(f"mean {name!r}", f"mean {full!r}")
    return hint
