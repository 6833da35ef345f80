"""Where images come from: one function that opens a data spec, and the protocol that every source obeys."""

import hashlib
import os
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from PIL import Image

from visionscope.core.files import given_path, user_path
from visionscope.core.rules import SEEDS
from visionscope.core.values import Rule, Value
from visionscope.data.embedded import EmbeddedSource
from visionscope.data.embedded_masks import EmbeddedMaskSource
from visionscope.data.folder import FolderSource
from visionscope.data.mask_folder import MaskFolderSource, is_mask_folder
from visionscope.data.packaged import HuggingFaceSource, TorchSource
from visionscope.data.parquet import ParquetSource
from visionscope.data.parquet_files import is_parquet
from visionscope.data.parquet_masks import ParquetMaskSource, find_mask_column
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


class MaskSource(Source, Protocol):
    """Images whose pixels have classes; their labels are None."""

    def mask(self, index: int) -> Image.Image | None:
        """The class of every pixel, 8-bit grey, 255 for those that don't count; None where the model has others."""


def has_masks(source: Source) -> TypeGuard[MaskSource]:
    """Whether a source's pixels have classes rather than its images.

    Args:
        source: any.
    """
    return hasattr(source, "mask")


def label_text(source: Source, index: int) -> str:
    """What a digest says of an image's label: its class, or the sha256 of its mask's pixels with their size.

    Args:
        source: any.
        index: of the image.

    Raises:
        DataError: when it can't be read.
    """
    mask = source.mask(index) if has_masks(source) else None
    if mask is None:
        return str(source.label(index))
    return hashlib.sha256(f"{mask.width} {mask.height} ".encode() + mask.tobytes()).hexdigest()


def open_source(
    spec: str | os.PathLike[str],
    *,
    default_split: str = "test",
    size: int | None = None,
    seed: int = 0,
    num_classes: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    mask_column: str | None = None,
    root: str | os.PathLike[str] | None = None,
) -> Source:
    """Opens a data spec.

    `embedded[:train|val|test|conflict]`, `torch/NAME[:SPLIT]`, `hfds/NAME[:SPLIT]`, or `PATH[:SPLIT]` of a folder of
    class folders, a folder of images, or a folder of Parquet files in the Hugging Face layout. With a class for every
    pixel: `embedded-masks[:SPLIT]`, a folder with `images` and `masks`, or Parquet files with a column of masks.

    Args:
        spec: the data spec; a path stands for the spec that it spells.
        default_split: taken when the spec names none; where `test` is missing, a validation split stands in.
        size: pixels per side of embedded images, 32 by default.
        seed: of embedded images.
        num_classes: classes of the model that the labels are for; chooses among timm's ImageNet tables for folders
            named by WordNet id, and makes labels None where the source has another number of classes.
        image_column: of Parquet and Hugging Face data, where the schema doesn't show it.
        label_column: of Parquet and Hugging Face data, where the schema doesn't show it.
        mask_column: of Parquet data; by default the one that is named so (`parquet_masks.MASK_NAMES`), where no column
            holds labels.
        root: folder for data that torchvision or Hugging Face download; VISIONSCOPE_DATA or ~/.cache/visionscope by
            default.

    Raises:
        ConfigError: for a spec or a `root` that can be no path, and a parameter that breaks its rule.
        DataError: for a spec that names nothing, a wrong split, data that can't be fetched, and sources without images.
    """
    spec = os.fspath(spec) if isinstance(spec, os.PathLike) else spec
    _SPLIT.checked("default_split", default_split)
    _COLUMN.checked("image_column", image_column), _COLUMN.checked("label_column", label_column)
    _COLUMN.checked("mask_column", mask_column)
    size, seed = _SIZE.checked("size", size), _SEED.checked("seed", seed)
    num_classes = _CLASSES.checked("num_classes", num_classes)
    found = find_data(spec)
    wanted = found.split
    if found.kind == "embedded":
        return (EmbeddedSource if found.name == "embedded" else EmbeddedMaskSource)(
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
        mask = mask_column or (None if label_column else find_mask_column(spec, found.path))
        if mask:
            return ParquetMaskSource(
                spec, found.path, wanted, mask_column=mask, default_split=default_split, image_column=image_column
            )
        return ParquetSource(spec, found.path, wanted, **known, **columns)
    return (MaskFolderSource if is_mask_folder(spec, found.path) else FolderSource)(spec, found.path, wanted, **known)


def _root(given: str | os.PathLike[str] | None) -> Path:
    """The folder of data that torchvision downloads."""
    if given is not None:
        return given_path("root", given)
    root = user_path("VISIONSCOPE_DATA", os.environ.get("VISIONSCOPE_DATA") or "~/.cache/visionscope")
    if root.exists() and not root.is_dir():
        raise ConfigError(f"VISIONSCOPE_DATA: must be a folder; {root} is not one")
    return root
