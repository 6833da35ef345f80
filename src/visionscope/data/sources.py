"""Where images come from: one function that opens a data spec, and the protocol that every source obeys."""

import os
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from visionscope.core.files import given_path, user_path
from visionscope.core.rules import SEEDS
from visionscope.core.values import Rule, Value
from visionscope.data.embedded import EmbeddedSource
from visionscope.data.folder import FolderSource
from visionscope.data.packaged import HuggingFaceSource, TorchSource
from visionscope.data.parquet import ParquetSource
from visionscope.data.parquet_files import is_parquet
from visionscope.data.specs import find_data
from visionscope.errors import ConfigError

_DEFAULT_SIZE = 32
_SPLIT, _COLUMN = Value(str, Rule(empty=False)), Value(str | None, Rule(empty=False))
_SIZE = Value(int | None)  # its bounds depend on the data
_SEED = Value(int, Rule(least=0, most=SEEDS - 1))
_CLASSES = Value(int | None, Rule(least=1))


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
    spec: str | os.PathLike[str],
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
        spec: the data spec; a path stands for the spec that it spells.
        default_split: taken when the spec names none; where `test` is missing, a validation split stands in.
        size: pixels per side of embedded images, 32 by default.
        seed: of embedded images.
        num_classes: classes of the model that the labels are for; chooses among timm's ImageNet tables for folders
            named by WordNet id, and makes labels None where the source has another number of classes.
        image_column: of Parquet and Hugging Face data, where the schema doesn't show it.
        label_column: of Parquet and Hugging Face data, where the schema doesn't show it.
        root: folder for data that torchvision or Hugging Face download; VISIONSCOPE_DATA or ~/.cache/visionscope by
            default.

    Raises:
        ConfigError: for a spec or a `root` that can be no path, and a parameter that breaks its rule.
        DataError: for a spec that names nothing, a wrong split, data that can't be fetched, and sources without images.
    """
    spec = os.fspath(spec) if isinstance(spec, os.PathLike) else spec
    _SPLIT.checked("default_split", default_split)
    _COLUMN.checked("image_column", image_column), _COLUMN.checked("label_column", label_column)
    size, seed = _SIZE.checked("size", size), _SEED.checked("seed", seed)
    num_classes = _CLASSES.checked("num_classes", num_classes)
    found = find_data(spec)
    wanted = found.split
    if found.kind == "embedded":
        return EmbeddedSource(
            spec,
            wanted or default_split,
            size=_DEFAULT_SIZE if size is None else size,
            seed=seed,
            num_classes=num_classes,
        )
    known: dict[str, Any] = {"default_split": default_split, "num_classes": num_classes}
    columns: dict[str, Any] = {"image_column": image_column, "label_column": label_column}
    if found.kind == "torch":
        return TorchSource(spec, found.name, wanted, root=_root(root), **known)
    if found.kind == "hfds":
        cache = None if root is None else given_path("root", root)
        return HuggingFaceSource(spec, found.name, wanted, root=cache, **known, **columns)
    if is_parquet(found.path):
        return ParquetSource(spec, found.path, wanted, **known, **columns)
    return FolderSource(spec, found.path, wanted, **known)


def _root(given: str | os.PathLike[str] | None) -> Path:
    """The folder of data that torchvision downloads."""
    if given is not None:
        return given_path("root", given)
    root = user_path("VISIONSCOPE_DATA", os.environ.get("VISIONSCOPE_DATA") or "~/.cache/visionscope")
    if root.exists() and not root.is_dir():
        raise ConfigError(f"VISIONSCOPE_DATA: must be a folder; {root} is not one")
    return root
